//! How a message is stored.

use std::sync::Arc;

use backwire_records::messages::flake::Flake;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::stored::unreadable;
use crate::{Enqueue, Error};

/// The body of a message.
#[derive(Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) event: String,
    pub(super) args: Vec<Box<RawValue>>,
}

/// The recipients of a message, in an event.
#[derive(Serialize, Deserialize)]
pub(super) struct Address {
    pub(super) site: Arc<str>,
    pub(super) persons: Vec<Arc<str>>,
    pub(super) rooms: Vec<String>,
    pub(super) resync: bool,
}

impl Address {
    pub(super) fn of(post: &Enqueue) -> Self {
        let Enqueue { site, persons, message, .. } = post;
        let (site, persons) = (Arc::clone(site), persons.clone());
        Self { site, persons, rooms: message.rooms.clone(), resync: message.resync }
    }
}

/// Reads the id of a delivery, which is stored as 16 hexadecimal digits.
pub(super) fn flake(digits: &str) -> Result<Flake, Error> {
    u64::from_str_radix(digits, 16).map(Flake::from).map_err(unreadable)
}
