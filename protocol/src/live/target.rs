//! A collection or a model: its queries, and the records that it shows.

use super::Output;
use super::answer::Snapshot;
use super::change::RoomChange;
use super::query::{Query, remove};
use super::symbols::{Symbol, Symbols};
use crate::planted;
use crate::wire::ChangeVerb;

/// A target and its queries, in the order of their first reads.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: u32,
    pub(super) queries: Vec<Query>,
    /// The ids that the target shows because of its queries, in the order in which it shows them.
    shown: Vec<Symbol>,
    /// The ids that the target still shows and must remove at once.
    destroyed: Vec<Symbol>,
    /// The number of requests of the page that are in flight.
    reads: u32,
    /// Changes since the first of these requests was sent. The answers may lack them.
    changed_in_flight: Vec<RoomChange>,
    has_own_order: bool,
    /// The shown ids may differ from the results of the queries.
    is_dirty: bool,
}

impl Target {
    pub(super) const fn new(id: u32) -> Self {
        Self {
            id,
            queries: Vec::new(),
            shown: Vec::new(),
            destroyed: Vec::new(),
            reads: 0,
            changed_in_flight: Vec::new(),
            has_own_order: false,
            is_dirty: false,
        }
    }

    pub(super) const fn is_reading(&self) -> bool {
        self.reads > 0
    }

