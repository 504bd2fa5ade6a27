//! Identifies a client by a token that it sends when it connects:
//! `io({auth: {token: 'ann-secret'}})`.
//!
//! Members read all notes and write their own. A client without a token reads nothing, and a client
//! with a wrong token is refused.

use std::io;

use backwire::access::{Access, Grant, Rule};
use backwire::model::{Model, ModelError};
use backwire::server::Builder;
use backwire::{Client, Context, Server};

/// The person of each token. A real app would look in its own store, or check a signature.
const PERSONS: [(&str, &str); 2] = [("ann-secret", "ann"), ("bob-secret", "bob")];

async fn connect(client: Client, _: Context) -> Result<(), String> {
    let auth = client.handshake().auth().unwrap_or_default();
    let Some(token) = auth["token"].as_str() else { return Ok(()) };
    let person = PERSONS.iter().find(|(known, _)| *known == token).map(|(_, person)| *person);
    let person = person.ok_or("E_TOKEN: the token is not known")?;
    client.sign_in(person, ["member"]).map_err(|error| error.to_string())
}

fn notes() -> Model {
    let own = || Some(Rule(vec![Grant::Owner]));
    let access = Access {
        owner: Some("author".to_owned()),
        read: Some(Rule(vec![Grant::Role("member".to_owned())])),
        create: own(),
        update: own(),
        destroy: own(),
        ..Access::default()
    };
    Model { access, ..Model::default() }
}

pub(crate) fn routes(server: Builder) -> Result<Builder, ModelError> {
    server.on_connect(connect).resource("note", notes())
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let server = routes(Server::builder()).map_err(io::Error::other)?.bind().await?;
    println!("{}/note", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
