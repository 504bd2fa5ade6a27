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
//! [`Queries::poll`] returns.
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

mod description;
mod ids;
mod query;
mod target;

pub use description::{Description, Kind};
pub use ids::Id;

use query::Query;
use target::Target;

/// What happened to a record, as the room of a query reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was created, or it begins to fulfil the filter.
    Created,
    /// Some of its attributes have changed.
    Updated,
    /// It no longer exists.
    Destroyed,
    /// It no longer fulfils the filter.
    Left,
}

impl Change {
    /// Reads the number on the wire.
    pub const fn from_verb(verb: u32) -> Option<Self> {
        match verb {
            1 => Some(Self::Created),
            2 => Some(Self::Updated),
            3 => Some(Self::Destroyed),
            4 => Some(Self::Left),
            _ => None,
        }
    }
}

/// The answer to a query.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The room that the request joined.
    pub room: String,
    /// How the server has understood the request.
    pub description: Description,
    /// The ids of the records, in the order of the answer.
    pub ids: Vec<Id>,
    /// The attributes in which some of the records differ from what the page has known. An answer
    /// hides the pushes that it covers, so nothing else reports them.
    pub changed: Vec<String>,
}

/// What the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this query again, then call [`Queries::answered`] or [`Queries::failed`], exactly once.
    Ask(u32),
    /// Update what a target shows: remove, then add, then reorder.
    Show {
        /// The collection or model.
        target: u32,
        /// Ids to add at the end, or where the comparator of the page puts them.
        added: Vec<Id>,
        /// Ids to remove. One that is also in `added` was destroyed and created anew.
        removed: Vec<Id>,
        /// All ids that the target shows because of its queries, in their new order.
        order: Option<Vec<Id>>,
    },
    /// Leave this room: no query follows it.
    Leave(String),
}

/// All live queries of a page.
#[derive(Debug, Default)]
pub struct Queries {
    targets: Vec<Target>,
    /// Rooms that a query has left, each once.
    abandoned: Vec<String>,
}

impl Queries {
    /// No queries yet.
    pub const fn new() -> Self {
        Self { targets: Vec::new(), abandoned: Vec::new() }
    }

    /// A fetch by the page for this target was sent. Until it ends, no query of the target is sent
    /// again, because the fetch may replace it, and no room is left, because the fetch may join it.
    pub fn begin_read(&mut self, target: u32) {
        self.target(target).begin_read();
    }

    /// A fetch by the page was answered, has failed or was aborted: once for each
    /// [`begin_read`](Self::begin_read), and after [`read`](Self::read) if there is one.
    pub fn end_read(&mut self, target: u32) {
        if let Some(target) = self.targets.iter_mut().find(|other| other.id == target) {
            target.end_read();
        }
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
        mut answer: Answer,
    ) {
        ids::deduplicate(&mut answer.ids);
        let target = self.target(target);
        let is_current = target.is_current(&answer);
        let left = target.read(query, replaces, has_own_order, &answer);
        self.abandon_all(left);
        self.share(Some(query), &answer, is_current);
    }

    /// An [`Output::Ask`] was answered. If the query has ended, or the page has read it anew, the
    /// answer only updates the queries of its room. So does the answer to a read whose target was
    /// stopped: it belongs here, too, under any id that no query has.
    pub fn answered(&mut self, query: u32, mut answer: Answer) {
        ids::deduplicate(&mut answer.ids);
        let asked = self.queries_mut().find(|other| other.id == query && other.is_asked());
        let Some(asked) = asked else {
            self.abandon(answer.room.clone());
            return self.share(None, &answer, false);
        };
        let is_current = !asked.has_changed_in_flight;
        let left = asked.accept(&answer, is_current);
        self.abandon(left);
        self.share(Some(query), &answer, is_current);
    }

    /// An [`Output::Ask`] has failed. `is_gone`: the server refuses the records (401, 403, 404), and
    /// the query ends; what only it has shown is removed. Otherwise it waits for
    /// [`retry`](Self::retry).
    pub fn failed(&mut self, query: u32, is_gone: bool) {
        let mut left = Vec::new();
        for target in &mut self.targets {
            target.failed(query, is_gone, &mut left);
        }
        self.abandon_all(left);
    }

    /// Sends the queries again that have failed.
    pub fn retry(&mut self) {
        self.targets.iter_mut().for_each(Target::retry);
    }

