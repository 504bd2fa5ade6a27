//! A program with socketioxide alone: records in a map, and a room for the listeners.
//!
//! It does what `peers/node.mjs` does, and is the other peer of the benchmarks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef, State};
use socketioxide::handler::ConnectHandler;
use tokio::net::TcpListener;

const ROOM: &str = "todo";

#[derive(Clone, Default)]
struct Records(Arc<Mutex<BTreeMap<u64, Map<String, Value>>>>);

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    url: String,
    #[serde(default)]
    data: Map<String, Value>,
}

impl Request {
    fn id(&self) -> u64 {
        self.url.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0)
    }
}

#[derive(Serialize)]
struct Reply<T> {
    body: T,
    #[serde(rename = "statusCode")]
    status: u16,
    headers: Map<String, Value>,
}

impl Records {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Map<String, Value>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer<T: Serialize>(ack: AckSender, status: u16, body: T) {
    // A client that is gone needs no answer.
    let _ = ack.send(&Reply { body, status, headers: Map::new() });
}

fn now() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default().into()
}

async fn get(socket: SocketRef, ack: AckSender, State(records): State<Records>) {
    socket.join(ROOM);
    answer(ack, 200, records.with(|records| records.values().cloned().collect::<Vec<_>>()));
}

async fn post(
    io: SocketIo,
    Data(request): Data<Request>,
    ack: AckSender,
    State(records): State<Records>,
) {
    let mut record = request.data;
    record.insert("createdAt".into(), now());
    record.insert("updatedAt".into(), now());
    let record = records.with(|records| {
        let id = records.len() as u64 + 1;
        record.insert("id".into(), id.into());
        records.insert(id, record.clone());
        record
    });
    let push = json!({"verb": "created", "id": record["id"], "data": record});
    // A listener whose buffer is full misses it: nothing here would find out.
    let _ = io.to(ROOM).emit("push", &(ROOM, push)).await;
    answer(ack, 201, record);
}

async fn put(
    io: SocketIo,
    Data(request): Data<Request>,
    ack: AckSender,
    State(records): State<Records>,
) {
    let id = request.id();
    let mut set = request.data;
    set.insert("updatedAt".into(), now());
    let record = records.with(|records| {
        let record = records.get_mut(&id)?;
        record.extend(set.clone());
        Some(record.clone())
    });
    let Some(record) = record else { return answer(ack, 404, Value::Null) };
    let push = json!({"verb": "updated", "id": id, "data": set});
    let _ = io.to(ROOM).emit("push", &(ROOM, push)).await;
    answer(ack, 200, record);
}

async fn delete(
    io: SocketIo,
    Data(request): Data<Request>,
    ack: AckSender,
    State(records): State<Records>,
) {
    let id = request.id();
    let Some(record) = records.with(|records| records.remove(&id)) else {
        return answer(ack, 404, Value::Null);
    };
    let push = json!({"verb": "destroyed", "id": id});
    let _ = io.to(ROOM).emit("push", &(ROOM, push)).await;
    answer(ack, 200, record);
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let (layer, io) = SocketIo::builder().with_state(Records::default()).build_layer();
    // Before the client is told that it is connected: what it asks at once would be lost otherwise.
    let prepare = async |socket: SocketRef| {
        socket.on("get", get);
        socket.on("post", post);
        socket.on("put", put);
        socket.on("delete", delete);
        Ok::<(), Infallible>(())
    };
    io.ns("/", (async || {}).with(prepare));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    // Without it small frames wait for each other, and everything takes ten times as long.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, axum::Router::new().layer(layer)).await
}
