//! Pushes for stock clients, which do not use positions.
//!
//! Creates are sent to the clients that listen to the resource, other changes to the clients in the
//! room of the record. A client that follows a part of the resource receives a record that enters
//! the part as a new one, and a record that leaves it as a destroyed one.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Room, Verb};
use backwire_records::criteria::Case;

use super::Fanout;
use super::populated::populated;
use super::search_budget::SearchBudget;
use crate::dialect::Dialect;
use crate::limit_monitor::LimitMonitor;
use crate::rooms::{Candidates, FollowedFilter, SubscriberCounts};
use crate::settings::Limit;
use crate::socket::{Audience, Client, Sockets};

/// The rooms of parts, by the effect that a change has on them.
#[derive(Default)]
struct PartRooms<'a> {
    entered: Vec<&'a Room>,
    kept: Vec<&'a Room>,
    left: Vec<&'a Room>,
    /// Rooms that did not have the record before, where it matters.
    without_record: Vec<&'a Room>,
}

/// One change for the clients of one dialect, ready to be sent.
struct StockPush<'a> {
    sockets: &'a Sockets,
    limits: &'a LimitMonitor,
    dialect: Dialect,
    /// The change, with what it shows of associated records.
    change: &'a Change,
    class: &'a Room,
    instance: &'a Room,
}

impl Fanout {
    /// Sends a change to the stock clients of one dialect. `counts` are those of its resource.
    pub(super) async fn emit_to_stock(
        &mut self,
        dialect: Dialect,
        counts: SubscriberCounts,
        change: &Arc<Change>,
    ) {
        let of = &change.resource;
        if counts.in_class == 0 && !counts.has_filters {
            return;
        }
        let is_hiding = self.models.hide_records_of(of);
        let (mut filters, mut record_filters) = (Vec::new(), Vec::new());
        if counts.has_filters {
            record_filters = self.sockets.record_filters(dialect, of, &change.id);
            filters = self.filters_for(dialect, change, is_hiding);
            filters.extend_from_slice(&record_filters);
            filters = self.allowed_filters(dialect, filters, change);
        }
        let parts = PartRooms::of(filters.iter().map(|filter| &**filter), change, is_hiding);
        let class = &Room::class(of.clone());
        let instance = &Room::instance(of.clone(), change.id.clone());
        let (sockets, limits) = (&self.sockets, &*self.limits);
        let shown = &*populated(&self.shared, dialect, change).await;
        let push = StockPush { sockets, limits, dialect, change: shown, class, instance };
        push.send(&parts).await;
        if change.verb == Verb::Destroy {
            // Stock clients never leave by themselves, so the rooms of destroyed records would
            // accumulate.
            record_filters
                .iter()
                .for_each(|filter| sockets.clear_counted_room(dialect, &filter.room));
        }
    }

    /// Returns the filters that may search the change. The stock clients of all other filters are
    /// disconnected, because they cannot notice that they missed a push. They read again when they
    /// are back.
    fn allowed_filters(
        &mut self,
        dialect: Dialect,
        mut filters: Vec<Arc<FollowedFilter>>,
        change: &Arc<Change>,
    ) -> Vec<Arc<FollowedFilter>> {
        filters.sort_by_key(|filter| filter.searches);
        let mut budget = SearchBudget::new(self.searched_bytes);
        let change = std::slice::from_ref(change);
        let (allowed, others): (Vec<_>, Vec<_>) =
            filters.into_iter().partition(|filter| budget.allows(filter, change));
        for filter in others {
            self.limits.reached(Limit::SearchedBytes, None);
            self.sockets.disconnect_room(dialect, &filter.room);
        }
        self.searched = self.searched.saturating_add(budget.spent());
        allowed
    }

    /// Returns the filters that a change may concern. If not everyone may know of all records,
    /// these are all filters, because each that did not pick the record before matters.
    fn filters_for(
        &self,
        dialect: Dialect,
        change: &Arc<Change>,
        is_hiding: bool,
    ) -> Vec<Arc<FollowedFilter>> {
        let of = &change.resource;
        if is_hiding && !change.published {
            return self.sockets.filters_of(dialect, of);
        }
        let change = std::slice::from_ref(change);
        let Candidates { indexed, unindexed } = self.sockets.filters_for(dialect, of, change);
        indexed.into_iter().map(|(filter, _)| filter).chain(unindexed).collect()
    }
}

