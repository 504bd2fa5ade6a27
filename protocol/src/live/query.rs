//! One live query: its last known result, and whether the result is up to date.

use super::answer::Snapshot;
use super::description::{Description, Kind};
use super::symbols::{Symbol, Symbols};
use crate::planted;
use crate::wire::ChangeVerb;

/// A query and its last known result.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) id: u32,
    /// The room that its last answer joined.
    pub(super) room: Symbol,
    pub(super) resource: Symbol,
    description: Description,
    pub(super) ids: Vec<Symbol>,
    /// The set of symbols that contains the ids and no others, if it is still the current one.
    set: u32,
    /// The result may differ from `ids`.
    is_stale: bool,
    /// The result has these ids, but their order may differ.
    is_unsorted: bool,
    /// A change arrived after the request in flight was sent, and the answer may lack it.
    pub(super) has_changed_in_flight: bool,
    request: Request,
}

/// The state of the request that the caller must send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    None,
    InFlight,
    /// The request failed. It is sent again after the caller's retry.
    Failed,
}

impl Query {
    /// Creates a query without a result.
    pub(super) fn new(id: u32, answer: &Snapshot<'_>) -> Self {
        Self {
            id,
            room: answer.room,
            resource: answer.resource,
            description: answer.description.clone(),
            ids: Vec::new(),
            set: 0,
            is_stale: true,
            is_unsorted: false,
            has_changed_in_flight: false,
            request: Request::None,
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.request == Request::InFlight
    }

    /// Returns whether a request is in flight or has failed.
    pub(super) fn is_pending(&self) -> bool {
        self.request != Request::None
    }

    pub(super) fn is_part(&self) -> bool {
        self.description.kind == Kind::Part
    }

    /// Returns whether the order of the ids is significant.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_part() || self.description.is_sorted_list()
    }

    /// Returns whether the ids are those of the server, in the server's order unless the target has
    /// its own.
    pub(super) fn is_fresh(&self, has_own_order: bool) -> bool {
        !self.is_in_flight() && !self.is_stale && (has_own_order || !self.is_unsorted)
    }

    /// Returns whether the query must be sent again.
    pub(super) fn is_due(&self, has_own_order: bool) -> bool {
        !self.is_pending() && !self.is_fresh(has_own_order)
    }

    pub(super) fn mark_sent(&mut self) {
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
        if self.request == Request::Failed && !planted::has("failed-query-not-repeated") {
            self.request = Request::None;
        }
    }

    /// Takes the answer to a request of this query.
    pub(super) fn accept(&mut self, answer: &Snapshot<'_>, is_current: bool) {
        self.room = answer.room;
        self.resource = answer.resource;
        self.description = answer.description.clone();
        self.ids = answer.ids.clone();
        self.set = 0;
        self.is_stale = !is_current;
        self.is_unsorted = false;
        self.request = Request::None;
    }

    /// Takes the answer to another query of the same room. If this query waits for an answer, that
    /// answer is newer, so this one does not make it stale.
    pub(super) fn learn(&mut self, answer: &Snapshot<'_>, is_current: bool, symbols: &mut Symbols) {
        if self.is_part() != (answer.description.kind == Kind::Part) {
            return;
        }
        self.set = 0;
        if self.is_part() {
            self.ids = answer.ids.clone();
        } else {
            self.align(&answer.ids, symbols);
        }
        if self.is_in_flight() {
            return;
        }
        self.is_stale |= !is_current;
        if self.is_part() && is_current {
            self.is_stale = false;
            self.request = Request::None;
        }
    }

    /// Takes over the members of an answer and keeps its own order.
    fn align(&mut self, ids: &[Symbol], symbols: &mut Symbols) {
        symbols.clear();
        symbols.add(ids);
        self.ids = symbols.filter(&self.ids, true);
        let kept = self.ids.len();
        symbols.clear();
        symbols.add(&self.ids);
        symbols.add_to(&mut self.ids, ids);
        let loses_order = self.ids.len() > kept && !self.is_in_flight();
        self.is_unsorted |= loses_order && self.description.is_sorted_list();
    }

    /// Applies a change in the room of the query. An updated record is a member of the list, even
    /// if its creation was never reported because a write of the page came first. Returns false if
    /// the change makes no difference.
    pub(super) fn changed(
        &mut self,
        record: Option<(ChangeVerb, Symbol)>,
        names: &str,
        symbols: &mut Symbols,
    ) -> bool {
        match record {
            _ if self.is_part() && planted::has("part-not-read-again") => {}
            _ if self.is_part() => self.invalidate(),
            None => self.invalidate(),
            Some((verb @ (ChangeVerb::Created | ChangeVerb::Updated), id)) => {
                let is_moved = verb == ChangeVerb::Created || self.description.is_sorted_by(names);
                return self.gain(id, is_moved, symbols);
            }
            Some((ChangeVerb::Destroyed | ChangeVerb::Left, id)) => {
                self.has_changed_in_flight = true;
                self.set = 0;
                let is_planted = planted::has("record-that-left-stays");
                if !is_planted || matches!(record, Some((ChangeVerb::Destroyed, _))) {
                    remove(&mut self.ids, id);
                }
            }
        }
        true
    }

    /// Adds a record to a list, or marks it as moved. For the changes of one push this takes one
    /// pass over the ids.
    fn gain(&mut self, id: Symbol, is_moved: bool, symbols: &mut Symbols) -> bool {
        if self.set != symbols.current() {
            symbols.clear();
            symbols.add(&self.ids);
            self.set = symbols.current();
        }
        let count = self.ids.len();
        if self.description.kind == Kind::List && !planted::has("new-record-not-added") {
            symbols.add_to(&mut self.ids, &[id]);
        }
        let has_changed = is_moved || self.ids.len() > count;
        if has_changed {
            self.has_changed_in_flight = true;
            self.is_unsorted |=
                self.description.is_sorted_list() && !planted::has("order-not-read-again");
        }
        has_changed
    }

    /// Marks the order as unknown after another room has reported new values of these attributes.
    /// The room of the query may never report them, if an answer covers the change. If the query
    /// waits for an answer, changes that the answer lacks are reported after it.
    pub(super) fn reordered(&mut self, names: &str) {
        let may_move = self.description.is_sorted_list() && self.description.is_sorted_by(names);
        self.is_unsorted |= may_move && !self.is_in_flight();
    }

    /// Marks the result as unknown.
    pub(super) fn invalidate(&mut self) {
        self.has_changed_in_flight = true;
        self.is_stale = true;
    }

    /// Removes a destroyed record. Returns whether the query ends with it.
    pub(super) fn destroyed(&mut self, id: Symbol) -> bool {
        self.set = 0;
        remove(&mut self.ids, id) && self.description.kind == Kind::One
    }
}

/// Removes a symbol. Returns false if the list does not have it.
pub(super) fn remove(symbols: &mut Vec<Symbol>, symbol: Symbol) -> bool {
    let at = symbols.iter().position(|other| *other == symbol);
    at.map(|at| symbols.remove(at)).is_some()
}
