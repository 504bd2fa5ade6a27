//! What the queries want done.

/// What the caller must do. Lists are joined by [`SEPARATOR`](super::SEPARATOR).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this query again, then call [`Queries::answered`](super::Queries::answered) or [`Queries::failed`](super::Queries::failed), exactly once.
    Ask(u32),
    /// Update what a target shows: remove, then add, then reorder.
    Show {
        /// The collection or model.
        target: u32,
        /// Ids to add at the end, or where the comparator of the page puts them.
        added: String,
        /// Ids to remove. One that is also in `added` was destroyed and created anew.
        removed: String,
        /// All ids that the target shows because of its queries, in their new order.
        order: Option<String>,
    },
    /// Leave this room: no query follows it.
    Leave(String),
}
