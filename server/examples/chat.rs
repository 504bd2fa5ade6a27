//! A chat room: `socket.get('/chat/lobby')` enters it, `socket.post('/chat/lobby', {text: 'Hi'})`
//! says something to everybody else in it, who get it as the event `message`.

use std::io;

use axum::Json;
use axum::extract::Path;
use axum::routing::get;
use backwire::server::Builder;
use backwire::{Context, Error, Server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Deserialize, Serialize)]
struct Message {
    text: String,
}

async fn enter(cx: Context, Path(room): Path<String>) -> Json<Value> {
    cx.listen(&room);
    Json(json!({ "entered": room }))
}

/// A robot may talk over HTTP; only a socket can listen.
async fn say(
    cx: Context,
    Path(room): Path<String>,
    Json(message): Json<Message>,
) -> Result<Json<Message>, Error> {
    cx.broadcast(&room, &json!({ "room": room, "text": message.text }))?;
    Ok(Json(message))
}

pub(crate) fn routes(server: Builder) -> Builder {
    server.route("/chat/{room}", get(enter).post(say))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).bind().await?;
    println!("{}/chat/lobby", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
