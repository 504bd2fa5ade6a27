//! Live queries: which records each collection of the page shows.
//!
//! A *target* is a collection or a model of the page. It shows the union of the results of its
//! *queries*, in the order of their first reads. A query follows the room that its last answer
//! joined. [`Queries`] keeps the ids of every result up to date with each change and each answer.
//! It decides which ids a target adds, removes and reorders. It also decides which queries the
//! caller must send again because only the server knows their results.
//!
//! This module stores ids only. Attributes, models and requests belong to the caller. The caller
//! calls a method for each event, in the order in which the core reports them, and then carries out
//! everything that [`Queries::poll`] returns. An answer or a push in one room may also change other
//! rooms, and the core does not deliver it again there: see [`Queries::changed`] and
//! [`Answer::changed`].
//!
//! Invariants:
//!
//! - Queries in one room have the same members, because the room is the filter. Every answer that
//!   the core uses as a snapshot of a room updates all queries of the room, because the core does
//!   not deliver the changes that the snapshot contains.
//! - A target removes a record only if the record is destroyed, or if all queries of the target are
//!   up to date and none of them has it. So a record that moves between two pages does not flicker.
//! - A query is sent again only after a change in its room. An answer may make other queries stale,
//!   but never one that waits for an answer itself, so two queries cannot keep each other stale.

mod answer;
mod change;
mod description;
mod names;
mod output;
mod query;
mod symbols;
mod target;

pub use answer::Answer;
pub use names::{SEPARATOR, next_item};
pub use output::Output;

use answer::Snapshot;
use change::RoomChange;
use query::Query;
use symbols::{Symbol, Symbols};
use target::Target;

use crate::wire::ChangeVerb;

/// All live queries of a page.
#[derive(Debug)]
pub struct Queries {
    targets: Vec<Target>,
    /// Rooms that queries have left. A room may be in it several times.
    left: Vec<Symbol>,
    symbols: Symbols,
}

impl Default for Queries {
    fn default() -> Self {
        Self::new()
    }
}

impl Queries {
    /// Creates an empty set of queries.
    pub const fn new() -> Self {
        Self { targets: Vec::new(), left: Vec::new(), symbols: Symbols::new() }
    }

    /// Records that the page has sent a fetch for this target. Until the fetch ends, no query of
    /// the target is sent again, because the fetch may replace it, and no room is left, because the
    /// fetch may join it.
    pub fn begin_read(&mut self, target: u32) {
        let at = self.index_of(target);
        self.targets[at].begin_read();
    }

    /// Records that a fetch by the page has ended: with an answer, with an error, or aborted. The
    /// caller calls this once for each [`begin_read`](Self::begin_read), and after
    /// [`read`](Self::read) if the fetch was answered.
    pub fn end_read(&mut self, target: u32) {
        let at = self.index_of(target);
        self.targets[at].end_read();
    }

    /// Takes the answer to a fetch by the page, after Backbone has applied it to the target. If
    /// `replaces` is set, all other queries of the target end. Otherwise (`remove: false`) the
    /// query is added, or replaces its own former result. `has_own_order` means that the target has
    /// a comparator.
    pub fn read(
        &mut self,
        query: u32,
        target: u32,
        replaces: bool,
        has_own_order: bool,
        answer: Answer<'_>,
    ) {
        let answer = Snapshot::of(answer, &mut self.symbols);
        self.leave_room_of(query);
        let at = self.index_of(target);
        let target = &mut self.targets[at];
        if replaces {
            target.replace(query, &mut self.left);
        }
        let is_current = target.is_current(&answer);
        target.read(query, &answer, has_own_order, &mut self.symbols);
        self.share(Some(query), &answer, is_current);
    }

    /// Takes the answer to an [`Output::Ask`]. If the query has ended, or the page has read it
    /// again in the meantime, the answer only updates the other queries of its room. The caller
    /// also passes the answer to a read whose target was stopped, with an id that no query has.
    pub fn answered(&mut self, query: u32, answer: Answer<'_>) {
        let answer = Snapshot::of(answer, &mut self.symbols);
        self.leave_room_of(query);
        let Some(pending) = self.query(query).filter(|query| query.is_in_flight()) else {
            self.left.push(answer.room);
            return self.share(None, &answer, false);
        };
        let is_current = !pending.has_changed_in_flight;
        pending.accept(&answer, is_current);
        self.share(Some(query), &answer, is_current);
    }