    /// A record has changed, by a push in this room or by an answered write of the page, whose room
    /// is the class room (`todo`). `names` are the attributes of an update that have changed.
    pub fn changed(&mut self, room: &str, change: Change, id: &Id, names: &[&str]) {
        for target in &mut self.targets {
            target.changed(room, change, id, names);
        }
        if change == Change::Destroyed {
            self.destroyed(resource_of(room), id);
        }
    }

    /// Something happened in a room that cannot be applied as changes of records.
    pub fn announced(&mut self, room: &str) {
        for target in &mut self.targets {
            target.invalidate(Some(room));
        }
    }

    /// The core has lost the place of a room: all its queries are sent again.
    pub fn refresh(&mut self, room: &str) {
        self.announced(room);
        self.abandon(room.into());
    }

    /// All queries are sent again.
    pub fn refresh_all(&mut self) {
        for target in &mut self.targets {
            target.invalidate(None);
        }
    }

    /// The target has a comparator from now on, or no longer.
    pub fn reorder(&mut self, target: u32, has_own_order: bool) {
        if let Some(target) = self.targets.iter_mut().find(|other| other.id == target) {
            target.reorder(has_own_order);
        }
    }

    /// The target is no longer live. It keeps what it shows.
    pub fn stop(&mut self, target: u32) {
        if let Some(at) = self.targets.iter().position(|other| other.id == target) {
            let target = self.targets.remove(at);
            self.abandon_all(target.queries.into_iter().map(|query| query.room));
        }
    }

    /// Whether a query follows this room.
    pub fn is_followed(&self, room: &str) -> bool {
        self.queries().any(|query| query.room == room)
    }

    /// What to do next. To be called until it returns `None`, best after all changes of a push.
    pub fn poll(&mut self) -> Option<Output> {
        self.ask().or_else(|| self.show()).or_else(|| self.leave())
    }

    fn queries(&self) -> impl Iterator<Item = &Query> {
        self.targets.iter().flat_map(|target| &target.queries)
    }

    fn queries_mut(&mut self) -> impl Iterator<Item = &mut Query> {
        self.targets.iter_mut().flat_map(|target| &mut target.queries)
    }

    fn target(&mut self, id: u32) -> &mut Target {
        let at = self.targets.iter().position(|target| target.id == id).unwrap_or_else(|| {
            self.targets.push(Target::new(id));
            self.targets.len() - 1
        });
        &mut self.targets[at]
    }

    /// Updates the queries in the room of an answer, but for the one that has taken it, and the order
    /// of others.
    fn share(&mut self, taken_by: Option<u32>, answer: &Answer, is_current: bool) {
        for target in &mut self.targets {
            target.learn(taken_by, answer, is_current);
        }
    }

    fn destroyed(&mut self, resource: &str, id: &Id) {
        let mut left = Vec::new();
        for target in &mut self.targets {
            target.destroyed(resource, id, &mut left);
        }
        self.abandon_all(left);
    }

    fn abandon_all(&mut self, rooms: impl IntoIterator<Item = String>) {
        for room in rooms {
            self.abandon(room);
        }
    }

    fn abandon(&mut self, room: String) {
        if !self.abandoned.contains(&room) {
            self.abandoned.push(room);
        }
    }

    /// The answer to one query of a part is the answer to all in its room: one is sent.
    fn ask(&mut self) -> Option<Output> {
        let is_redundant = |query: &Query| {
            query.is_part()
                && self.queries().any(|other| other.is_pending() && other.room == query.room)
        };
        let due = |target: &Target| target.due().find(|query| !is_redundant(query)).map(|q| q.id);
        let id = self.targets.iter().find_map(due)?;
        self.queries_mut().find(|query| query.id == id)?.ask();
        Some(Output::Ask(id))
    }

    fn show(&mut self) -> Option<Output> {
        let output = self.targets.iter_mut().find_map(Target::show);
        self.targets.retain(|target| !target.is_over());
        output
    }

    /// A request that was sent before the room is left may join it before, and be answered after.
    fn leave(&mut self) -> Option<Output> {
        let is_waiting = self.targets.iter().any(|target| target.is_reading())
            || self.queries().any(Query::is_asked);
        while !is_waiting && !self.abandoned.is_empty() {
            let room = self.abandoned.remove(0);
            if !self.is_followed(&room) {
                return Some(Output::Leave(room));
            }
        }
        None
    }
}

/// `todo` of `todo`, `todo/7` and `todo?…`.
fn resource_of(room: &str) -> &str {
    let end = room.bytes().position(|byte| byte == b'/' || byte == b'?');
    end.and_then(|end| room.get(..end)).unwrap_or(room)
}