impl<'a> PartRooms<'a> {
    /// Groups the rooms. For a published change it is not known where the record was before. For a
    /// published destroy, all clients that know the record are in its room.
    fn of(all: impl Iterator<Item = &'a FollowedFilter>, change: &Change, is_hiding: bool) -> Self {
        let mut parts = Self::default();
        let may_hide_record = is_hiding && !change.published;
        for part in all {
            let picks = |record: &Option<Arc<Attributes>>| {
                let filter = part.scope().filter();
                record.as_deref().is_some_and(|record| filter.matches(record, Case::Sensitive))
            };
            if may_hide_record && !picks(&change.before) {
                parts.without_record.push(&part.room);
            }
            match (change.verb, picks(&change.before), picks(&change.after)) {
                // A client that follows one record does not listen to new records.
                (Verb::Create, _, true) if part.scope().id().is_some() => {}
                (Verb::Create, _, true) => parts.entered.push(&part.room),
                (Verb::Update, false, true) if !change.published => parts.entered.push(&part.room),
                (Verb::Update, true, true) | (Verb::Destroy, true, _) => {
                    parts.kept.push(&part.room)
                }
                (Verb::Update, true, false) => parts.left.push(&part.room),
                _ => {}
            }
        }
        parts
    }
}

impl StockPush<'_> {
    async fn send(&self, parts: &PartRooms<'_>) {
        match self.change.verb {
            Verb::Create => {
                let listeners = [&[self.class][..], &parts.entered].concat();
                self.emit_create(&listeners).await;
            }
            Verb::Update => {
                self.leave(parts).await;
                self.emit_to_followers(parts);
                self.enter(parts).await;
            }
            Verb::Destroy => {
                self.emit_to_followers(parts);
                // Stock clients never leave by themselves, so the rooms of destroyed records would
                // accumulate.
                self.sockets.clear_room(self.dialect, self.instance).await;
            }
        }
    }

    /// Sends the change to the clients in the room of the record, except those that have read it
    /// only since it became visible to them: they must not see what it was before.
    fn emit_to_followers(&self, PartRooms { kept, left, without_record, .. }: &PartRooms<'_>) {
        let followers = [&[self.class][..], kept, left].concat();
        self.emit_except(self.change, [&[self.instance], &[]], [without_record, &followers]);
    }

    /// Sends the clients of parts that the record left a destroy, and removes them from its room.
    /// Clients that follow it in another way keep it.
    async fn leave(&self, PartRooms { entered, kept, left, .. }: &PartRooms<'_>) {
        if left.is_empty() {
            return;
        }
        let others = [&[self.class][..], entered, kept].concat();
        self.emit(&self.change.as_destroy(), left, &others);
        let from = Audience { rooms: left, except: &others, origin: None };
        self.sockets.remove_audience(self.dialect, from, self.instance).await;
    }

    /// Sends the record to the clients of parts that it entered. Clients that knew it already have
    /// received the update.
    async fn enter(&self, PartRooms { entered, kept, .. }: &PartRooms<'_>) {
        if entered.is_empty() {
            return;
        }
        let others = [&[self.class][..], kept].concat();
        self.emit(&self.change.as_create(), entered, &others);
        self.introduce(entered, &others).await;
    }

    /// Sends a create, and adds the clients to the room of the record. Its author is added as well,
    /// but a client that a publisher omits is not.
    async fn emit_create(&self, rooms: &[&Room]) {
        let to = Audience { rooms, except: &[], origin: self.author() };
        let event = self.dialect.change_event(self.change);
        let event = event.as_ref().map(|(event, payload)| (&**event, &**payload));
        let into = (self.instance, !self.change.published);
        let refused = self.sockets.emit_and_join(self.dialect, to, event, into).await;
        self.report(refused);
    }

    fn emit(&self, change: &Change, rooms: &[&Room], except: &[&Room]) {
        self.emit_except(change, [rooms, except], [&[], &[]]);
    }

    /// A stock client has no positions, so it would never notice that it missed this push.
    fn emit_except(
        &self,
        change: &Change,
        [rooms, except]: [&[&Room]; 2],
        strangers: [&[&Room]; 2],
    ) {
        let origin = self.author();
        if let Some((event, payload)) = self.dialect.change_event(change) {
            let to = Audience { rooms, except, origin };
            self.sockets.emit_to_each_known(self.dialect, to, strangers, &event, &payload);
        }
    }

    /// Returns the client that does not receive the change. Sails 0.9 sends a change to its author,
    /// too, but not to a client that a publisher omits.
    fn author(&self) -> Option<&str> {
        let includes_author = self.dialect == Dialect::Sails09 && !self.change.published;
        self.change.origin.as_deref().filter(|_| !includes_author)
    }

    /// Adds clients to the room of the record, except a client that a publisher omits.
    async fn introduce(&self, rooms: &[&Room], except: &[&Room]) {
        let origin = self.change.origin.as_deref().filter(|_| self.change.published);
        let from = Audience { rooms, except, origin };
        let refused = self.sockets.join_audience(self.dialect, from, self.instance).await;
        self.report(refused);
    }

    fn report(&self, refused: Vec<(Client, Limit)>) {
        for (client, limit) in refused {
            self.limits.reached(limit, client.address());
        }
    }
}
