//! What the originals said, and what is said here: exchanges recorded with Sails 1.5 and Sails 0.9.
//!
//! An exchange has what the original answered and pushed. Where we do something else on purpose, it has
//! that, too, and the name of the reason; then no more of ours is given than matters.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::{get, put};
use backwire::engine::{Engine, Memory, Window};
use backwire::model::Model;
use backwire::server::Builder;
use backwire::{Context, Error, Server};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Socket, builder, start};

#[derive(Deserialize)]
struct Transcript {
    /// Attributes that are no matter of comparison, and why.
    left_out: BTreeMap<String, String>,
    /// Reasons by their names.
    because: BTreeMap<String, String>,
    /// Each begins with nothing stored.
    runs: Vec<Vec<Exchange>>,
}

#[derive(Deserialize)]
struct Exchange {
    /// `s1` or `s2`
    by: String,
    /// `get /user`; without a url where there was none.
    ask: String,
    data: Option<Value>,
    #[serde(flatten)]
    theirs: Said,
    ours: Option<Said>,
    because: Option<String>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Said {
    ack: Value,
    /// By whom it was heard, the event and what it carried.
    #[serde(default)]
    pushes: Vec<(String, String, Value)>,
}

/// How a kind of client asks, and reads what it is told.
trait Tongue {
    fn payload(url: Option<&str>, data: Option<&Value>) -> Value;
    fn ack(ack: Value) -> Value;
}

struct Today;

impl Tongue for Today {
    fn payload(url: Option<&str>, data: Option<&Value>) -> Value {
        let mut payload = Map::new();
        payload.extend(url.map(|url| ("url".to_owned(), url.into())));
        payload.extend(data.map(|data| ("data".to_owned(), data.clone())));
        payload.into()
    }

    fn ack(mut ack: Value) -> Value {
        ack.as_object_mut().map(|ack| ack.shift_remove("headers"));
        ack
    }
}

struct Old;

impl Tongue for Old {
    fn payload(url: Option<&str>, data: Option<&Value>) -> Value {
        Today::payload(url, data).to_string().into()
    }

    fn ack(ack: Value) -> Value {
        match ack.as_str() {
            Some(text) => serde_json::from_str(text).unwrap_or_else(|_| json!({ "text": text })),
            None => ack,
        }
    }
}

async fn replay<T: Tongue>(text: &str, routes: impl Fn(Builder) -> Builder) {
    let transcript: Transcript = serde_json::from_str(text).unwrap();
    for run in &transcript.runs {
        let (server, engine) = with_engine(routes(builder())).await;
        let mut sockets = BTreeMap::new();
        for name in ["s1", "s2"] {
            let mut socket = Socket::stock(&server).await;
            // The first request shows which dialect it is.
            fence::<T>(&mut socket).await;
            sockets.insert(name, socket);
        }
        for exchange in run {
            transcript.compare(exchange, say::<T>(&mut sockets, &engine, exchange).await);
        }
        server.shutdown().await;
    }
}

/// A server, and its engine.
async fn with_engine(builder: Builder) -> (Server, Arc<dyn Engine>) {
    let (opened, engine) = mpsc::channel();
    let open = move |tail| {
        let engine: Arc<dyn Engine> = Arc::new(Memory::new(Window::default(), tail));
        opened.send(Arc::clone(&engine)).unwrap();
        Ok(engine)
    };
    let server = start(builder.engine(open)).await;
    (server, engine.recv().unwrap())
}

async fn say<T: Tongue>(
    sockets: &mut BTreeMap<&str, Socket>,
    engine: &Arc<dyn Engine>,
    exchange: &Exchange,
) -> Said {
    let (verb, url) = match exchange.ask.split_once(' ') {
        Some((verb, url)) => (verb, Some(url)),
        None => (&*exchange.ask, None),
    };
    let asker = sockets.get_mut(&*exchange.by).unwrap();
    let ack = asker.ask(json!([verb, T::payload(url, exchange.data.as_ref())])).await;
    // What follows from a destroy is not part of its answer.
    while !engine.cascades().unfinished().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut pushes = Vec::new();
    for (name, socket) in sockets {
        fence::<T>(socket).await;
        for frame in socket.early() {
            let (event, data) = serde_json::from_str(&frame[2..]).unwrap();
            pushes.push(((*name).to_owned(), event, data));
        }
    }
    Said { ack: T::ack(ack), pushes }
}

/// What has been said to a socket is there before the answer to a new question.
async fn fence<T: Tongue>(socket: &mut Socket) {
    socket.ask(json!(["get", T::payload(Some("/fence/1"), None)])).await;
}

impl Transcript {
    fn compare(&self, exchange: &Exchange, said: Said) {
        let said = self.normal(said);
        let theirs = self.normal(exchange.theirs.clone());
        let what = format!("{} {} {:?}", exchange.by, exchange.ask, exchange.data);
        match (&exchange.ours, &exchange.because) {
            (None, None) => assert_eq!(said, theirs, "{what}"),
            (Some(ours), Some(reason)) => {
                assert!(self.because.contains_key(reason), "{reason} is no reason");
                assert_ne!(said, theirs, "{what}: there is no difference any more");
                let ours = self.normal(ours.clone());
                assert!(ours.is_in(&said), "{what}: {said:#?}\nis not\n{ours:#?}");
            }
            _ => panic!("{what}: a difference has a reason"),
        }
    }

