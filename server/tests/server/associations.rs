//! Associations: reads, changes and pushes.

mod changing;
mod destroyed;
mod events;
mod new_members;
mod pairs;
mod reading;
mod subscriptions;
mod values;

use backwire::Server;
use backwire::config::Config;
use backwire::model::{Attribute, Find, Model, Populate};
use backwire::server::Builder;
use backwire::settings::{Settings, Store};
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, events, start};

fn user() -> Model {
    Model::default().attribute("pets", Attribute::collection("pet", "owner"))
}

/// Declares users with pets (one to many).
fn owned() -> Builder {
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    builder().resource("user", user()).unwrap().resource("pet", pet).unwrap()
}

/// Sends a request that must succeed, and returns the body without times.
async fn body(server: &Server, verb: &str, path: &str, body: Value) -> Value {
    let (status, answer) = ask(server, verb, path, body).await;
    assert!(status < 300, "{verb} {path}: {answer}");
    timeless(answer)
}

async fn read(server: &Server, path: &str) -> Value {
    body(server, "GET", path, Value::Null).await
}

fn timeless(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(timeless).collect(),
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(name, _)| !name.ends_with("edAt"));
            kept.map(|(name, value)| (name, timeless(value))).collect()
        }
        value => value,
    }
}

/// Returns the pushed events as name and data, without times.
async fn pushes(socket: &mut Socket) -> Vec<Value> {
    events(&socket.pushes().await).into_iter().map(timeless).collect()
}

/// Starts a server with the users Ann and Bob, and Ann's dog and cat.
async fn filled(builder: Builder) -> Server {
    let server = start(builder).await;
    for name in ["Ann", "Bob"] {
        body(&server, "POST", "/user", json!({ "name": name })).await;
    }
    for name in ["Rex", "Tom"] {
        body(&server, "POST", "/pet", json!({ "name": name, "owner": 1 })).await;
    }
    server
}

fn rex() -> Value {
    json!({ "name": "Rex", "owner": 1, "id": 1 })
}

fn tom() -> Value {
    json!({ "name": "Tom", "owner": 1, "id": 2 })
}

/// Starts the server of the documentation, and returns its documented exchanges.
async fn as_documented() -> (Server, &'static str) {
    let page = include_str!("../../../docs/reference/resources.md");
    let (_, section) = page.split_once("## Associations").unwrap();
    let (_, rest) = section.split_once("```yaml\n").unwrap();
    let (yaml, rest) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yml");
    std::fs::write(&file, yaml).unwrap();
    let settings = Config::read(&file).unwrap().apply_to(Settings::default()).unwrap();
    let server = start(builder().settings(Settings { port: 0, store: Store::Memory, ..settings }));
    let (exchanges, _) = rest.split_once("```\nPOST").unwrap().1.split_once("```").unwrap();
    (server.await, exchanges)
}

#[tokio::test]
async fn documented_exchanges_are_answered_as_documented() {
    let (server, exchanges) = as_documented().await;
    for line in format!("POST{exchanges}").lines() {
        let (asked, answered) = line.split_once(" → ").unwrap();
        let mut asked = asked.splitn(3, ' ');
        let (verb, path) = (asked.next().unwrap(), asked.next().unwrap());
        let data = asked.next().map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
        let (status, answer) = ask(&server, verb, path, data).await;
        assert_eq!(format!("{status} {}", timeless(answer)), answered, "{line}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn invalid_associations_are_errors_when_the_server_starts() {
    let pet = Model::default().attribute("owner", Attribute::model("usr"));
    let builder = builder().resource("pet", pet).unwrap();
    let refused = builder.resource("user", Model::default()).unwrap().bind().await.unwrap_err();
    assert_eq!(refused.to_string(), "pet.owner: no resource usr is declared; did you mean user?");
    let names = ["pest".to_owned()].into();
    let find = Find { populate: Populate::These(names), ..Find::default() };
    let owned = owned().resource("user", Model { find, ..user() }).unwrap();
    let refused = owned.bind().await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "user.find.populate: pest is no association; did you mean pets?"
    );
}
