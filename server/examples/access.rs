//! Access rules: everyone may read and write their own notes, and editors may do everything.
//!
//! A page signs in with `fetch('/login?person=ann', {method: 'POST'})`. Then it connects again,
//! with `Backwire.disconnect()` and `Backwire.connect()`, because its session is another one. A
//! real app would check a password.

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
struct Credentials {
    person: String,
    role: Option<String>,
}

async fn sign_in(session: Session, Query(credentials): Query<Credentials>) -> Result<()> {
    let Credentials { person, role } = credentials;
    session.sign_in(&*person, role).await
}

async fn sign_out(session: Session) -> Result<()> {
    session.sign_out().await
}

fn notes() -> Model {
    let editor = || Grant::Role("editor".to_owned());
    let owner_or_editor = || Some(Rule(vec![Grant::Owner, editor()]));
    let access = Access {
        owner: Some("userId".to_owned()),
        assign: Some(Rule(vec![editor()])),
        read: owner_or_editor(),
        create: owner_or_editor(),
        update: owner_or_editor(),
        destroy: owner_or_editor(),
        ..Access::default()
    };
    Model { access, ..Model::default() }
}

pub(crate) fn routes(server: Builder) -> std::result::Result<Builder, ModelError> {
    server.route("/login", post(sign_in).delete(sign_out)).resource("note", notes())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).map_err(io::Error::other)?.bind().await?;
    println!("{}/note", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
