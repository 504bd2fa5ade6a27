//! Records that belong together: reading, changing and hearing of it.

use backwire::Server;
use backwire::config::Config;
use backwire::model::{Attribute, Find, Ids, Model, Populate};
use backwire::route::{Paths, Shortcuts};
use backwire::server::Builder;
use backwire::settings::{Settings, Store};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::client::{Socket, builder, refusal, start};

fn user() -> Model {
    Model::default().attribute("pets", Attribute::collection("pet", "owner"))
}

/// Users with pets: one to many.
fn owned() -> Builder {
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    builder().resource("user", user()).unwrap().resource("pet", pet).unwrap()
}

async fn ask(server: &Server, verb: &str, path: &str, body: Value) -> (u16, Value) {
    let url = format!("http://{}{path}", server.addr());
    let request = Client::new().request(Method::from_bytes(verb.as_bytes()).unwrap(), url);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// The body of an answer that is no refusal, without times.
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

/// What was pushed, as the name of the event and what it carried, without times.
async fn heard(socket: &mut Socket) -> Vec<Value> {
    let frames = socket.heard().await;
    frames.iter().map(|it| timeless(serde_json::from_str(&it[2..]).unwrap())).collect()
}

/// Ann and Bob, and Ann's dog and cat.
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

/// A server as the documentation has it, and what it says of it.
async fn as_documented() -> (Server, &'static str) {
    let page = include_str!("../../../docs/server.md");
    let (_, section) = page.split_once("## Associations").unwrap();
    let (_, rest) = section.split_once("```yaml\n").unwrap();
    let (yaml, rest) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yml");
    std::fs::write(&file, yaml).unwrap();
    let settings = Config::read(&file).unwrap().over(Settings::default()).unwrap();
    let server = start(builder().settings(Settings { port: 0, store: Store::Memory, ..settings }));
    let (exchanges, _) = rest.split_once("```\nPOST").unwrap().1.split_once("```").unwrap();
    (server.await, exchanges)
}

#[tokio::test]
async fn the_documented_exchanges_are_as_they_are_documented() {
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
async fn nothing_is_filled_in_unless_it_is_asked_for() {
    let server = filled(owned()).await;
    let [ann, bob] = [("Ann", 1), ("Bob", 2)].map(|(name, id)| json!({ "name": name, "id": id }));
    assert_eq!(read(&server, "/user").await, json!([ann, bob]));
    assert_eq!(read(&server, "/user?populate=false").await, json!([ann, bob]));
    assert_eq!(read(&server, "/pet/1").await, rex());
    let with = |name, id, pets| json!({ "name": name, "id": id, "pets": pets });
    assert_eq!(
        read(&server, "/user?populate=pets").await,
        json!([with("Ann", 1, json!([rex(), tom()])), with("Bob", 2, json!([]))])
    );
    assert_eq!(read(&server, "/user/2?populate=true").await, with("Bob", 2, json!([])));
    let of_ann = |name, id| json!({ "name": name, "owner": ann, "id": id });
    assert_eq!(
        read(&server, "/pet?populate=owner").await,
        json!([of_ann("Rex", 1), of_ann("Tom", 2)])
    );
    assert_eq!(
        read(&server, "/pet?populate=owner&select=name&limit=1").await,
        json!([of_ann("Rex", 1)])
    );
    assert_eq!(
        read(&server, "/user?populate=pets&select=name&skip=1").await,
        json!([with("Bob", 2, json!([]))])
    );
    for (path, message) in [
        ("/user?populate=pest", "there is no association pest; did you mean pets?"),
        ("/user/1?populate=pest", "there is no association pest; did you mean pets?"),
        ("/user?populate=name", "there is no association name"),
        ("/cart?populate=pets", "there is no association pets"),
    ] {
        let (status, refused) = ask(&server, "GET", path, Value::Null).await;
        assert_eq!((status, &refused["field"]), (400, &json!("populate")));
        assert_eq!(refused["message"], format!("populate: {message}"));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_resource_may_say_what_is_filled_in_and_how_much_of_it() {
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let user = Model { find: Find { populate: Populate::All, ..Find::default() }, ..user };
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let hidden = json!({ "hidden": null }).as_object().cloned();
    let find = Find { limit: Some(1), filter: hidden, ..Find::default() };
    let pet = Model { find, ..pet };
    let builder = builder().resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = filled(builder).await;
    assert_eq!(read(&server, "/user/1").await["pets"], json!([rex()]));
    body(&server, "PATCH", "/pet/1", json!({ "hidden": true })).await;
    assert_eq!(read(&server, "/user").await[0]["pets"], json!([tom()]));
    assert_eq!(read(&server, "/user?populate=false").await[0].get("pets"), None);
    server.shutdown().await;
}

#[tokio::test]
async fn a_collection_has_a_path_of_its_own() {
    let server = filled(owned()).await;
    assert_eq!(read(&server, "/user/1/pets").await, json!([rex(), tom()]));
    assert_eq!(read(&server, "/User/1/PETS/").await, json!([rex(), tom()]));
    assert_eq!(read(&server, "/user/2/pets").await, json!([]));
    assert_eq!(read(&server, "/user/1/pets?name=Tom").await, json!([tom()]));
    assert_eq!(
        read(&server, "/user/1/pets?sort=name%20DESC&limit=1&omit=owner").await,
        json!([{ "name": "Tom", "id": 2 }])
    );
    let nobodys = r#"/user/1/pets?where={"owner":2}"#.replace('"', "%22");
    assert_eq!(read(&server, &nobodys).await, json!([]));
    assert_eq!(read(&server, "/user/1/pets/2").await, tom());
    assert_eq!(
        read(&server, "/user/1/pets/2?populate=owner").await["owner"],
        json!({ "name": "Ann", "id": 1 })
    );
    assert_eq!(read(&server, "/pet/1/owner").await, json!({ "name": "Ann", "id": 1 }));
    for (path, message) in [
        ("/user/9/pets", "there is no record 9 in user"),
        ("/user/1/pets/9", "there is no record 9 in pet"),
        ("/user/2/pets/1", "1 is not in the pets of user 2"),
        ("/user/1/cats", "nothing answers /user/1/cats"),
        ("/user/1/name", "nothing answers /user/1/name"),
        ("/pet/1/owner/1", "nothing answers /pet/1/owner/1"),
    ] {
        let (status, refused) = ask(&server, "GET", path, Value::Null).await;
        assert_eq!((status, &refused["code"]), (404, &json!("E_NOT_FOUND")), "{path}");
        assert_eq!(refused["message"], message);
    }
    body(&server, "PATCH", "/pet/1", json!({ "owner": null })).await;
    let (status, refused) = ask(&server, "GET", "/pet/1/owner", Value::Null).await;
    assert_eq!((status, &refused["message"]), (404, &json!("pet 1 has no owner")));
    server.shutdown().await;
}

#[tokio::test]
async fn records_are_added_removed_and_replaced() {
    let server = filled(owned()).await;
    let moved = json!({ "name": "Rex", "owner": 2, "id": 1 });
    let bob = json!({ "name": "Bob", "id": 2, "pets": [moved] });
    for _ in 0..2 {
        assert_eq!(body(&server, "PUT", "/user/2/pets/1", Value::Null).await, bob);
    }
    assert_eq!(read(&server, "/user/1/pets").await, json!([tom()]));
    // Nobody is taken from somebody else.
    body(&server, "DELETE", "/user/1/pets/1", Value::Null).await;
    assert_eq!(read(&server, "/pet/1").await, moved);
    for _ in 0..2 {
        let bob = body(&server, "DELETE", "/user/2/pets/1", Value::Null).await;
        assert_eq!(bob["pets"], json!([]));
    }
    assert_eq!(read(&server, "/pet/1").await["owner"], Value::Null);
    let ann = body(&server, "PUT", "/user/1/pets", json!([1, "1"])).await;
    assert_eq!(ann["pets"], json!([rex()]));
    assert_eq!(read(&server, "/pet/2").await["owner"], Value::Null);
    let ann = body(&server, "PUT", "/user/1/pets", json!([])).await;
    assert_eq!(ann["pets"], json!([]));
    for (verb, path, data, status, message) in [
        ("PUT", "/user/9/pets/1", Value::Null, 404, "there is no record 9 in user"),
        ("PUT", "/user/1/pets/9", Value::Null, 404, "there is no record 9 in pet"),
        ("DELETE", "/user/1/pets/9", Value::Null, 404, "there is no record 9 in pet"),
        ("PUT", "/user/1/pets", json!([1, 9]), 404, "there is no record 9 in pet"),
        (
            "PUT",
            "/user/1/pets/1",
            json!({ "id": 1, "name": "King" }),
            400,
            "to add a record takes no values: it has a path of its own",
        ),
        ("PUT", "/user/1/pets", json!({}), 400, "the body has to be a list of ids"),
        ("PUT", "/user/1/pets", json!([{}]), 400, "the body has to be a list of ids"),
        (
            "PUT",
            "/user/1/pets",
            vec![1; 1001].into(),
            413,
            "the body has 1001 ids, 1000 are allowed",
        ),
        ("PATCH", "/user/1/pets", json!([1]), 405, "PATCH is not understood here"),
        ("DELETE", "/user/1/pets", json!([1]), 405, "DELETE is not understood here"),
        ("PUT", "/pet/1/owner", json!([1]), 405, "PUT is not understood here"),
    ] {
        let (said, refused) = ask(&server, verb, path, data).await;
        assert_eq!((said, &refused["message"]), (status, &json!(message)), "{verb} {path}");
    }
    assert_eq!(read(&server, "/user/1/pets").await, json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_posted_to_a_collection_is_created_in_it() {
    let server = filled(owned()).await;
    let (status, pet) = ask(&server, "POST", "/user/2/pets", json!({ "name": "Kit" })).await;
    let kit = json!({ "name": "Kit", "owner": 2, "id": 3 });
    assert_eq!((status, timeless(pet)), (201, kit.clone()));
    // One that is there is only named.
    let (status, pet) = ask(&server, "POST", "/user/2/pets", json!({ "id": 1 })).await;
    let rex = json!({ "name": "Rex", "owner": 2, "id": 1 });
    assert_eq!((status, timeless(pet)), (200, rex.clone()));
    assert_eq!(body(&server, "POST", "/user/2/pets", json!({ "id": "1" })).await, rex);
    assert_eq!(read(&server, "/user/2/pets").await, json!([rex, kit]));
    let taken = ask(&server, "POST", "/user/2/pets", json!({ "id": 1, "name": "x" })).await;
    assert_eq!((taken.0, &taken.1["code"]), (409, &json!("E_EXISTS")));
    assert_eq!(ask(&server, "POST", "/user/9/pets", json!({ "name": "x" })).await.0, 404);
    assert_eq!(ask(&server, "POST", "/user/2/pets", json!({ "id": 9 })).await.0, 404);
    assert_eq!(ask(&server, "POST", "/user/2/pets", json!([{}])).await.0, 400);
    server.shutdown().await;
}

#[tokio::test]
async fn the_verbs_of_an_association_are_told() {
    let server = filled(owned()).await;
    for (path, verbs) in [
        ("/user/1/pets", "GET,HEAD,POST,PUT,OPTIONS"),
        ("/user/1/pets/1", "GET,HEAD,PUT,DELETE,OPTIONS"),
        ("/pet/1/owner", "GET,HEAD,OPTIONS"),
    ] {
        let url = format!("http://{}{path}", server.addr());
        let told = Client::new().request(Method::OPTIONS, &url).send().await.unwrap();
        assert_eq!(told.headers()["allow"], verbs);
        let head = Client::new().head(&url).send().await.unwrap();
        assert_eq!(head.status(), 200);
        let get = Client::new().get(&url).send().await.unwrap();
        assert_eq!(head.headers()["content-length"], get.headers()["content-length"]);
        let mut socket = Socket::stock(&server).await;
        let told = socket.ask(json!(["options", { "url": path }])).await;
        assert_eq!(told["headers"]["allow"], verbs);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_collection_is_not_an_attribute_to_be_set_and_an_owner_is_an_id() {
    let server = filled(owned()).await;
    for (verb, path, data, field, rule) in [
        ("POST", "/user", json!({ "pets": [1] }), "pets", "is a collection"),
        ("PATCH", "/user/1", json!({ "pets": [] }), "pets", "is a collection"),
        ("POST", "/pet", json!({ "owner": { "id": 1 } }), "owner", "is the id of a user"),
        ("PATCH", "/pet/1", json!({ "owner": "" }), "owner", "is the id of a user"),
    ] {
        let (status, refused) = ask(&server, verb, path, data).await;
        assert_eq!((status, &refused["field"]), (400, &json!(field)));
        assert!(refused["problems"][0]["rule"].as_str().unwrap().starts_with(rule));
    }
    // As forms send it.
    let tom = body(&server, "PATCH", "/pet/2", json!({ "owner": "2" })).await;
    assert_eq!(tom["owner"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn who_follows_a_record_hears_who_joins_and_leaves_its_collections() {
    let server = filled(owned()).await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/pet").await;
    let told = |user: i64, verb: &str, pet: i64| {
        let id = if verb == "addedTo" { "addedId" } else { "removedId" };
        json!(["user", { "id": user, "verb": verb, "attribute": "pets", id: pet }])
    };
    let updated = |from: Value, to: Value| {
        let previous = json!({ "name": "Rex", "owner": from, "id": 1 });
        json!(["pet", { "verb": "updated", "id": 1, "data": { "owner": to, "id": 1 },
                        "previous": previous }])
    };
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    let moved = [told(2, "addedTo", 1), updated(json!(1), json!(2)), told(1, "removedFrom", 1)];
    assert_eq!(heard(&mut s1).await, moved);
    body(&server, "DELETE", "/user/2/pets/1", Value::Null).await;
    let left = [told(2, "removedFrom", 1), updated(json!(2), Value::Null)];
    assert_eq!(heard(&mut s1).await, left);
    // From the other side it is the same.
    body(&server, "PATCH", "/pet/1", json!({ "owner": 2 })).await;
    assert_eq!(heard(&mut s1).await, [told(2, "addedTo", 1), updated(Value::Null, json!(2))]);
    let kit = body(&server, "POST", "/user/1/pets", json!({ "name": "Kit" })).await;
    let created = json!(["pet", { "verb": "created", "id": 3, "data": kit }]);
    assert_eq!(heard(&mut s1).await, [told(1, "addedTo", 3), created]);
    body(&server, "DELETE", "/pet/3", Value::Null).await;
    let gone = json!(["pet", { "verb": "destroyed", "id": 3, "previous": kit }]);
    assert_eq!(heard(&mut s1).await, [gone, told(1, "removedFrom", 3)]);
    // Nothing has changed, so nothing is said.
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    body(&server, "PATCH", "/pet/1", json!({ "owner": "2" })).await;
    assert_eq!(heard(&mut s1).await.len(), 1, "only that it has been updated");
    // Who does it is not told.
    s1.put("/user/1/pets/1", Value::Null).await;
    assert!(heard(&mut s1).await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn who_reads_an_association_hears_of_both_ends() {
    let server = filled(owned()).await;
    let [mut populated, mut shortcut] =
        [Socket::stock(&server).await, Socket::stock(&server).await];
    populated.get("/user/1?populate=pets").await;
    shortcut.get("/user/1/pets").await;
    let mut adding = Socket::stock(&server).await;
    adding.put("/user/1/pets/1", Value::Null).await;
    body(&server, "PATCH", "/pet/1", json!({ "name": "King" })).await;
    body(&server, "PATCH", "/user/1", json!({ "name": "Anna" })).await;
    body(&server, "POST", "/pet", json!({ "name": "nobody's" })).await;
    for socket in [&mut populated, &mut shortcut, &mut adding] {
        let heard = heard(socket).await;
        let of: Vec<_> = heard.iter().map(|it| (&it[0], &it[1]["verb"], &it[1]["id"])).collect();
        let [pet, user, verb, id] = [json!("pet"), json!("user"), json!("updated"), json!(1)];
        assert_eq!(of, [(&pet, &verb, &id), (&user, &verb, &id)]);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_live_part_of_the_resource_gains_and_loses_members() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let filtered = runtime.get(r#"/pet?where={"owner":1}"#).await;
    let room = filtered["headers"]["backwire-room"].as_str().unwrap().to_owned();
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    body(&server, "PUT", "/user/1/pets/1", Value::Null).await;
    let changes = runtime.changes(&room, 2).await;
    let verbs: Vec<_> = changes.as_array().unwrap().iter().map(|it| (&it[1], &it[2])).collect();
    assert_eq!(verbs, [(&json!(4), &json!(1)), (&json!(1), &json!(1))], "it leaves and enters");
    // What has changed an association is answered as any route is: nothing of it is followed.
    let changed = runtime.put("/user/1/pets", json!([2])).await;
    assert_eq!(timeless(changed["body"]["pets"].clone()), json!([tom()]));
    assert_eq!(changed["headers"].get("backwire-record"), None);
    let made = runtime.post("/user/1/pets", json!({ "name": "Kit" })).await;
    assert_eq!(
        (&made["statusCode"], &made["headers"]["backwire-record"]),
        (&json!(201), &json!("pet/3"))
    );
    let gone = runtime.get("/user/9/pets").await;
    assert_eq!(refusal(&gone), json!([404, "E_NOT_FOUND"]));
    server.shutdown().await;
}

#[tokio::test]
async fn a_path_of_one_to_many_is_followed_like_any_part_of_the_resource() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let path = runtime.get("/user/1/pets?populate=owner").await;
    assert_eq!(timeless(path["body"].clone())[0]["owner"]["name"], "Ann");
    assert!(path["headers"]["backwire-position"].is_string());
    let room = path["headers"]["backwire-room"].as_str().unwrap().to_owned();
    assert!(room.starts_with("pet?"), "{room}");
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    body(&server, "PATCH", "/pet/1", json!({ "name": "nobody hears of it" })).await;
    body(&server, "PUT", "/user/1/pets/1", Value::Null).await;
    body(&server, "POST", "/user/1/pets", json!({ "name": "Kit" })).await;
    body(&server, "PATCH", "/pet/2", json!({ "name": "Tim" })).await;
    body(&server, "DELETE", "/pet/2", Value::Null).await;
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let changes = runtime.changes(&room, 7).await;
    let verbs: Vec<_> = changes.as_array().unwrap().iter().map(|it| [&it[1], &it[2]]).collect();
    let expected = json!([[4, 1], [1, 1], [1, 3], [2, 2], [3, 2], [4, 1], [4, 3]]);
    assert_eq!(json!(verbs), expected);
    // A part of it is told to be read again, as any part is.
    let part = runtime.get("/user/2/pets?sort=name&limit=1").await;
    assert!(part["headers"]["backwire-room"].as_str().unwrap().starts_with("pet?"));
    server.shutdown().await;
}

#[tokio::test]
async fn a_path_of_many_to_many_is_not_followed() {
    let server = joined().await;
    let mut runtime = Socket::runtime(&server).await;
    let path = runtime.get("/user/1/teams").await;
    assert_eq!(timeless(path["body"].clone()), json!([named("Blue", 1), named("Red", 2)]));
    assert_eq!(path["headers"].get("backwire-room"), None);
    server.shutdown().await;
}

#[tokio::test]
async fn who_belonged_to_a_record_that_is_destroyed_belongs_to_nobody() {
    let server = filled(owned()).await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/pet").await;
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let heard = heard(&mut s1).await;
    let verbs: Vec<_> = heard.iter().map(|it| (&it[1]["verb"], &it[1]["data"])).collect();
    let none = |id: i64| json!({ "owner": null, "id": id });
    assert_eq!(
        verbs,
        [
            (&json!("destroyed"), &Value::Null),
            (&json!("updated"), &none(1)),
            (&json!("updated"), &none(2)),
        ]
    );
    assert_eq!(read(&server, "/pet?owner=1").await, json!([]));
    // Over a socket what follows is done before the next request.
    let mut runtime = Socket::runtime(&server).await;
    runtime.put("/user/2/pets", json!([1, 2])).await;
    let first = runtime.emit(&json!(["delete", { "url": "/user/2" }])).await;
    let second = runtime.emit(&json!(["get", { "url": "/pet?owner=2" }])).await;
    assert_eq!(runtime.ack(first).await["statusCode"], 200);
    assert_eq!(runtime.ack(second).await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn who_has_to_belong_to_somebody_keeps_what_it_has() {
    let user = Model::default().attribute("pets", Attribute::collection("pet", "owner"));
    let owner = Attribute { required: true, ..Attribute::model("user") };
    let pet = Model::default().attribute("owner", owner);
    let server =
        filled(builder().resource("user", user).unwrap().resource("pet", pet).unwrap()).await;
    let (status, refused) = ask(&server, "DELETE", "/user/1/pets/1", Value::Null).await;
    assert_eq!((status, &refused["message"]), (400, &json!("owner is required")));
    body(&server, "DELETE", "/user/1", Value::Null).await;
    assert_eq!(read(&server, "/pet/1").await["owner"], 1);
    assert_eq!(read(&server, "/pet/1?populate=owner").await["owner"], Value::Null);
    assert_eq!(ask(&server, "GET", "/pet/1/owner", Value::Null).await.0, 404);
    server.shutdown().await;
}

#[tokio::test]
async fn a_repeated_destroy_does_nothing_to_a_new_record_with_the_id() {
    let server = filled(owned()).await;
    let mut runtime = Socket::runtime(&server).await;
    let keyed = json!(["delete", { "url": "/user/2", "headers": { "idempotency-key": "k" } }]);
    runtime.ask(keyed.clone()).await;
    body(&server, "POST", "/user", json!({ "id": 2, "name": "Bob" })).await;
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    assert_eq!(runtime.ask(keyed).await["statusCode"], 200);
    assert_eq!(read(&server, "/pet/1").await["owner"], 2);
    server.shutdown().await;
}

#[tokio::test]
async fn what_does_not_fit_is_told_when_the_server_starts() {
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

/// Teams with members: many to many.
fn teams() -> Builder {
    let teams = Attribute { dominant: true, ..Attribute::collection("team", "members") };
    let user = Model::default().attribute("teams", teams);
    let team = Model::default().attribute("members", Attribute::collection("user", "teams"));
    builder().resource("user", user).unwrap().resource("team", team).unwrap()
}

/// Ann and Bob, and teams Blue and Red; Ann is in both.
async fn joined() -> Server {
    let server = start(teams()).await;
    for name in ["Ann", "Bob"] {
        body(&server, "POST", "/user", json!({ "name": name })).await;
    }
    for name in ["Blue", "Red"] {
        body(&server, "POST", "/team", json!({ "name": name })).await;
    }
    body(&server, "PUT", "/user/1/teams", json!([1, 2])).await;
    server
}

fn named(name: &str, id: i64) -> Value {
    json!({ "name": name, "id": id })
}

#[tokio::test]
async fn many_belong_to_many_and_each_side_says_the_same() {
    let server = joined().await;
    assert_eq!(read(&server, "/user/1/teams").await, json!([named("Blue", 1), named("Red", 2)]));
    assert_eq!(read(&server, "/team/2/members").await, json!([named("Ann", 1)]));
    let blue = body(&server, "PUT", "/team/1/members/2", Value::Null).await;
    assert_eq!(blue["members"], json!([named("Ann", 1), named("Bob", 2)]));
    let teams: Vec<_> = read(&server, "/user?populate=teams").await.as_array().unwrap().clone();
    assert_eq!(teams[0]["teams"], json!([named("Blue", 1), named("Red", 2)]));
    assert_eq!(teams[1]["teams"], json!([named("Blue", 1)]));
    assert_eq!(
        read(&server, "/team/1/members?sort=name%20DESC&limit=1&populate=teams").await,
        json!([{ "name": "Bob", "id": 2, "teams": [named("Blue", 1)] }])
    );
    assert_eq!(read(&server, "/team/1/members/2").await, named("Bob", 2));
    let (status, refused) = ask(&server, "GET", "/team/2/members/2", Value::Null).await;
    assert_eq!((status, &refused["message"]), (404, &json!("2 is not in the members of team 2")));
    for _ in 0..2 {
        let bob = body(&server, "DELETE", "/user/2/teams/1", Value::Null).await;
        assert_eq!(bob["teams"], json!([]));
    }
    let (status, cy) = ask(&server, "POST", "/team/2/members", json!({ "name": "Cy" })).await;
    assert_eq!((status, timeless(cy)), (201, named("Cy", 3)));
    let bob = body(&server, "POST", "/team/2/members", json!({ "id": 2 })).await;
    assert_eq!(bob, named("Bob", 2));
    assert_eq!(read(&server, "/team/2/members?select=id").await.as_array().unwrap().len(), 3);
    for (verb, path) in [("PUT", "/team/1/members/9"), ("DELETE", "/team/1/members/9")] {
        let (status, refused) = ask(&server, verb, path, Value::Null).await;
        assert_eq!((status, &refused["message"]), (404, &json!("there is no record 9 in user")));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn both_sides_hear_of_a_pair_once_however_many_make_it() {
    let server = joined().await;
    let mut s1 = Socket::stock(&server).await;
    s1.get("/user").await;
    s1.get("/team").await;
    let adding = (0..20).map(|_| ask(&server, "PUT", "/team/1/members/2", Value::Null));
    for (status, blue) in futures_util::future::join_all(adding).await {
        assert_eq!((status, blue["members"].as_array().map(Vec::len)), (200, Some(2)));
    }
    let told = |of: &str, id: i64, verb: &str, attribute: &str, member: i64| {
        let name = if verb == "addedTo" { "addedId" } else { "removedId" };
        json!([of, { "id": id, "verb": verb, "attribute": attribute, name: member }])
    };
    let added = [told("team", 1, "addedTo", "members", 2), told("user", 2, "addedTo", "teams", 1)];
    assert_eq!(heard(&mut s1).await, added);
    let removing = (0..20).map(|_| ask(&server, "DELETE", "/user/2/teams/1", Value::Null));
    for (status, bob) in futures_util::future::join_all(removing).await {
        assert_eq!((status, &bob["teams"]), (200, &json!([])));
    }
    let removed =
        [told("team", 1, "removedFrom", "members", 2), told("user", 2, "removedFrom", "teams", 1)];
    assert_eq!(heard(&mut s1).await, removed);
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let heard = heard(&mut s1).await;
    assert_eq!(heard[0][1]["verb"], "destroyed");
    assert_eq!(
        heard[1..],
        [
            told("team", 1, "removedFrom", "members", 1),
            told("team", 2, "removedFrom", "members", 1)
        ]
    );
    assert_eq!(read(&server, "/team?populate=members").await[0]["members"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn pairs_are_nobodys_resource() {
    let builder = teams().api_key("secret".parse().unwrap());
    let server = start(builder).await;
    body(&server, "POST", "/user", json!({})).await;
    body(&server, "POST", "/team", json!({})).await;
    body(&server, "PUT", "/user/1/teams/1", Value::Null).await;
    let join = "team.members.user.teams";
    for path in [format!("/{join}"), format!("/{join}/[1,1]"), format!("/{join}/find")] {
        assert_eq!(ask(&server, "GET", &path, Value::Null).await.0, 404, "{path}");
        assert_eq!(ask(&server, "DELETE", &path, Value::Null).await.0, 404, "{path}");
    }
    let said = json!({ "model": join, "verb": "destroyed", "id": "[1,1]" });
    let (status, refused) = ask(&server, "POST", "/publish?apiKey=secret", said).await;
    assert_eq!((status, &refused["field"]), (400, &json!("model")));
    let mut runtime = Socket::runtime(&server).await;
    let resumed = runtime.ask(json!(["resume", [[join, 1, 0]]])).await;
    assert!(!resumed.to_string().contains("[1,1]"), "{resumed}");
    assert_eq!(ask(&server, "GET", "/health", Value::Null).await.0, 200);
    server.shutdown().await;
}

#[tokio::test]
async fn records_of_one_resource_may_be_associated_with_one_another() {
    let user = Model::default()
        .attribute("follows", Attribute::collection("user", "followers"))
        .attribute("followers", Attribute::collection("user", "follows"))
        .attribute("boss", Attribute::model("user"))
        .attribute("team", Attribute::collection("user", "boss"));
    let server = start(builder().resource("user", user).unwrap()).await;
    body(&server, "POST", "/user", json!([{}, {}, {}])).await;
    body(&server, "PUT", "/user/1/follows", json!([1, 2, 3])).await;
    let id = |id: i64| json!({ "id": id });
    assert_eq!(read(&server, "/user/1/followers").await, json!([id(1)]));
    assert_eq!(read(&server, "/user/3/followers").await, json!([id(1)]));
    assert_eq!(read(&server, "/user/3/follows").await, json!([]));
    body(&server, "PUT", "/user/1/team", json!([2])).await;
    assert_eq!(read(&server, "/user/2?populate=boss,followers").await["boss"], id(1));
    body(&server, "DELETE", "/user/1", Value::Null).await;
    let left = read(&server, "/user?populate=true").await;
    let nothing = |id: i64, boss: Value| {
        let mut left = json!({ "id": id, "followers": [], "follows": [], "team": [] });
        left["boss"] = boss;
        left
    };
    assert_eq!(left, json!([nothing(2, Value::Null), nothing(3, Value::Null)]));
    server.shutdown().await;
}

#[tokio::test]
async fn ids_of_every_kind_and_of_other_names_are_associated() {
    let user = Model { key: "_id".to_owned(), ids: Ids::Client, ..Model::default() }
        .attribute("pets", Attribute::collection("pet", "owner"))
        .attribute("teams", Attribute::collection("team", "members"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let team = Model { plural: Some("teams".to_owned()), ids: Ids::Uuid, ..Model::default() }
        .attribute("members", Attribute::collection("user", "teams"));
    let builder = builder().resource("user", user).unwrap().resource("pet", pet).unwrap();
    let server = start(builder.resource("team", team).unwrap()).await;
    let odd = "a/b ü,\"";
    let path = "/user/a%2Fb%20%C3%BC,%22";
    body(&server, "POST", "/user", json!({ "_id": odd })).await;
    body(&server, "POST", "/user", json!({ "_id": "A/b" })).await;
    body(&server, "POST", &format!("{path}/pets"), json!({})).await;
    let pets = read(&server, &format!("{path}?populate=pets")).await["pets"].clone();
    assert_eq!(pets, json!([{ "owner": odd, "id": 1 }]));
    let blue = body(&server, "POST", "/teams", json!({})).await;
    let id = blue["id"].as_str().unwrap();
    body(&server, "PUT", &format!("/teams/{id}/members"), json!([odd, "A/b"])).await;
    assert_eq!(read(&server, &format!("{path}/teams")).await[0]["id"], blue["id"]);
    // Both ids make up that of the pair.
    let long = "x".repeat(250);
    body(&server, "POST", "/user", json!({ "_id": long })).await;
    let (status, refused) =
        ask(&server, "PUT", &format!("/teams/{id}/members/{long}"), Value::Null).await;
    assert_eq!((status, &refused["code"]), (400, &json!("E_BAD_ID")));
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_sent_again_with_its_key_is_not_done_again() {
    let server = joined().await;
    let mut runtime = Socket::runtime(&server).await;
    let keyed = |verb: &str, url: &str, key: &str, data: Value| json!([verb, { "url": url, "headers": { "idempotency-key": key }, "data": data }]);
    let cy = keyed("post", "/team/2/members", "a", json!({ "name": "Cy" }));
    let made = runtime.ask(cy.clone()).await;
    assert_eq!((&made["statusCode"], &made["body"]["id"]), (&json!(201), &json!(3)));
    assert_eq!(made["headers"]["backwire-record"], "user/3");
    assert_eq!(runtime.ask(cy).await["body"], made["body"]);
    let bob = keyed("put", "/team/2/members/2", "b", Value::Null);
    assert_eq!(runtime.ask(bob.clone()).await["body"]["members"].as_array().unwrap().len(), 3);
    // Somebody else takes him out before it comes again.
    body(&server, "DELETE", "/team/2/members/2", Value::Null).await;
    assert_eq!(runtime.ask(bob).await["body"]["members"].as_array().unwrap().len(), 2);
    let none = keyed("put", "/team/2/members", "c", json!([]));
    for _ in 0..2 {
        assert_eq!(runtime.ask(none.clone()).await["body"]["members"], json!([]));
    }
    assert_eq!(read(&server, "/user").await.as_array().unwrap().len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn paths_past_handlers_of_ones_own_are_not_there() {
    let server =
        filled(owned().instead("/pet", axum::routing::patch(async || "nobody does that"))).await;
    for path in ["/user/1/pets", "/pet/1/owner"] {
        assert_eq!(ask(&server, "GET", path, Value::Null).await.0, 404, "{path}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn shortcuts_add_remove_and_replace_where_they_are_switched_on() {
    let paths = Paths { shortcuts: Shortcuts::Write, ..Paths::default() };
    let server = filled(owned().paths(paths)).await;
    assert_eq!(read(&server, "/user/2/pets/add/1").await["pets"][0]["id"], 1);
    assert_eq!(read(&server, "/user/2/pets/remove/1").await["pets"], json!([]));
    let bob = read(&server, "/user/2/pets/replace?pets=[1,2]").await;
    assert_eq!(bob["pets"].as_array().unwrap().len(), 2);
    assert_eq!(body(&server, "POST", "/user/2/pets/replace", json!([])).await["pets"], json!([]));
    for bad in ["/user/2/pets/replace", "/user/2/pets/replace?pets=1"] {
        assert_eq!(ask(&server, "GET", bad, Value::Null).await.0, 400, "{bad}");
    }
    let (status, _) = ask(&server, "DELETE", "/user/2/pets/add/1", Value::Null).await;
    assert_eq!(status, 405);
    server.shutdown().await;
}

#[tokio::test]
async fn clients_without_a_word_for_associations_hear_of_the_record_alone() {
    let server = filled(owned()).await;
    // Sails 0.9: JSON in a string, both ways.
    let mut old = Socket::stock(&server).await;
    for url in ["/user", "/pet"] {
        old.ask(json!(["get", json!({ "url": url }).to_string()])).await;
    }
    let pets = old.ask(json!(["get", r#"{"url":"/user/1/pets?populate=owner"}"#])).await;
    let pets: Value = serde_json::from_str(pets.as_str().unwrap()).unwrap();
    assert_eq!(pets[1]["owner"]["name"], "Ann");
    let mut runtime = Socket::runtime(&server).await;
    runtime.get("/user").await;
    body(&server, "PUT", "/user/2/pets/1", Value::Null).await;
    let moved = json!({ "name": "Rex", "owner": 2, "id": 1 });
    let pushed = json!(["message", { "model": "pet", "verb": "update", "data": moved, "id": 1 }]);
    assert_eq!(timeless(old.event().await), pushed);
    old.ask(json!(["get", r#"{"url":"/fence/1"}"#])).await;
    assert!(old.early().is_empty());
    assert!(runtime.heard().await.is_empty(), "a user has not changed");
    server.shutdown().await;
}
