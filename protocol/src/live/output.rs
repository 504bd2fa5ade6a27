//! The actions that live queries request.

/// An action for the caller. Lists are joined by [`SEPARATOR`](super::SEPARATOR).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this query again. Then call [`Queries::answered`](super::Queries::answered) or
    /// [`Queries::failed`](super::Queries::failed), exactly once.
    Ask(u32),
    /// Update the records that a target shows: remove, then add, then reorder.
    Show {
        /// The collection or model.
        target: u32,
        /// Ids to add. They go to the end, or to the place that the comparator of the page returns.
        added: String,
        /// Ids to remove. An id that is also in `added` was destroyed and created again.
        removed: String,
        /// All ids of the target's queries in their new order, or `None` if the order has not
        /// changed.
        order: Option<String>,
    },
    /// Leave this room: no query follows it.
    Leave(String),
}