    /// Records that an [`Output::Ask`] has failed. If `is_gone` is set, the server refuses the
    /// records (401, 403, 404): the query ends, and the target removes records that no other query
    /// has. Otherwise the query waits for [`retry`](Self::retry).
    pub fn failed(&mut self, query: u32, is_gone: bool) {
        for target in &mut self.targets {
            target.failed(query, is_gone, &mut self.left);
        }
    }

    /// Sends failed queries again.
    pub fn retry(&mut self) {
        self.for_each(&mut Query::retry);
    }

    /// Records a change of one record: from a push in this room, or from an answered write of the
    /// page, whose room is the class room (`todo`). `names` are the attributes that an update has
    /// changed, or the attributes of a created record that the page did not know yet.
    ///
    /// The caller also reports two changes that the core does not deliver:
    ///
    /// - After a read of one record, the core does not deliver the changes in that snapshot in the
    ///   class room. The caller reports the record there as updated.
    /// - After a read of the whole resource, the core does not deliver the changes in that snapshot
    ///   in the rooms of single records. The caller reports the records that are missing in the
    ///   answer as destroyed.
    ///
    /// The caller does not report a state that a later change has ended: it does not report a
    /// destroyed record as existing, nor a record that was created again as destroyed.
    pub fn changed(&mut self, room: &str, change: ChangeVerb, id: &str, names: &str) {
        let mut batch = self.batch(room);
        batch.add(change, id, names);
        batch.end();
    }