    fn normal(&self, said: Said) -> Said {
        let pushes = said.pushes.into_iter();
        Said {
            ack: self.plain(said.ack),
            pushes: pushes.map(|(by, event, data)| (by, event, self.plain(data))).collect(),
        }
    }

    /// Without what differs from run to run.
    fn plain(&self, value: Value) -> Value {
        match value {
            Value::Array(values) => values.into_iter().map(|value| self.plain(value)).collect(),
            Value::Object(map) => {
                let kept = map.into_iter().filter(|(name, _)| !self.left_out.contains_key(name));
                kept.map(|(name, value)| {
                    let is_time = name == "createdAt" || name == "updatedAt";
                    let value = if is_time { json!("time") } else { self.plain(value) };
                    (name, value)
                })
                .collect()
            }
            value => value,
        }
    }
}

impl Said {
    fn is_in(&self, said: &Self) -> bool {
        is_in(&self.ack, &said.ack)
            && self.pushes.len() == said.pushes.len()
            && self.pushes.iter().zip(&said.pushes).all(|(ours, said)| {
                (&ours.0, &ours.1) == (&said.0, &said.1) && is_in(&ours.2, &said.2)
            })
    }
}

/// Whether a value has all that another one asks for.
fn is_in(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .all(|(name, value)| whole.get(name).is_some_and(|other| is_in(value, other))),
        _ => part == whole,
    }
}

#[tokio::test]
async fn sails_1_5_is_answered_for_but_for_what_is_listed() {
    let routes = |server: Builder| {
        server
            .route("/str", get(async || "hello"))
            .route("/nul", get(async || Json(())))
            .route("/thr", get(boom))
            .route("/forb", put(async || (StatusCode::FORBIDDEN, "Forbidden")))
    };
    replay::<Today>(include_str!("../transcripts/sails-1.5.json"), routes).await;
}

#[tokio::test]
async fn sails_1_5_is_answered_for_about_associations_but_for_what_is_listed() {
    let model = |attributes: Value| -> Model {
        let find = json!({ "populate": true });
        let model = json!({ "unknown": "drop", "find": find, "attributes": attributes });
        serde_json::from_value(model).unwrap()
    };
    let user = model(json!({
        "name": { "type": "string" },
        "email": { "type": "string", "default": "" },
        "age": { "type": "integer", "default": 0 },
        "pets": { "collection": "pet", "via": "owner" },
    }));
    let pet = model(json!({
        "name": { "type": "string", "required": true, "unique": true },
        "owner": { "model": "user" },
    }));
    let declared = |server: Builder| {
        server.resource("user", user.clone()).unwrap().resource("pet", pet.clone()).unwrap()
    };
    let transcript = include_str!("../transcripts/sails-1.5-associations.json");
    replay::<Today>(transcript, declared).await;
}

#[tokio::test]
async fn sails_0_9_is_answered_for_but_for_what_is_listed() {
    let routes = |server: Builder| {
        server
            .route("/echo/pub", get(publish))
            .route("/echo/pubmsg", get(publish_message))
            .route("/echo/listen", get(listen))
            .route("/echo/bc", get(broadcast))
            .route("/echo/str", get(async || "hello"))
            .route("/echo/num", get(async || StatusCode::NO_CONTENT))
            .route("/echo/se", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "bad thing")))
            .route("/echo/forb", get(async || (StatusCode::FORBIDDEN, "no")))
            .route("/echo/boom", get(boom))
    };
    replay::<Old>(include_str!("../transcripts/sails-0.9.json"), routes).await;
}

async fn boom() {
    panic!("boom");
}

#[derive(Deserialize)]
struct Publish {
    uid: String,
    omit: Option<String>,
}

async fn publish(cx: Context, Query(asked): Query<Publish>) -> Result<Json<&'static str>, Error> {
    let omit = cx.client().filter(|_| asked.omit.is_some());
    cx.pubsub("user")?.publish_update(asked.uid, json!({ "x": 1 }), omit).await?;
    Ok(Json("ok"))
}

async fn publish_message(cx: Context) -> Result<Json<&'static str>, Error> {
    cx.pubsub("user")?.publish_to([1], &json!({ "latitude": 1 }), None)?;
    Ok(Json("ok"))
}

async fn listen(cx: Context) -> Json<&'static str> {
    cx.listen("r1");
    Json("listening")
}

async fn broadcast(cx: Context) -> Result<Json<&'static str>, Error> {
    cx.broadcast("r1", &json!({ "chatterer": "Joe" }))?;
    Ok(Json("bc"))
}
