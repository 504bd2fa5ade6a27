//! A chat with presence. A client connects with its name: `io({query: {name: 'Ann'}})`. Over the
//! socket, `GET /chat/lobby` enters a room and returns the names of those who are in it, and
//! `POST /chat/lobby` with `{text: 'Hi'}` sends a message to all others in the room.
//!
//! The others get the events `message`, `entered` and `left`: with `socket.on` of
//! `socket.io-client`, or with `Backwire.socket.on` in a page with Backwire's runtime.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::{MethodRouter, get};
use backwire::server::Builder;
use backwire::{Client, Context, Error, Server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A client that has entered a room.
struct Present {
    room: String,
    name: String,
}

/// The clients that have entered a room, by their ids.
#[derive(Clone, Default)]
struct Presence(Arc<Mutex<BTreeMap<Arc<str>, Present>>>);

impl Presence {
    fn enter(&self, client: &Client, room: &str) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present = Present { room: room.to_owned(), name: name_of(client) };
        all.insert(Arc::clone(client.id()), present);
        all.values().filter(|it| it.room == room).map(|it| it.name.clone()).collect()
    }

    fn leave(&self, client: &Client) -> Option<Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(client.id())
    }
}

fn name_of(client: &Client) -> String {
    client.handshake().query("name").unwrap_or_else(|| "somebody".to_owned())
}

#[derive(Deserialize, Serialize)]
struct Message {
    text: String,
}

async fn enter(
    cx: Context,
    State(presence): State<Presence>,
    Path(room): Path<String>,
) -> Result<Json<Value>, Error> {
    let Some(client) = cx.client() else { return Ok(Json(json!({ "entered": null }))) };
    client.listen(&room);
    let present = presence.enter(client, &room);
    cx.broadcast(&room, "entered", &json!({ "room": room, "name": name_of(client) }))?;
    Ok(Json(json!({ "entered": room, "present": present })))
}

/// Sends a message. A client without a socket may send one over HTTP, but cannot receive any.
async fn say(
    cx: Context,
    Path(room): Path<String>,
    Json(message): Json<Message>,
) -> Result<Json<Message>, Error> {
    let name = cx.client().map_or_else(|| "a robot".to_owned(), name_of);
    cx.broadcast(&room, "message", &json!({ "room": room, "name": name, "text": message.text }))?;
    Ok(Json(message))
}

/// Refuses a client whose name belongs to another one that is in a room.
async fn connect(client: Client, presence: Presence) -> Result<(), &'static str> {
    let all = presence.0.lock().unwrap_or_else(PoisonError::into_inner);
    let name = client.handshake().query("name");
    match name.is_some_and(|name| all.values().any(|it| it.name == name)) {
        true => Err("E_NAME: this name is taken"),
        false => Ok(()),
    }
}

async fn disconnect(client: Client, cx: Context, presence: Presence) {
    if let Some(Present { room, name }) = presence.leave(&client) {
        let left = json!({ "room": room, "name": name });
        cx.broadcast(&room, "left", &left).expect("the name of the event is allowed");
    }
}

pub(crate) fn routes(server: Builder) -> Builder {
    let presence = Presence::default();
    let chat: MethodRouter = get(enter).post(say).with_state(presence.clone());
    let (connecting, leaving) = (presence.clone(), presence);
    server
        .route("/chat/{room}", chat)
        .on_connect(move |client, _| connect(client, connecting.clone()))
        .on_disconnect(move |client, cx| disconnect(client, cx, leaving.clone()))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).bind().await?;
    println!("{}/chat/lobby", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
