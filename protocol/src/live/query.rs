//! One live query: the result it had, and whether that is up to date.

use super::ids::{self, Id};
use super::{Answer, Change, Description, Kind, resource_of};

/// A query and its last known result.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) id: u32,
    /// The room that its last answer joined.
    pub(super) room: String,
    description: Description,
    pub(super) ids: Vec<Id>,
    /// The result may differ from `ids`.
    is_stale: bool,
    /// The result has these ids, but their order may differ.
    is_unsorted: bool,
    /// Since the request in flight was sent, something has changed that its answer may not have.
    pub(super) has_changed_in_flight: bool,
    request: Request,
}

/// The request that the caller was asked to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    None,
    InFlight,
    /// It is sent again when the caller says so.
    Failed,
}

impl Query {
    /// A query that was answered for the first time.
    pub(super) fn new(id: u32, answer: &Answer, is_current: bool) -> Self {
        Self {
            id,
            room: answer.room.clone(),
            description: answer.description.clone(),
            ids: answer.ids.clone(),
            is_stale: !is_current,
            is_unsorted: false,
            has_changed_in_flight: false,
            request: Request::None,
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        self.request == Request::InFlight
    }

    /// Whether the caller was asked to send it, and has not done so with success.
    pub(super) fn is_pending(&self) -> bool {
        self.request != Request::None
    }

    pub(super) fn is_of(&self, resource: &str) -> bool {
        resource_of(&self.room) == resource
    }

    pub(super) fn is_part(&self) -> bool {
        self.description.is_part()
    }

    /// Whether the order of the ids means something.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_part() || self.description.is_sorted_list()
    }

    /// Whether its ids, and their order unless the target has its own, are those of the server.
    pub(super) fn is_fresh(&self, has_own_order: bool) -> bool {
        !self.is_asked() && !self.is_stale && (has_own_order || !self.is_unsorted)
    }

    /// Whether it must be sent again.
    pub(super) fn is_due(&self, has_own_order: bool) -> bool {
        self.request == Request::None && !self.is_fresh(has_own_order)
    }

    pub(super) fn ask(&mut self) {
        self.request = Request::InFlight;
        self.is_stale = false;
        self.is_unsorted = false;
        self.has_changed_in_flight = false;
    }

    pub(super) fn fail(&mut self) {
        self.request = Request::Failed;
        self.is_stale = true;
    }

    pub(super) fn retry(&mut self) {
        if self.request == Request::Failed {
            self.request = Request::None;
        }
    }

    /// Takes an answer of its own, and returns the room that it has followed before, perhaps the
    /// same.
    pub(super) fn accept(&mut self, answer: &Answer, is_current: bool) -> String {
        self.description = answer.description.clone();
        self.ids = answer.ids.clone();
        self.is_stale = !is_current;
        self.is_unsorted = false;
        self.request = Request::None;
        core::mem::replace(&mut self.room, answer.room.clone())
    }

    /// Takes the answer to another query of its room. One that waits for its own answer is not asked
    /// again because of it: its own is the later one.
    pub(super) fn learn(&mut self, answer: &Answer, is_current: bool) {
        if self.is_part() != answer.description.is_part() {
            return;
        }
        if self.is_part() {
            self.ids = answer.ids.clone();
        } else {
            self.align(&answer.ids);
        }
        if self.is_asked() {
            return;
        }
        self.is_stale |= !is_current;
        if self.is_part() && is_current {
            self.is_stale = false;
            self.request = Request::None;
        }
    }

    /// Has the same members from now on, in its own order.
    fn align(&mut self, ids: &[Id]) {
        let added = ids::difference(ids, &self.ids);
        let loses_order = !added.is_empty() && !self.is_asked();
        self.is_unsorted |= loses_order && self.description.is_sorted_list();
        ids::retain(&mut self.ids, ids);
        self.ids.extend(added);
    }

    /// A change in its room. An updated record is one that is in the list: perhaps nobody has
    /// reported that it was created, as a write of the page came first.
    pub(super) fn changed(&mut self, change: Change, id: &Id, names: &[&str]) {
        if self.is_part() {
            return self.invalidate();
        }
        match change {
            Change::Created => self.gain(id, true),
            Change::Updated => self.gain(id, self.description.is_sorted_by(names)),
            Change::Destroyed | Change::Left => self.lose(id),
        }
    }

    /// These attributes of some of its records have changed, as another room reports. Its own may
    /// never do so, if an answer covers the change. If the query waits for its own answer, what that
    /// does not have is reported after it.
    pub(super) fn reordered(&mut self, names: &[&str]) {
        let is_sorted_list = self.description.is_list() && self.description.is_sorted_by(names);
        self.is_unsorted |= is_sorted_list && !self.is_asked();
    }

    /// A change that may be anything.
    pub(super) fn invalidate(&mut self) {
        self.has_changed_in_flight = true;
        self.is_stale = true;
    }

    /// A list has this record, perhaps in another place than before.
    fn gain(&mut self, id: &Id, is_moved: bool) {
        let is_new = self.description.is_list() && !self.ids.contains(id);
        if is_new {
            self.ids.push(id.clone());
        }
        if is_new || is_moved {
            self.has_changed_in_flight = true;
            self.is_unsorted |= self.description.is_sorted_list();
        }
    }

    fn lose(&mut self, id: &Id) {
        self.has_changed_in_flight = true;
        ids::remove(&mut self.ids, id);
    }

    /// The record no longer exists. Returns whether the query ends with it.
    pub(super) fn destroyed(&mut self, id: &Id) -> bool {
        ids::remove(&mut self.ids, id) && self.description.kind == Kind::One
    }
}
