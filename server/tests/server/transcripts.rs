//! Exchanges recorded with Sails 1.5 and Sails 0.9, compared with the answers of this server.
//!
//! An exchange contains the answer and the pushes of the original. If this server differs on
//! purpose, the exchange also contains the relevant part of our answer, and the name of the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use axum::Json;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::routing::{get, put};
use backwire::engine::{Engine, Memory, Window};
use backwire::model::{Model, Undeclared};
use backwire::route::Shortcuts;
use backwire::server::Builder;
use backwire::{Context, Error, Server, Session};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Socket, builder, start};

#[derive(Deserialize)]
struct Transcript {
    /// Attributes that are not compared, with the reasons.
    left_out: BTreeMap<String, String>,
    /// The reasons for differences, by name.
    because: BTreeMap<String, String>,
    /// The cookie that the clients received before they connected, with its properties.
    cookie: Option<String>,
    /// Runs of exchanges. Each begins with an empty store.
    runs: Vec<Vec<Exchange>>,
}

#[derive(Deserialize)]
struct Exchange {
    /// `s1` or `s2`
    by: String,
    /// The request, such as `get /user`. The url may be missing.
    ask: String,
    data: Option<Value>,
    #[serde(flatten)]
    theirs: Response,
    ours: Option<Response>,
    because: Option<String>,
}

/// The response to a request, and the pushes that it caused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Response {
    ack: Value,
    /// The client that received the push, the event and its data.
    #[serde(default)]
    pushes: Vec<(String, String, Value)>,
}

/// The encoding of requests and answers in a dialect.
trait Dialect {
    /// Whether the pushes of a client's own request arrive before its answer.
    const PUSHES_COME_FIRST: bool;

    fn payload(url: Option<&str>, data: Option<&Value>) -> Value;
    fn ack(ack: Value) -> Value;
}

struct Sails1;

impl Dialect for Sails1 {
    const PUSHES_COME_FIRST: bool = false;

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

struct Sails09;

impl Dialect for Sails09 {
    const PUSHES_COME_FIRST: bool = true;

    fn payload(url: Option<&str>, data: Option<&Value>) -> Value {
        Sails1::payload(url, data).to_string().into()
    }

