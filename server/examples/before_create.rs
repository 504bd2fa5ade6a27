//! A resource with a say in what is created: `POST /ticket` is ours, all other verbs are
//! ready-made, and what is created is pushed like anything else. A second resource gets an entry of
//! its own: the news of records that are kept nowhere.

use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use backwire::change::Attributes;
use backwire::server::Builder;
use backwire::{Context, Error, Server};
use serde_json::json;

/// Refuses a ticket without a title, fills in what was left out, and tells whoever watches the
/// desk.
async fn open_ticket(cx: Context, Json(mut ticket): Json<Attributes>) -> Result<Response, Error> {
    if ticket.get("title").is_none_or(|title| title == "") {
        let reason = json!({ "code": "E_NO_TITLE", "message": "a ticket has a title" });
        return Ok((StatusCode::BAD_REQUEST, Json(reason)).into_response());
    }
    ticket.entry("state").or_insert("open".into());
    let bell = json!({ "rung_for": ticket["title"] });
    let reply = cx.create("ticket", ticket).await?;
    cx.pubsub("desk")?.publish_update("bell", bell, None).await?;
    Ok(reply.into_response())
}

pub(crate) fn routes(server: Builder) -> Builder {
    server.override_route("/ticket", post(open_ticket))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).bind().await?;
    println!("{}/ticket", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
