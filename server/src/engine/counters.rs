//! What a store counts for each resource.

use crate::change::{Change, Id, Position, Verb};
use crate::engine::Window;

/// The part of its count that a log may have too much: many changes that are forgotten at a time cost less than
/// as many by themselves.
const FORGOTTEN_TOGETHER: u64 = 16;

/// How far a resource's log reaches and which id comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// Offset of the newest change, 0 before the first.
    pub(super) head: u64,
    /// Offset of the newest change that was dropped from the log, 0 before the first.
    pub(super) floor: u64,
    /// The id of the next record that brings none. Only grows, so that an id is never given twice:
    /// somebody may still hold a link to the record that had it.
    pub(super) next_id: i64,
}

/// Of a resource nobody has written to.
impl Default for Counters {
    fn default() -> Self {
        Self { head: 0, floor: 0, next_id: 1 }
    }
}

impl Counters {
    /// Where the log stands.
    pub(super) fn position(&self, epoch: u64) -> Position {
        Position { epoch, offset: self.head }
    }

    /// The place the next change will take.
    pub(super) fn next_position(&self, epoch: u64) -> Position {
        Position { epoch, offset: self.head + 1 }
    }

    /// Counts a change in.
    pub(super) fn count(&mut self, change: &Change) {
        self.head = change.position.offset;
        if let (Verb::Create, Id::Integer(taken)) = (change.verb, &change.id) {
            self.next_id = self.next_id.max(taken.saturating_add(1));
        }
    }

    /// Whether everything after an offset is still in the log.
    pub(super) fn reaches(&self, offset: u64) -> bool {
        (self.floor..=self.head).contains(&offset)
    }

    /// Where the floor has to be at least for the log to keep to its count.
    pub(super) fn floor_by_count(&self, window: &Window) -> u64 {
        let floor = self.head.saturating_sub(window.count).max(self.floor);
        let is_worth_it = floor - self.floor > window.count / FORGOTTEN_TOGETHER;
        if is_worth_it { floor } else { self.floor }
    }
}
