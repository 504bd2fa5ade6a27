//! One handler for HTTP and sockets. It answers `curl 'localhost:1337/echo?message=hi'`, and
//! `io.socket.get('/echo', {message: 'hi there!'}, console.log)` of `sails.io.js`.

use std::io;

use axum::Json;
use axum::extract::Query;
use axum::routing::get;
use backwire::server::Builder;
use backwire::{Client, Server};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Parameters {
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
    Query(in_url): Query<Parameters>,
    socket: Option<Client>,
    in_body: Option<Json<Parameters>>,
) -> Json<Echo> {
    let message = in_body.and_then(|Json(body)| body.message).or(in_url.message);
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
