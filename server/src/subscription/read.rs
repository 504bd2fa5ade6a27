//! What comes of a read.

use crate::change::{Resource, Room};
use crate::context::Context;
use crate::criteria::{Criteria, QuerySummary, Scope};
use crate::engine::Snapshot;

/// What a read found, the room it has joined, and how the request was understood.
pub(crate) struct Read<T> {
    pub(crate) snapshot: Snapshot<T>,
    pub(crate) room: Option<Room>,
    pub(crate) query: QuerySummary,
}

impl<T> Read<T> {
    pub(super) fn map<U>(self, with: impl FnOnce(T) -> U) -> Read<U> {
        let Self { snapshot: Snapshot { value, position }, room, query } = self;
        Read { snapshot: Snapshot { value: with(value), position }, room, query }
    }
}

/// How a read of records in the server's own store was understood.
pub(super) fn summary(
    cx: &Context,
    of: &Resource,
    criteria: &Criteria,
    scope: &Scope,
) -> QuerySummary {
    stored(cx, of, QuerySummary::of(criteria, scope))
}

/// The same of what is summarized already.
pub(super) fn stored(cx: &Context, of: &Resource, summary: QuerySummary) -> QuerySummary {
    match cx.shared().models.is_declared(of) {
        true => summary,
        false => summary.of_undeclared(),
    }
}