    /// Returns whether the target has nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        self.queries.is_empty() && !self.is_reading() && !self.is_dirty
    }

    /// Returns whether this query of the target must be sent again.
    pub(super) fn is_due(&self, query: &Query) -> bool {
        !self.is_reading() && query.is_due(self.has_own_order)
    }

    pub(super) fn begin_read(&mut self) {
        self.reads += 1;
    }

    pub(super) fn end_read(&mut self) {
        self.reads = self.reads.saturating_sub(1);
        if !self.is_reading() {
            self.changed_in_flight.clear();
        }
    }

    /// Returns whether an answer to the page has all changes that arrived since its request was
    /// sent.
    pub(super) fn is_current(&self, answer: &Snapshot<'_>) -> bool {
        !self.changed_in_flight.iter().any(|change| change.is_missing_in(answer))
    }

    /// Forgets the shown ids and all queries except for this one.
    pub(super) fn replace(&mut self, query: u32, left: &mut Vec<Symbol>) {
        self.shown.clear();
        self.destroyed.clear();
        self.end_queries(left, &mut |other| other.id != query);
    }

    /// Takes the answer to a fetch by the page.
    pub(super) fn read(
        &mut self,
        query: u32,
        answer: &Snapshot<'_>,
        has_own_order: bool,
        symbols: &mut Symbols,
    ) {
        let is_current = self.is_current(answer);
        let known = self.queries.iter().position(|other| other.id == query);
        let at = known.unwrap_or_else(|| {
            self.queries.push(Query::new(query, answer));
            self.queries.len() - 1
        });
        self.queries[at].accept(answer, is_current);
        self.has_own_order = has_own_order;
        self.is_dirty = true;
        symbols.clear();
        symbols.add(&answer.ids);
        self.destroyed = symbols.filter(&self.destroyed, false);
        symbols.clear();
        symbols.add(&self.shown);
        symbols.add_to(&mut self.shown, &answer.ids);
    }

    /// Records that the repeated request of a query has failed.
    pub(super) fn failed(&mut self, query: u32, is_gone: bool, left: &mut Vec<Symbol>) {
        self.end_queries(left, &mut |other| {
            let has_failed = other.id == query && other.is_in_flight();
            if has_failed {
                other.fail();
            }
            has_failed && is_gone
        });
    }

    /// Updates the queries in the room of an answer, except for the query that has taken the
    /// answer.
    pub(super) fn learn(
        &mut self,
        taken_by: Option<u32>,
        answer: &Snapshot<'_>,
        is_current: bool,
        symbols: &mut Symbols,
    ) {
        for query in &mut self.queries {
            let is_in_room = query.room == answer.room;
            self.is_dirty |= is_in_room;
            if taken_by == Some(query.id) {
                continue;
            }
            if is_in_room {
                query.learn(answer, is_current, symbols);
            }
            if query.resource == answer.resource {
                query.reordered(answer.changed);
            }
        }
    }

    /// Applies events in a room, of which only the last may destroy a record. Appends the rooms of
    /// queries that end with it to `left`. One query after the other gets all events, because there
    /// is only one set of symbols at a time.
    pub(super) fn changed(
        &mut self,
        batch: &[(RoomChange, &str)],
        left: &mut Vec<Symbol>,
        symbols: &mut Symbols,
    ) {
        for (change, _) in batch {
            if self.is_reading() {
                self.changed_in_flight.push(*change);
            }
        }
        for query in &mut self.queries {
            for (change, names) in batch {
                if query.room == change.room {
                    self.is_dirty |= query.changed(change.record, names, symbols);
                } else if query.resource == change.resource
                    && change.has_attributes_of_any(&query.ids)
                {
                    query.reordered(names);
                }
            }
        }
        for (change, _) in batch {
            if let Some((ChangeVerb::Destroyed, id)) = change.record {
                self.destroyed(change.resource, id, left);
            }
        }
    }

    fn destroyed(&mut self, resource: Symbol, id: Symbol, left: &mut Vec<Symbol>) {
        if planted::has("destroyed-record-stays") {
            return;
        }
        let mut is_concerned = false;
        self.end_queries(left, &mut |query| {
            is_concerned |= query.resource == resource;
            query.resource == resource && query.destroyed(id)
        });
        if is_concerned && remove(&mut self.shown, id) {
            self.destroyed.push(id);
            self.is_dirty = true;
        }
    }

    pub(super) fn reorder(&mut self, has_own_order: bool) {
        self.has_own_order = has_own_order;
        self.is_dirty = true;
    }

    /// Ends queries, and appends their rooms to `left`.
    pub(super) fn end_queries(
        &mut self,
        left: &mut Vec<Symbol>,
        is_over: &mut dyn FnMut(&mut Query) -> bool,
    ) {
        let mut at = 0;
        while let Some(query) = self.queries.get_mut(at) {
            if is_over(query) {
                left.push(query.room);
                self.queries.remove(at);
                self.is_dirty = true;
            } else {
                at += 1;
            }
        }
    }

    /// Returns the changes that the page must show, if any.
    pub(super) fn show(&mut self, symbols: &mut Symbols) -> Option<Output> {
        if !core::mem::take(&mut self.is_dirty) {
            return None;
        }
        let is_fresh = self.queries.iter().all(|query| query.is_fresh(self.has_own_order));
        let mut removed = core::mem::take(&mut self.destroyed);
        let union = self.union(symbols);
        if is_fresh {
            if !planted::has("removed-record-stays") {
                removed.extend_from_slice(&symbols.filter(&self.shown, false));
            }
            self.shown = symbols.filter(&self.shown, true);
        }
        symbols.clear();
        symbols.add(&self.shown);
        let added = symbols.filter(&union, false);
        self.shown.extend_from_slice(&added);
        let is_moved = is_fresh
            && self.is_ordered()
            && self.shown != union
            && !planted::has("new-order-not-shown");
        if added.is_empty() && removed.is_empty() && !is_moved {
            return None;
        }
        let (added, removed) = (symbols.join(&added), symbols.join(&removed));
        let order = is_moved.then(|| symbols.join(&union));
        if is_moved {
            self.shown = union;
        }
        Some(Output::Show { target: self.id, added, removed, order })
    }

    /// Returns the results of all queries without duplicates. Afterwards the set contains them.
    fn union(&self, symbols: &mut Symbols) -> Vec<Symbol> {
        let mut union = Vec::new();
        symbols.clear();
        for query in &self.queries {
            symbols.add_to(&mut union, &query.ids);
        }
        union
    }

    /// Returns whether the target shows records in the order of its queries.
    fn is_ordered(&self) -> bool {
        !self.has_own_order && self.queries.iter().any(Query::is_ordered)
    }

    /// Adds all symbols in use to the set. The caller makes sure that nothing is pending.
    pub(super) fn add_symbols(&self, symbols: &mut Symbols) {
        symbols.add(&self.shown);
        for query in &self.queries {
            symbols.add(&query.ids);
            symbols.add(&[query.room, query.resource]);
        }
    }
}