    fn ack(ack: Value) -> Value {
        match ack.as_str() {
            Some(text) => serde_json::from_str(text).unwrap_or_else(|_| json!({ "text": text })),
            None => ack,
        }
    }
}

async fn replay<T: Dialect>(text: &str, routes: impl Fn(Builder) -> Builder) {
    let transcript: Transcript = serde_json::from_str(text).unwrap();
    for run in &transcript.runs {
        let (server, engine) = with_engine(routes(builder())).await;
        let handshakes = handshakes(transcript.cookie.as_deref(), &server).await;
        let mut sockets = BTreeMap::new();
        for (name, (query, headers)) in ["s1", "s2"].into_iter().zip(handshakes) {
            let headers: Vec<_> = headers.iter().map(|(name, it)| (*name, &**it)).collect();
            let mut socket = Socket::connect_with(&server, &query, &headers, "").await;
            // The first request selects the dialect.
            fence::<T>(&mut socket).await;
            sockets.insert(name, socket);
        }
        if transcript.cookie.is_some() {
            for (at, socket) in sockets.values_mut().enumerate() {
                let visits = socket.ask(json!(["get", T::payload(Some("/visits"), None)])).await;
                assert_eq!(T::ack(visits), at + 1, "both clients have one session");
            }
        }
        for exchange in run {
            transcript.compare(exchange, perform::<T>(&mut sockets, &engine, exchange).await);
        }
        // A shutdown waits for the fan-out, which ends with the engine.
        drop(engine);
        server.shutdown().await;
    }
}

/// Returns the queries and the headers of the handshakes of both clients. If the recording begins
/// with a cookie, they have one of this server: the first client in a header, and the second one in
/// its url, as pages of other origins send it.
async fn handshakes(
    cookie: Option<&str>,
    server: &Server,
) -> [(String, Vec<(&'static str, String)>); 2] {
    let Some(theirs) = cookie else { return Default::default() };
    let response = reqwest::get(format!("http://{}/", server.addr())).await.unwrap();
    let ours = response.headers()["set-cookie"].to_str().unwrap();
    let ((_, theirs), (cookie, ours)) =
        (theirs.split_once("; ").unwrap(), ours.split_once("; ").unwrap());
    let ours: Vec<_> = ours.split("; ").filter(|it| *it != "SameSite=Lax").collect();
    assert!(ours.len() == 2 && theirs.split("; ").all(|property| ours.contains(&property)));
    let encoded = cookie.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    [
        (String::new(), vec![("cookie", cookie.to_owned())]),
        (format!("&cookie={encoded}"), Vec::new()),
    ]
}

/// Starts a server, and returns it with its engine.
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

async fn perform<T: Dialect>(
    sockets: &mut BTreeMap<&str, Socket>,
    engine: &Arc<dyn Engine>,
    exchange: &Exchange,
) -> Response {
    let (verb, url) = match exchange.ask.split_once(' ') {
        Some((verb, url)) => (verb, Some(url)),
        None => (&*exchange.ask, None),
    };
    let requester = sockets.get_mut(&*exchange.by).unwrap();
    let ack = requester.ask(json!([verb, T::payload(url, exchange.data.as_ref())])).await;
    let early = requester.buffered_frames();
    // The changes of a cascade are not part of the answer to a destroy.
    while !engine.cascades().unfinished().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let mut pushes = Vec::new();
    for (name, socket) in sockets {
        fence::<T>(socket).await;
        let late = socket.buffered_frames();
        let is_own = **name == exchange.by;
        assert!(!(is_own && T::PUSHES_COME_FIRST) || late.is_empty(), "after the answer: {late:?}");
        for frame in early.iter().filter(|_| is_own).chain(&late) {
            let (event, data) = serde_json::from_str(&frame[2..]).unwrap();
            pushes.push(((*name).to_owned(), event, data));
        }
    }
    Response { ack: T::ack(ack), pushes }
}

/// Sends a request whose answer arrives after all earlier pushes to this socket.
async fn fence<T: Dialect>(socket: &mut Socket) {
    socket.ask(json!(["get", T::payload(Some("/fence/1"), None)])).await;
}

impl Transcript {
    fn compare(&self, exchange: &Exchange, response: Response) {
        let response = self.normal(response);
        let theirs = self.normal(exchange.theirs.clone());
        let what = format!("{} {} {:?}", exchange.by, exchange.ask, exchange.data);
        match (&exchange.ours, &exchange.because) {
            (None, None) => assert_eq!(response, theirs, "{what}"),
            (Some(ours), Some(reason)) => {
                assert!(self.because.contains_key(reason), "{reason} is no reason");
                assert_ne!(response, theirs, "{what}: there is no difference any more");
                let ours = self.normal(ours.clone());
                assert!(ours.is_in(&response), "{what}: {response:#?}\nis not\n{ours:#?}");
            }
            _ => panic!("{what}: a difference has a reason"),
        }
    }

    fn normal(&self, response: Response) -> Response {
        let pushes = response.pushes.into_iter();
        Response {
            ack: self.plain(response.ack),
            pushes: pushes.map(|(by, event, data)| (by, event, self.plain(data))).collect(),
        }
    }

    /// Removes values that differ from run to run.
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

impl Response {
    fn is_in(&self, response: &Self) -> bool {
        is_in(&self.ack, &response.ack)
            && self.pushes.len() == response.pushes.len()
            && self.pushes.iter().zip(&response.pushes).all(|(ours, response)| {
                (&ours.0, &ours.1) == (&response.0, &response.1) && is_in(&ours.2, &response.2)
            })
    }
}

/// Returns whether `whole` contains everything in `part`.
fn is_in(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .all(|(name, value)| whole.get(name).is_some_and(|other| is_in(value, other))),
        _ => part == whole,
    }
}

#[tokio::test]
async fn sails_1_5_is_emulated_except_for_listed_differences() {
    let routes = |server: Builder| {
        server
            .route("/str", get(async || "hello"))
            .route("/nul", get(async || Json(())))
            .route("/thr", get(boom))
            .route("/forb", put(async || (StatusCode::FORBIDDEN, "Forbidden")))
    };
    replay::<Sails1>(include_str!("../transcripts/sails-1.5.json"), routes).await;
}

#[tokio::test]
async fn sails_1_5_associations_are_emulated_except_for_listed_differences() {
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
    replay::<Sails1>(transcript, declared).await;
}

#[tokio::test]
async fn sails_0_9_is_emulated_except_for_listed_differences() {
    // The model of the recorded app, whose shortcuts write.
    let attributes = json!({
        "name": "string", "email": { "type": "string", "email": true }, "age": "integer",
    });
    let user: Model = serde_json::from_value(json!({ "attributes": attributes })).unwrap();
    let routes = |server: Builder| {
        server
            .resource("user", user.clone())
            .unwrap()
            .undeclared(Undeclared::Refuse)
            .shortcuts(Shortcuts::Write)
            .route("/visits", get(visit))
            .route("/echo/pub", get(publish))
            .route("/echo/pubmsg", get(publish_message))
            .route("/echo/listen", get(listen))
            .route("/echo/bc", get(broadcast))
            .route("/echo/rooms", get(async |cx: Context| rooms(&cx)))
            .route("/echo/sub7", get(async |cx: Context| subscribe(&cx, json!(7))))
            .route("/echo/sub7s", get(async |cx: Context| subscribe(&cx, json!("7"))))
            .route("/echo/subabc", get(async |cx: Context| subscribe(&cx, json!("abc"))))
            .route("/echo/str", get(async || "hello"))
            .route("/echo/num", get(async || StatusCode::NO_CONTENT))
            .route("/echo/se", get(async || (StatusCode::INTERNAL_SERVER_ERROR, "bad thing")))
            .route("/echo/forb", get(async || (StatusCode::FORBIDDEN, "no")))
            .route("/echo/boom", get(boom))
    };
    replay::<Sails09>(include_str!("../transcripts/sails-0.9.json"), routes).await;
}

async fn visit(session: Session) -> Result<Json<usize>, Error> {
    let visits = session.get::<usize>("visits").await?.unwrap_or(0) + 1;
    session.insert("visits", visits)?;
    Ok(Json(visits))
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

/// Returns the rooms of the client, by the names that Sails has for them.
fn rooms(cx: &Context) -> Json<Vec<String>> {
    let mut names = vec![String::new()];
    let mut rooms = cx.client().unwrap().rooms();
    rooms.sort();
    names.extend(
        rooms.iter().filter(|room| *room == "o:user").map(|_| "/sails_c_create_user".into()),
    );
    let ids = rooms.iter().filter_map(|room| room.strip_prefix("o:user/"));
    names.extend(ids.map(|id| format!("/sails_c_user_{id}")));
    names.extend(rooms.iter().filter_map(|room| Some(format!("/{}", room.strip_prefix("n:")?))));
    Json(names)
}

fn subscribe(cx: &Context, id: Value) -> Result<Json<Vec<String>>, Error> {
    cx.pubsub("user")?.subscribe_to(cx.client(), [id])?;
    Ok(rooms(cx))
}

async fn broadcast(cx: Context) -> Result<Json<&'static str>, Error> {
    cx.broadcast("r1", "message", &json!({ "chatterer": "Joe" }))?;
    Ok(Json("bc"))
}
