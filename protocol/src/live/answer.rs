//! Answers to queries.

use super::description::Description;
use super::names::{hash_list, resource_of};
use super::symbols::{Symbol, Symbols};

/// The answer to a query. Lists are joined by [`SEPARATOR`](super::SEPARATOR).
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The room that the request joined.
    pub room: &'a str,
    /// How the server has understood the request: the header `backwire-query`, or nothing.
    pub description: &'a str,
    /// The ids of the records, in the order of the answer.
    pub ids: &'a str,
    /// The attributes in which some of the records differ from what the page has known. An answer
    /// hides the pushes that it covers, so nothing else reports them.
    pub changed: &'a str,
}

/// An answer as it is kept.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) room: Symbol,
    pub(super) resource: Symbol,
    pub(super) description: Description,
    pub(super) ids: Vec<Symbol>,
    /// Hashes of the attributes that have changed.
    pub(super) changed: Vec<u32>,
}

impl Snapshot {
    pub(super) fn of(answer: Answer<'_>, symbols: &mut Symbols) -> Self {
        Self {
            room: symbols.intern(answer.room),
            resource: symbols.intern(resource_of(answer.room)),
            description: Description::parse(answer.description),
            ids: symbols.intern_list(answer.ids),
            changed: hash_list(answer.changed),
        }
    }
}
