//! What stock clients are told, who know nothing of positions.
//!
//! Creates are said to those who listen to the resource, the rest to those who have been led into the room
//! of the record. Who follows a part of the resource is told of records that enter it as of new ones, and
//! of those that leave it as of destroyed ones.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Room, Verb};
use backwire_records::criteria::Case;

use super::Fanout;
use super::search_budget::SearchBudget;
use crate::dialect::Dialect;
use crate::limit_monitor::LimitMonitor;
use crate::rooms::{Candidates, FollowedFilter};
use crate::settings::Limit;
use crate::socket::{Audience, Sockets};

/// The rooms of parts, by what a change is to them.
#[derive(Default)]
struct Parts<'a> {
    entered: Vec<&'a Room>,
    kept: Vec<&'a Room>,
    left: Vec<&'a Room>,
    /// Those the record was none of before, where it matters.
    foreign: Vec<&'a Room>,
}

/// One change for the clients of one dialect.
struct Telling<'a> {
    sockets: &'a Sockets,
    limits: &'a LimitMonitor,
    dialect: Dialect,
    change: &'a Change,
    class: &'a Room,
    instance: &'a Room,
}

impl Fanout {
    /// Says changes of one resource to the stock clients of one kind.
    pub(super) async fn say_to_stock(&mut self, dialect: Dialect, run: &[Arc<Change>]) {
        let Some(Change { resource: of, .. }) = run.first().map(|first| &**first) else { return };
        let class = &Room::class(of.clone());
        if !self.sockets.has_filters(dialect, of) && !self.sockets.are_in(dialect, class) {
            return;
        }
        let is_hiding = self.models.hide_records_of(of);
        for change in run {
            let filters = self.filters_for(dialect, change, is_hiding);
            let ones = self.sockets.of_one(dialect, of, &change.id);
            let ones = ones.iter().filter_map(|name| FollowedFilter::parse(name)).map(Arc::new);
            let ones: Vec<_> = ones.collect();
            let filters = self.searching(dialect, [&filters[..], &ones].concat(), change);
            let parts = Parts::of(filters.iter().map(|filter| &**filter), change, is_hiding);
            let instance = &Room::instance(of.clone(), change.id.clone());
            let (sockets, limits) = (&self.sockets, &*self.limits);
            let telling = Telling { sockets, limits, dialect, change, class, instance };
            telling.tell(&parts).await;
            if change.verb == Verb::Destroy {
                // Stock clients never leave by themselves, so the rooms of dead records would add up.
                ones.iter().for_each(|one| sockets.disband(dialect, &one.room));
            }
        }
    }

    /// The filters that may search the change. A stock client that follows another one cannot find out that it missed
    /// something, so it is disconnected, and reads again when it is back.
    fn searching(
        &self,
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
            self.sockets.end_all(dialect, &filter.room);
        }
        allowed
    }

    /// The filters that a change may concern. If there are records that not everyone may know of, those are all that
    /// did not pick the record before.
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

impl<'a> Parts<'a> {
    /// Of a record of which something is only said it is not known where it was; where it is said to be
    /// destroyed, all who know it are in its room.
    fn of(all: impl Iterator<Item = &'a FollowedFilter>, change: &Change, is_hiding: bool) -> Self {
        let mut parts = Self::default();
        let is_apart = is_hiding && !change.published;
        for part in all {
            let picks = |record: &Option<Arc<Attributes>>| {
                let filter = part.scope.filter();
                record.as_deref().is_some_and(|record| filter.matches(record, Case::Sensitive))
            };
            if is_apart && !picks(&change.before) {
                parts.foreign.push(&part.room);
            }
            match (change.verb, picks(&change.before), picks(&change.after)) {
                // Who follows one record listens to no new ones.
                (Verb::Create, _, true) if part.scope.id().is_some() => {}
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

impl Telling<'_> {
    async fn tell(&self, parts: &Parts<'_>) {
        match self.change.verb {
            Verb::Create => {
                let listeners = [&[self.class][..], &parts.entered].concat();
                self.say(self.change, &listeners, &[]);
                self.introduce(&listeners, &[]).await;
            }
            Verb::Update => {
                self.leave(parts).await;
                self.say_to_those_who_know_it(parts);
                self.enter(parts).await;
            }
            Verb::Destroy => {
                self.say_to_those_who_know_it(parts);
                // Stock clients never leave by themselves, so the rooms of dead records would add up.
                self.sockets.empty(self.dialect, self.instance).await;
            }
        }
    }

    /// Whoever is in the room of the record, but for those who have read it since it became theirs: what it was
    /// before is not for them.
    fn say_to_those_who_know_it(&self, Parts { kept, left, foreign, .. }: &Parts<'_>) {
        let knowing = [&[self.class][..], kept, left].concat();
        self.say_but(self.change, [&[self.instance], &[]], [foreign, &knowing]);
    }

    /// Those who follow it in some other way go on with it.
    async fn leave(&self, Parts { entered, kept, left, .. }: &Parts<'_>) {
        if left.is_empty() {
            return;
        }
        let others = [&[self.class][..], entered, kept].concat();
        self.say(&self.change.leaving(), left, &others);
        let from = Audience { rooms: left, but_not: &others, origin: None };
        self.sockets.lead_out(self.dialect, from, self.instance).await;
    }

    /// Those who know it already have been told of the update.
    async fn enter(&self, Parts { entered, kept, .. }: &Parts<'_>) {
        if entered.is_empty() {
            return;
        }
        let others = [&[self.class][..], kept].concat();
        self.say(&self.change.entering(), entered, &others);
        self.introduce(entered, &others).await;
    }

    fn say(&self, news: &Change, rooms: &[&Room], but_not: &[&Room]) {
        self.say_but(news, [rooms, but_not], [&[], &[]]);
    }

    /// A stock client has no positions, so one that missed this would never find out.
    fn say_but(&self, news: &Change, [rooms, but_not]: [&[&Room]; 2], strangers: [&[&Room]; 2]) {
        // Sails 0.9 tells its author of a change, too, but not whom a publisher wants to pass over.
        let hears_itself = self.dialect == Dialect::Sails09 && !self.change.published;
        let origin = self.change.origin.as_deref().filter(|_| !hears_itself);
        if let Some((event, news)) = self.dialect.news(news) {
            let to = Audience { rooms, but_not, origin };
            self.sockets.emit_to_each_who_knows(self.dialect, to, strangers, &event, &news);
        }
    }

    /// Whom a publisher passes over is not led to the record, either.
    async fn introduce(&self, rooms: &[&Room], but_not: &[&Room]) {
        let origin = self.change.origin.as_deref().filter(|_| self.change.published);
        let from = Audience { rooms, but_not, origin };
        for (client, limit) in self.sockets.introduce(self.dialect, from, self.instance).await {
            self.limits.reached(limit, client.address());
        }
    }
}
