//! A handler of its own for `POST /ticket` checks and completes each new record, as `beforeCreate`
//! of Sails does. The other methods keep their built-in handlers, and the new record is pushed to
//! subscribers as usual.
//!
//! The handler also publishes a change of the resource `dashboard`, whose records are not stored in
//! the server.

use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use backwire::change::Attributes;
use backwire::server::Builder;
use backwire::{Context, Error, Server};
use serde_json::json;

/// Refuses a ticket without a title, sets the default state, and publishes the title to the
/// subscribers of the dashboard.
async fn open_ticket(cx: Context, Json(mut ticket): Json<Attributes>) -> Result<Response, Error> {
    if ticket.get("title").is_none_or(|title| title == "") {
        let reason = json!({ "code": "E_NO_TITLE", "message": "a ticket has a title" });
        return Ok((StatusCode::BAD_REQUEST, Json(reason)).into_response());
    }
    ticket.entry("state").or_insert("open".into());
    let latest = json!({ "title": ticket["title"] });
    let reply = cx.create("ticket", ticket).await?;
    cx.pubsub("dashboard")?.publish_update("latest_ticket", latest, None).await?;
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
