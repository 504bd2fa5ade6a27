//! A collection or a model: the queries it has, and what it shows because of them.

use super::answer::Snapshot;
use super::change::RoomChange;
use super::query::{Query, remove};
use super::symbols::{Symbol, Symbols};
use super::{Change, Output};

/// A target and its queries, in the order in which they were first read.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: u32,
    pub(super) queries: Vec<Query>,
    /// What it shows because of its queries, in the order in which it does.
    shown: Vec<Symbol>,
    /// What it has shown and must remove at once.
    destroyed: Vec<Symbol>,
    /// Requests of the page that are in flight.
    reads: u32,
    /// What has happened since the first of them was sent. Their answers may not have it.
    changed_in_flight: Vec<RoomChange>,
    has_own_order: bool,
    /// Something may have to be shown.
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

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.queries.is_empty() && !self.is_reading() && !self.is_dirty
    }

    /// Whether this query of it must be sent again.
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

    /// Whether nothing has happened since the page sent a request that its answer may not have.
    pub(super) fn is_current(&self, answer: &Snapshot) -> bool {
        !self.changed_in_flight.iter().any(|change| change.is_missing_in(answer))
    }

    /// Forgets what it shows and all queries but one.
    pub(super) fn replace(&mut self, query: u32, left: &mut Vec<Symbol>) {
        self.shown.clear();
        self.destroyed.clear();
        self.end_queries(left, &mut |other| other.id != query);
    }

    /// Takes what the page has read.
    pub(super) fn read(
        &mut self,
        query: u32,
        answer: &Snapshot,
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

    /// A query that was sent again has failed.
    pub(super) fn failed(&mut self, query: u32, is_gone: bool, left: &mut Vec<Symbol>) {
        self.end_queries(left, &mut |other| {
            let has_failed = other.id == query && other.is_asked();
            if has_failed {
                other.fail();
            }
            has_failed && is_gone
        });
    }

    /// Takes an answer as one of its room, but for the query that has taken it as its own.
    pub(super) fn learn(
        &mut self,
        taken_by: Option<u32>,
        answer: &Snapshot,
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
                query.reordered(&answer.changed);
            }
        }
    }

    /// Something has happened in a room. `left` gets the rooms of the queries that end with it.
    pub(super) fn changed(&mut self, change: &RoomChange, names: &[u32], left: &mut Vec<Symbol>) {
        if self.is_reading() {
            self.changed_in_flight.push(*change);
        }
        for query in self.queries.iter_mut().filter(|query| query.resource == change.resource) {
            if query.room == change.room {
                query.changed(change.record, names);
                self.is_dirty = true;
            } else if change.has_attributes_of_any(&query.ids) {
                query.reordered(names);
            }
        }
        if let Some((Change::Destroyed, id)) = change.record {
            self.destroyed(change.resource, id, left);
        }
    }

    fn destroyed(&mut self, resource: Symbol, id: Symbol, left: &mut Vec<Symbol>) {
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

    /// Ends queries. `left` gets their rooms.
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

    /// What must be shown otherwise, if anything.
    pub(super) fn show(&mut self, symbols: &mut Symbols) -> Option<Output> {
        if !core::mem::take(&mut self.is_dirty) {
            return None;
        }
        let is_fresh = self.queries.iter().all(|query| query.is_fresh(self.has_own_order));
        let mut removed = core::mem::take(&mut self.destroyed);
        let union = self.union(symbols);
        if is_fresh {
            removed.extend_from_slice(&symbols.filter(&self.shown, false));
            self.shown = symbols.filter(&self.shown, true);
        }
        symbols.clear();
        symbols.add(&self.shown);
        let added = symbols.filter(&union, false);
        self.shown.extend_from_slice(&added);
        let is_moved = is_fresh && self.is_ordered() && self.shown != union;
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

    /// The results of all queries, which are the set after that.
    fn union(&self, symbols: &mut Symbols) -> Vec<Symbol> {
        let mut union = Vec::new();
        symbols.clear();
        for query in &self.queries {
            symbols.add_to(&mut union, &query.ids);
        }
        union
    }

    /// Whether the order of its queries is the order in which it shows them.
    fn is_ordered(&self) -> bool {
        !self.has_own_order && self.queries.iter().any(Query::is_ordered)
    }

    /// Adds all symbols that it uses to the set, when nothing is to be shown or in flight.
    pub(super) fn add_symbols(&self, symbols: &mut Symbols) {
        symbols.add(&self.shown);
        for query in &self.queries {
            symbols.add(&query.ids);
            symbols.add(&[query.room, query.resource]);
        }
    }
}