    /// Begins a push in this room.
    pub fn batch<'a>(&mut self, room: &str) -> Batch<'_, 'a> {
        let change = RoomChange::new(room, None, &mut self.symbols);
        Batch { queries: self, change, changes: Vec::new() }
    }

    /// Records an event in a room that cannot be applied as changes of records.
    pub fn announced(&mut self, room: &str) {
        let change = RoomChange::new(room, None, &mut self.symbols);
        self.apply(&[(change, "")]);
    }

    /// Records that the core has lost its position in a room, and sends all queries of the room
    /// again.
    pub fn refresh(&mut self, room: &str) {
        self.announced(room);
        let room = self.symbols.intern(room);
        self.left.push(room);
    }

    /// Sends all queries again.
    pub fn refresh_all(&mut self) {
        self.for_each(&mut Query::invalidate);
    }

    /// Records whether the target has a comparator from now on.
    pub fn reorder(&mut self, target: u32, has_own_order: bool) {
        let at = self.index_of(target);
        self.targets[at].reorder(has_own_order);
    }

    /// Ends all queries of the target. The target keeps the records that it shows.
    pub fn stop(&mut self, target: u32) {
        let at = self.index_of(target);
        self.targets[at].end_queries(&mut self.left, &mut |_| true);
        self.targets.remove(at);
    }

    /// Returns whether a query follows this room.
    pub fn is_followed(&mut self, room: &str) -> bool {
        let room = self.symbols.intern(room);
        self.has_room(room)
    }

    /// Returns the next action. The caller repeats this until it returns `None`, after it has
    /// reported all changes of a push.
    pub fn poll(&mut self) -> Option<Output> {
        self.ask().or_else(|| self.show()).or_else(|| self.leave())
    }

    /// Returns the index of a target, and adds the target if it is new.
    fn index_of(&mut self, id: u32) -> usize {
        let at = self.targets.iter().position(|target| target.id == id);
        at.unwrap_or_else(|| {
            self.targets.push(Target::new(id));
            self.targets.len() - 1
        })
    }

    fn for_each(&mut self, act: &mut dyn FnMut(&mut Query)) {
        for target in &mut self.targets {
            for query in &mut target.queries {
                act(query);
            }
        }
    }

    fn any(&self, predicate: &dyn Fn(&Query) -> bool) -> bool {
        self.targets.iter().any(|target| target.queries.iter().any(predicate))
    }

    fn query(&mut self, id: u32) -> Option<&mut Query> {
        for target in &mut self.targets {
            for query in &mut target.queries {
                if query.id == id {
                    return Some(query);
                }
            }
        }
        None
    }

    fn has_room(&self, room: Symbol) -> bool {
        self.any(&|query| query.room == room)
    }

    /// Applies events of one room. Only the last one may destroy a record.
    fn apply(&mut self, batch: &[(RoomChange, &str)]) {
        for target in &mut self.targets {
            target.changed(batch, &mut self.left, &mut self.symbols);
        }
    }

    /// Checks the room of the query later, because the answer may lead it to another room.
    fn leave_room_of(&mut self, query: u32) {
        if let Some(room) = self.query(query).map(|query| query.room) {
            self.left.push(room);
        }
    }

    /// Updates all queries in the room of an answer, except for the query that has taken the
    /// answer. Also updates the order of other queries of the resource.
    fn share(&mut self, taken_by: Option<u32>, answer: &Snapshot<'_>, is_current: bool) {
        for target in &mut self.targets {
            target.learn(taken_by, answer, is_current, &mut self.symbols);
        }
    }

    fn ask(&mut self) -> Option<Output> {
        let query = self.next_due()?;
        self.query(query)?.mark_sent();
        Some(Output::Ask(query))
    }

    /// Returns a query to send again. For queries of kind part, one request for each room is
    /// enough: the answer updates all queries in the room.
    fn next_due(&self) -> Option<u32> {
        for target in &self.targets {
            for query in &target.queries {
                let is_redundant =
                    || self.any(&|other| other.is_pending() && other.room == query.room);
                if target.is_due(query) && !(query.is_part() && is_redundant()) {
                    return Some(query.id);
                }
            }
        }
        None
    }

    fn show(&mut self) -> Option<Output> {
        let mut at = 0;
        while let Some(target) = self.targets.get_mut(at) {
            let output = target.show(&mut self.symbols);
            if target.is_over() {
                self.targets.remove(at);
            } else {
                at += 1;
            }
            if output.is_some() {
                return output;
            }
        }
        None
    }

    /// Returns the next room to leave, or nothing while a request is in flight: the server may let
    /// that request join the room before it handles the leave, and the answer may arrive after it.
    fn leave(&mut self) -> Option<Output> {
        let left = core::mem::take(&mut self.left);
        self.symbols.clear();
        self.symbols.add_to(&mut self.left, &left);
        if self.targets.iter().any(Target::is_reading) || self.any(&Query::is_in_flight) {
            return None;
        }
        while !self.left.is_empty() {
            let room = self.left.remove(0);
            if !self.has_room(room) {
                return Some(Output::Leave(self.symbols.text(room).into()));
            }
        }
        self.forget();
        None
    }

    /// Forgets ids and rooms that are no longer in use. The caller makes sure that nothing else is
    /// pending.
    fn forget(&mut self) {
        if self.symbols.is_full() {
            self.symbols.clear();
            for target in &self.targets {
                target.add_symbols(&mut self.symbols);
            }
            self.symbols.forget_others();
        }
    }
}

/// The changes of a push, which are faster to apply together than one by one.
#[derive(Debug)]
pub struct Batch<'q, 'a> {
    queries: &'q mut Queries,
    /// An event in the room.
    change: RoomChange,
    changes: Vec<(RoomChange, &'a str)>,
}

impl<'a> Batch<'_, 'a> {
    /// Adds a change: see [`Queries::changed`].
    pub fn add(&mut self, change: ChangeVerb, id: &str, names: &'a str) {
        let record = Some((change, self.queries.symbols.intern(id)));
        self.changes.push((RoomChange { record, ..self.change }, names));
        // It ends queries, which must not get later changes.
        if change == ChangeVerb::Destroyed {
            self.end();
        }
    }

    /// Applies the changes. The caller calls this after the last one.
    pub fn end(&mut self) {
        self.queries.apply(&self.changes);
        self.changes.clear();
    }
}
