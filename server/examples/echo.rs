//! One handler for HTTP and sockets: `socket.get('/echo', {message: 'hi there!'}, console.log)` and
//! `curl 'localhost:1337/echo?message=hi'` are answered alike.

use std::io;

use axum::Json;
use axum::extract::Query;
use axum::routing::get;
use backwire::server::Builder;
use backwire::{Client, Server};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Said {
    message: Option<String>,
}

#[derive(Serialize)]
struct Echo {
    success: bool,
    message: Option<String>,
    over: &'static str,
}

/// The data of a request over a socket is its body, as over HTTP.
async fn echo(
    Query(in_url): Query<Said>,
    socket: Option<Client>,
    in_body: Option<Json<Said>>,
) -> Json<Echo> {
    let message = in_body.and_then(|Json(said)| said.message).or(in_url.message);
    let over = if socket.is_some() { "a socket" } else { "HTTP" };
    Json(Echo { success: true, message, over })
}

pub(crate) fn routes(server: Builder) -> Builder {
    server.route("/echo", get(echo))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).bind().await?;
    println!("{}/echo?message=hi", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
