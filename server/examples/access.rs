//! Everyone has notes of their own, and editors may do everything. A page says who it is with
//! `fetch('/door?person=ann', {method: 'POST'})` and connects again, `Backwire.disconnect()` and
//! `Backwire.connect()`: its session is another one then. A real one would ask for a password.

use std::io;

use axum::extract::Query;
use axum::routing::post;
use backwire::access::{Access, Grant, Rule};
use backwire::error::Result;
use backwire::model::{Model, ModelError};
use backwire::server::Builder;
use backwire::{Server, Session};
use serde::Deserialize;

#[derive(Deserialize)]
struct Papers {
    person: String,
    role: Option<String>,
}

async fn enter(session: Session, Query(Papers { person, role }): Query<Papers>) -> Result<()> {
    session.sign_in(&*person, role).await
}

async fn leave(session: Session) -> Result<()> {
    session.sign_out().await
}

fn notes() -> Model {
    let editor = || Grant::Role("editor".to_owned());
    let theirs = || Some(Rule(vec![Grant::Owner, editor()]));
    let access = Access {
        owner: Some("userId".to_owned()),
        assign: Some(Rule(vec![editor()])),
        read: theirs(),
        create: theirs(),
        update: theirs(),
        destroy: theirs(),
        ..Access::default()
    };
    Model { access, ..Model::default() }
}

pub(crate) fn routes(server: Builder) -> std::result::Result<Builder, ModelError> {
    server.route("/door", post(enter).delete(leave)).resource("note", notes())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).map_err(io::Error::other)?.bind().await?;
    println!("{}/note", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
