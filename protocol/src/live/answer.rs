//! Answers to queries.

use super::description::Description;
use super::names::resource_of;
use super::symbols::{Symbol, Symbols};

/// The answer to a query. Lists are joined by [`SEPARATOR`](super::SEPARATOR).
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The room that the request joined.
    pub room: &'a str,
    /// The response header `backwire-query`, which describes how the server understood the request.
    /// Empty if the response has none.
    pub description: &'a str,
    /// The ids of the records, in the order of the answer.
    pub ids: &'a str,
    /// The attributes in which some of the records differ from the state that the page had. The
    /// core does not deliver pushes that an answer covers, so no other event reports these changes.
    pub changed: &'a str,
}

/// An answer with interned ids.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) room: Symbol,
    pub(super) resource: Symbol,
    pub(super) description: Description,
    pub(super) ids: Vec<Symbol>,
    /// The attributes that have changed.
    pub(super) changed: &'a str,
}

impl<'a> Snapshot<'a> {
    pub(super) fn of(answer: Answer<'a>, symbols: &mut Symbols) -> Self {
        Self {
            room: symbols.intern(answer.room),
            resource: symbols.intern(resource_of(answer.room)),
            description: Description::parse(answer.description),
            ids: symbols.intern_list(answer.ids),
            changed: answer.changed,
        }
    }
}
