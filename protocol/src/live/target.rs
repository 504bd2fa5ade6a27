//! A collection or a model: the queries it has, and what it shows because of them.

use super::ids::{self, Id};
use super::query::Query;
use super::{Answer, Change, Output, resource_of};

/// A target and its queries, in the order in which they were first read.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) id: u32,
    pub(super) queries: Vec<Query>,
    /// What it shows because of its queries, in the order in which it does.
    shown: Vec<Id>,
    /// What it has shown and must remove at once.
    destroyed: Vec<Id>,
    /// Requests of the page that are in flight.
    reads: u32,
    /// What has happened since the first of them was sent. Their answers may not have it.
    changed_in_flight: Vec<RoomChange>,
    has_own_order: bool,
    /// Something may have to be shown.
    is_dirty: bool,
}

#[derive(Debug)]
struct RoomChange {
    room: String,
    /// What has changed, if it is known.
    record: Option<(Change, Id)>,
}

impl RoomChange {
    /// Whether an answer may be older than this, by what can be seen of it.
    fn is_missing_in(&self, answer: &Answer) -> bool {
        let is_in_room = self.room == answer.room;
        match &self.record {
            Some((Change::Updated, id)) => {
                is_in_room && (answer.description.is_sorted_list() || !answer.ids.contains(id))
            }
            Some((Change::Destroyed, id)) if !is_in_room => {
                resource_of(&self.room) == resource_of(&answer.room) && answer.ids.contains(id)
            }
            _ => is_in_room,
        }
    }
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

    /// The queries that must be sent again.
    pub(super) fn due(&self) -> impl Iterator<Item = &Query> {
        let is_due = |query: &&Query| !self.is_reading() && query.is_due(self.has_own_order);
        self.queries.iter().filter(is_due)
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
    pub(super) fn is_current(&self, answer: &Answer) -> bool {
        !self.changed_in_flight.iter().any(|change| change.is_missing_in(answer))
    }

    /// Takes what the page has read, and returns the rooms that its queries no longer follow.
    pub(super) fn read(
        &mut self,
        query: u32,
        replaces: bool,
        has_own_order: bool,
        answer: &Answer,
    ) -> Vec<String> {
        let is_current = self.is_current(answer);
        let mut left = Vec::new();
        if replaces {
            left = self.end_queries(|other| other.id != query);
            self.shown.clear();
            self.destroyed.clear();
        }
        match self.queries.iter_mut().find(|other| other.id == query) {
            Some(known) => left.push(known.accept(answer, is_current)),
            None => self.queries.push(Query::new(query, answer, is_current)),
        }
        self.destroyed = ids::difference(&self.destroyed, &answer.ids);
        self.shown = ids::union(&[&self.shown, &answer.ids]);
        self.has_own_order = has_own_order;
        self.is_dirty = true;
        left
    }

    /// A query that was sent again has failed. If it ends, `left` gets its room.
    pub(super) fn failed(&mut self, query: u32, is_gone: bool, left: &mut Vec<String>) {
        left.extend(self.end_queries(|other| {
            let has_failed = other.id == query && other.is_asked();
            if has_failed {
                other.fail();
            }
            has_failed && is_gone
        }));
    }

    pub(super) fn retry(&mut self) {
        self.queries.iter_mut().for_each(Query::retry);
    }

    /// Takes an answer as one of its room, but for the query that has taken it as its own.
    pub(super) fn learn(&mut self, taken_by: Option<u32>, answer: &Answer, is_current: bool) {
        let names: Vec<_> = answer.changed.iter().map(String::as_str).collect();
        for query in &mut self.queries {
            let is_in_room = query.room == answer.room;
            self.is_dirty |= is_in_room;
            if taken_by == Some(query.id) {
                continue;
            }
            if is_in_room {
                query.learn(answer, is_current);
            }
            if query.is_of(resource_of(&answer.room)) {
                query.reordered(&names);
            }
        }
    }

    pub(super) fn changed(&mut self, room: &str, change: Change, id: &Id, names: &[&str]) {
        let updated = (change == Change::Updated).then_some(id);
        self.note(room, Some((change, id)));
        for query in &mut self.queries {
            if query.room == room {
                query.changed(change, id, names);
                self.is_dirty = true;
            } else if query.is_of(resource_of(room))
                && updated.is_some_and(|id| query.ids.contains(id))
            {
                query.reordered(names);
            }
        }
    }

    /// Something has happened in a room, or in all.
    pub(super) fn invalidate(&mut self, room: Option<&str>) {
        if let Some(room) = room {
            self.note(room, None);
        }
        for query in &mut self.queries {
            if room.is_none_or(|room| room == query.room) {
                query.invalidate();
            }
        }
    }

    fn note(&mut self, room: &str, record: Option<(Change, &Id)>) {
        if self.is_reading() {
            let record = record.map(|(change, id)| (change, id.clone()));
            self.changed_in_flight.push(RoomChange { room: room.into(), record });
        }
    }

    /// A record no longer exists. `left` gets the rooms of the queries that end with it.
    pub(super) fn destroyed(&mut self, resource: &str, id: &Id, left: &mut Vec<String>) {
        if !self.queries.iter().any(|query| query.is_of(resource)) {
            return;
        }
        left.extend(self.end_queries(|query| query.is_of(resource) && query.destroyed(id)));
        if ids::remove(&mut self.shown, id) {
            self.destroyed.push(id.clone());
            self.is_dirty = true;
        }
    }

    pub(super) fn reorder(&mut self, has_own_order: bool) {
        self.has_own_order = has_own_order;
        self.is_dirty = true;
    }

    /// Ends queries, and returns their rooms.
    fn end_queries(&mut self, mut is_over: impl FnMut(&mut Query) -> bool) -> Vec<String> {
        let mut left = Vec::new();
        self.queries.retain_mut(|query| {
            let ends = is_over(query);
            if ends {
                left.push(core::mem::take(&mut query.room));
            }
            !ends
        });
        self.is_dirty |= !left.is_empty();
        left
    }

    /// What must be shown otherwise, if anything.
    pub(super) fn show(&mut self) -> Option<Output> {
        if !core::mem::take(&mut self.is_dirty) {
            return None;
        }
        let union = self.union();
        let is_fresh = self.queries.iter().all(|query| query.is_fresh(self.has_own_order));
        let mut removed = core::mem::take(&mut self.destroyed);
        if is_fresh {
            removed.extend(self.remove_others(&union));
        }
        let added = ids::difference(&union, &self.shown);
        self.shown.extend(added.iter().cloned());
        let order = (is_fresh && self.is_ordered() && self.shown != union).then(|| {
            self.shown = union.clone();
            union
        });
        let is_same = added.is_empty() && removed.is_empty() && order.is_none();
        (!is_same).then_some(Output::Show { target: self.id, added, removed, order })
    }

    fn union(&self) -> Vec<Id> {
        let results: Vec<_> = self.queries.iter().map(|query| &*query.ids).collect();
        ids::union(&results)
    }

    /// Takes out what is in no result any more.
    fn remove_others(&mut self, union: &[Id]) -> Vec<Id> {
        let removed = ids::difference(&self.shown, union);
        ids::retain(&mut self.shown, union);
        removed
    }

    /// Whether the order of its queries is the order in which it shows them.
    fn is_ordered(&self) -> bool {
        !self.has_own_order && self.queries.iter().any(Query::is_ordered)
    }
}
