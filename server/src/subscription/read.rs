//! The result of a read.

use backwire_engine::Snapshot;
use backwire_records::change::{Resource, Room};
use backwire_records::criteria::{Criteria, QuerySummary, Scope};

use crate::context::Context;

/// The records, the room that the caller joined, and the summary of the query.
pub(crate) struct Read<T> {
    pub(crate) snapshot: Snapshot<T>,
    pub(crate) room: Option<Room>,
    pub(crate) query: QuerySummary,
}

impl<T> Read<T> {
    /// Splits off the value from the rest of the result.
    pub(crate) fn split(self) -> (T, Read<()>) {
        let Self { snapshot: Snapshot { value, position }, room, query } = self;
        (value, Read { snapshot: Snapshot { value: (), position }, room, query })
    }

    pub(crate) fn map<U>(self, with: impl FnOnce(T) -> U) -> Read<U> {
        let Self { snapshot: Snapshot { value, position }, room, query } = self;
        Read { snapshot: Snapshot { value: with(value), position }, room, query }
    }
}

/// Returns the summary of a query of the server's own store.
pub(super) fn summary(
    cx: &Context,
    of: &Resource,
    criteria: &Criteria,
    scope: &Scope,
) -> QuerySummary {
    stored(cx, of, QuerySummary::of(criteria, scope))
}

/// Marks a summary if the resource is undeclared.
pub(super) fn stored(cx: &Context, of: &Resource, summary: QuerySummary) -> QuerySummary {
    match cx.shared().models.is_declared(of) {
        true => summary,
        false => summary.of_undeclared(),
    }
}
