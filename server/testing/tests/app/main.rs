//! Facts about servers under test.

#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests have clocks, tasks and sockets"
)]

mod clients;
mod clock;
mod examples;
mod records;

use backwire::Server;
use backwire::access::{Access, Grant, Rule};
use backwire::model::{Attribute, Ids, Model};
use backwire::server::Builder;

fn server() -> Builder {
    Server::builder()
}

/// Declares notes that only their authors may read and change.
fn with_notes(server: Builder) -> Builder {
    let own = || Some(Rule(vec![Grant::Owner]));
    let access = Access {
        owner: Some("author".to_owned()),
        read: own(),
        create: own(),
        update: own(),
        destroy: own(),
        ..Access::default()
    };
    server.resource("note", Model { access, ids: Ids::Uuid, ..Model::default() }).unwrap()
}

/// Declares pets that belong to people.
fn with_pets(server: Builder) -> Builder {
    let owner = Attribute { model: Some("person".to_owned()), ..Attribute::default() };
    let pet = Model::default().attribute("owner", owner);
    server.resource("pet", pet).unwrap().resource("person", Model::default()).unwrap()
}
