//! Live queries: which records each collection of the page shows.
//!
//! A *target* is a collection or a model of the page. It shows the union of the results of its
//! *queries*, in the order in which they were first read. A query follows the room that its last
//! answer joined. [`Queries`] keeps the ids of every result up to date by the changes and the
//! answers that arrive, and decides what a target must add, remove and reorder, and which queries
//! must be sent again because only the server knows their result.
//!
//! Only ids matter here. Attributes, models and requests are the caller's. It calls a method for
//! each event, in the order in which the core reports them, and then carries out everything that
//! [`Queries::poll`] returns. What an answer or a push tells of one room may be news of another, which
//! the core does not repeat: see [`Queries::changed`] and [`Answer::changed`].
//!
//! Invariants:
//!
//! - Queries in one room have the same members, because the room is the filter. Every answer that
//!   the core has counted as a snapshot of a room updates all queries of the room: the changes that
//!   it contains are not delivered again.
//! - A record is removed from a target only if it is destroyed, or if no query of the target has it
//!   and all of them are up to date. So a record that moves between two pages does not flicker.
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
pub use change::Change;
pub use output::Output;

use answer::Snapshot;
use change::RoomChange;
use query::Query;
use symbols::{Symbol, Symbols};
use target::Target;

/// What is between the items of a list in a text. The empty text is the empty list.
pub const SEPARATOR: u8 = 0;

/// All live queries of a page.
#[derive(Debug)]
pub struct Queries {
    targets: Vec<Target>,
    /// Rooms that a query has left, perhaps several times.
    left: Vec<Symbol>,
    symbols: Symbols,
}

impl Default for Queries {
    fn default() -> Self {
        Self::new()
    }
}

impl Queries {
    /// No queries yet.
    pub const fn new() -> Self {
        Self { targets: Vec::new(), left: Vec::new(), symbols: Symbols::new() }
    }

    /// A fetch by the page for this target was sent. Until it ends, no query of the target is sent
    /// again, because the fetch may replace it, and no room is left, because the fetch may join it.
    pub fn begin_read(&mut self, target: u32) {
        let at = self.place_of(target);
        self.targets[at].begin_read();
    }

    /// A fetch by the page was answered, has failed or was aborted: once for each
    /// [`begin_read`](Self::begin_read), and after [`read`](Self::read) if there is one.
    pub fn end_read(&mut self, target: u32) {
        let at = self.place_of(target);
        self.targets[at].end_read();
    }

    /// A fetch by the page was answered, and Backbone has applied the answer to the target. With
    /// `replaces` its other queries end; otherwise (`remove: false`) the query is one more, or one
    /// that is read again. `has_own_order`: the target has a comparator.
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
        let at = self.place_of(target);
        let target = &mut self.targets[at];
        if replaces {
            target.replace(query, &mut self.left);
        }
        let is_current = target.is_current(&answer);
        target.read(query, &answer, has_own_order, &mut self.symbols);
        self.share(Some(query), &answer, is_current);
    }

    /// An [`Output::Ask`] was answered. If the query has ended, or the page has read it anew, the
    /// answer only updates the queries of its room. So does the answer to a read whose target was
    /// stopped: it belongs here, too, under any id that no query has.
    pub fn answered(&mut self, query: u32, answer: Answer<'_>) {
        let answer = Snapshot::of(answer, &mut self.symbols);
        self.leave_room_of(query);
        let Some(asked) = self.query(query).filter(|query| query.is_asked()) else {
            self.left.push(answer.room);
            return self.share(None, &answer, false);
        };
        let is_current = !asked.has_changed_in_flight;
        asked.accept(&answer, is_current);
        self.share(Some(query), &answer, is_current);
    }

    /// An [`Output::Ask`] has failed. `is_gone`: the server refuses the records (401, 403, 404), and
    /// the query ends; what only it has shown is removed. Otherwise it waits for
    /// [`retry`](Self::retry).
    pub fn failed(&mut self, query: u32, is_gone: bool) {
        for target in &mut self.targets {
            target.failed(query, is_gone, &mut self.left);
        }
    }

    /// Sends the queries again that have failed.
    pub fn retry(&mut self) {
        self.for_each(&mut Query::retry);
    }

    /// A record has changed, by a push in this room or by an answered write of the page, whose room
    /// is the class room (`todo`). `names` are the attributes that an update has changed, or in which
    /// a created record differs from what the page has known of it.
    ///
    /// The core does not deliver in the class room what the answer to a read of one record has shown:
    /// after such an answer the caller reports the record as updated there. Neither does it deliver in
    /// the rooms of single records what was read with the whole resource: after such an answer the
    /// caller reports those that are not in it as destroyed. What it knows to be over by a later
    /// change it does not report: that a record exists which is destroyed, or that one is destroyed
    /// which exists again.
    pub fn changed(&mut self, room: &str, change: Change, id: &str, names: &str) {
        let record = Some((change, self.symbols.intern(id)));
        self.apply(room, record, names);
    }

    /// Something happened in a room that cannot be applied as changes of records.
    pub fn announced(&mut self, room: &str) {
        self.apply(room, None, "");
    }

    /// The core has lost the place of a room: all its queries are sent again.
    pub fn refresh(&mut self, room: &str) {
        self.announced(room);
        let room = self.symbols.intern(room);
        self.left.push(room);
    }

    /// All queries are sent again.
    pub fn refresh_all(&mut self) {
        self.for_each(&mut Query::invalidate);
    }

    /// The target has a comparator from now on, or no longer.
    pub fn reorder(&mut self, target: u32, has_own_order: bool) {
        let at = self.place_of(target);
        self.targets[at].reorder(has_own_order);
    }

    /// The target is no longer live. It keeps what it shows.
    pub fn stop(&mut self, target: u32) {
        let at = self.place_of(target);
        self.targets[at].end_queries(&mut self.left, &mut |_| true);
        self.targets.remove(at);
    }

    /// Whether a query follows this room.
    pub fn is_followed(&mut self, room: &str) -> bool {
        let room = self.symbols.intern(room);
        self.has_room(room)
    }

    /// What to do next. To be called until it returns `None`, best after all changes of a push.
    pub fn poll(&mut self) -> Option<Output> {
        self.ask().or_else(|| self.show()).or_else(|| self.leave())
    }

    /// Where a target is, which may be new.
    fn place_of(&mut self, id: u32) -> usize {
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

    fn any(&self, is_it: &dyn Fn(&Query) -> bool) -> bool {
        self.targets.iter().any(|target| target.queries.iter().any(is_it))
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

    fn apply(&mut self, room: &str, record: Option<(Change, Symbol)>, names: &str) {
        let change = RoomChange::new(room, record, &mut self.symbols);
        let names = names::hash_list(names);
        for target in &mut self.targets {
            target.changed(&change, &names, &mut self.left);
        }
    }

    /// An answer may lead a query to another room.
    fn leave_room_of(&mut self, query: u32) {
        if let Some(room) = self.query(query).map(|query| query.room) {
            self.left.push(room);
        }
    }

    /// Updates the queries in the room of an answer, but for the one that has taken it, and the order
    /// of others.
    fn share(&mut self, taken_by: Option<u32>, answer: &Snapshot, is_current: bool) {
        for target in &mut self.targets {
            target.learn(taken_by, answer, is_current, &mut self.symbols);
        }
    }

    fn ask(&mut self) -> Option<Output> {
        let query = self.next_due()?;
        self.query(query)?.ask();
        Some(Output::Ask(query))
    }

    /// A query to send again. The answer to one query of a part is the answer to all in its room: one
    /// is enough.
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

    /// A request that was sent before the room is left may join it before, and be answered after.
    fn leave(&mut self) -> Option<Output> {
        let left = core::mem::take(&mut self.left);
        self.symbols.clear();
        self.symbols.add_to(&mut self.left, &left);
        if self.targets.iter().any(Target::is_reading) || self.any(&Query::is_asked) {
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

    /// Forgets ids and rooms that are no longer in use, when nothing else is left to do.
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
