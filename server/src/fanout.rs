//! From the log to everyone who listens.
//!
//! One task takes changes from the tail, in commit order, and says each to its rooms before it takes
//! the next. So pushes leave in the order of the log, and a handler has nothing to publish.
//! Changes that came faster than they are said leave together, one frame a room. A frame costs each who is
//! told a turn and a call of the system, whatever is in it; so who has been told gets that turn before there
//! is more, and hears then in one frame of all that has happened since.
//!
//! A client that does not read loses pushes, and Socket.IO does not say which client that was. So
//! where something was lost, the room is told later where it stands: who is behind finds out and
//! asks to resume. A stock client could not find out; one that cannot take a push is disconnected.

mod search_budget;
mod stock;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backwire_records::change::{Change, Position, Resource, Room, Verb};
use backwire_records::criteria::Collection;
use backwire_records::model::{Membership, Models};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::dialect::{Dialect, runtime};
use crate::limit_monitor::LimitMonitor;
use crate::rooms::{Candidates, FollowedFilter};
use crate::settings::Limit;
use crate::socket::{Audience, Sockets};
use search_budget::SearchBudget;

/// Changes said together at most.
const MOST: usize = 256;

/// Connections that are waited for when they have been told something; it would not be worth it for fewer.
const MANY: usize = 64;

/// A stock client gets a packet for each change. After so many changes, the fan-out lets the packets leave: they take memory
/// for each connection, and a stock client that has too much of it unread is disconnected.
const MAX_STOCK_CHANGES: usize = 8;

/// How long they are waited for.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// How long a slow reader gets before its room is told where it stands.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says what is in the log.
pub(crate) struct Fanout {
    sockets: Sockets,
    models: Arc<Models>,
    /// Rooms some of whose members may have missed something, and where those rooms stand.
    doubtful: HashMap<Room, Position>,
    /// How many connections have been told something since the last rest.
    told: usize,
    /// How many changes stock clients were sent since then.
    stock_changes: usize,
    limits: Arc<LimitMonitor>,
    /// Bytes that filters may search in changes that are sent together.
    searched_bytes: usize,
    /// When the doubtful rooms are told; of no meaning while there are none.
    announce_at: Instant,
}

impl Fanout {
    pub(crate) fn new(sockets: Sockets, models: Arc<Models>, limits: Arc<LimitMonitor>) -> Self {
        Self {
            sockets,
            models,
            doubtful: HashMap::new(),
            told: 0,
            stock_changes: 0,
            limits,
            searched_bytes: usize::MAX,
            announce_at: Instant::now(),
        }
    }

    /// With a limit on the bytes that filters may search in changes that are sent together.
    pub(crate) fn with_searched_bytes(self, searched_bytes: usize) -> Self {
        Self { searched_bytes, ..self }
    }

    /// Follows the log to its end: until the engine is no more and all has been said.
    pub(crate) async fn follow(mut self, mut tail: mpsc::Receiver<Arc<Change>>) {
        let mut changes = Vec::with_capacity(MOST);
        loop {
            let is_in_doubt = !self.doubtful.is_empty();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.announce_at), if is_in_doubt => {
                    self.announce().await;
                }
                count = tail.recv_many(&mut changes, MOST) => {
                    if count == 0 {
                        return;
                    }
                    for run in changes.chunk_by(|one, next| one.resource == next.resource) {
                        self.say(run).await;
                    }
                    changes.clear();
                    self.rest().await;
                }
            }
        }
    }

    /// Says consecutive changes of one resource.
    async fn say(&mut self, run: &[Arc<Change>]) {
        let Some(first) = run.first() else { return };
        let of = &first.resource;
        let spoken = self.spoken_of(of);
        if spoken.contains(&Dialect::Runtime) {
            self.say_to_runtimes(run).await;
            self.say_to_filters(of, run, self.models.hide_records_of(of)).await;
        }
        for change in run {
            let memberships = self.models.associations().memberships(change);
            let (before, after) = around(change, &memberships);
            self.say_memberships(change, before);
            let pushes = self.sockets.separate_pushes();
            for dialect in spoken.iter().filter(|dialect| dialect.is_stock()) {
                self.say_to_stock(*dialect, std::slice::from_ref(change)).await;
            }
            self.rest_after_many(self.sockets.separate_pushes().wrapping_sub(pushes)).await;
            self.say_memberships(change, after);
            self.say_turnover(change, &memberships).await;
        }
    }

    /// Lets packets of stock clients leave, if a change was sent in so many packets and others were before it.
    async fn rest_after_many(&mut self, pushes: usize) {
        self.told = self.told.saturating_add(pushes);
        self.stock_changes += usize::from(pushes > 0);
        if self.stock_changes >= MAX_STOCK_CHANGES {
            self.rest().await;
        }
    }

    async fn rest(&mut self) {
        self.stock_changes = 0;
        rest(std::mem::take(&mut self.told)).await;
    }

    /// The dialects of those who follow anything of a resource: to all others nothing is spelled out.
    fn spoken_of(&self, of: &Resource) -> Vec<Dialect> {
        let all = Dialect::ALL.into_iter();
        all.filter(|dialect| self.sockets.follow(*dialect, of)).collect()
    }

    /// Says whose collections a change has made a record part of, and whose no longer. Only Sails 1.x speaks of
    /// it; to all others the change says it.
    fn say_memberships(&self, change: &Change, memberships: &[Membership]) {
        for membership in memberships {
            let class = Room::class(membership.resource.clone());
            // Who knows the one may not know the other.
            let target = self.models.associations().target_of(membership);
            let is_hiding = target.is_none_or(|target| self.models.hide_records_of(target));
            if is_hiding || !self.sockets.are_in(Dialect::Sails, &class) {
                continue;
            }
            let room = Room::instance(membership.resource.clone(), membership.id.clone());
            let origin = change.origin.as_deref();
            let to = Audience { rooms: &[&room], but_not: &[], origin };
            let (event, news) = Dialect::membership_news(membership);
            self.sockets.emit_to_each(Dialect::Sails, to, event, &news);
        }
    }

    /// Tells those who follow the members of a collection that they are others now: they read it again, and follow
    /// those. Who has read it since, did so.
    async fn say_turnover(&mut self, change: &Change, memberships: &[Membership]) {
        for membership in memberships {
            let Some(target) = self.models.associations().target_of(membership) else { continue };
            let of = membership.collection();
            for name in self.sockets.of_members(Dialect::Runtime, target, &of) {
                let Some(filter) = FollowedFilter::parse(&name) else { continue };
                let FollowedFilter { room, scope, .. } = &filter;
                let at = scope.collection().map(Collection::position);
                if at.is_some_and(|at| at.offset < change.position.offset) {
                    self.send(room, &[], &runtime::lost(room), runtime::NOWHERE).await;
                }
            }
        }
    }

    async fn say_to_runtimes(&mut self, run: &[Arc<Change>]) {
        let Some(first) = run.first() else { return };
        let class = Room::class(first.resource.clone());
        self.push(&class, &[], run).await;
        for run in run.chunk_by(|one, next| one.id == next.id) {
            // Who is in both rooms has heard it in the class room.
            let room = Room::instance(first.resource.clone(), run[0].id.clone());
            self.push(&room, &[&class], run).await;
        }
    }

    /// Says what the changes are to those who follow a filter of the resource. Each filter looks once at the changes that
    /// may concern it, however many follow it. Who is in the class room as well hears of them twice: to a list they
    /// are news of different kinds.
    async fn say_to_filters(&mut self, of: &Resource, run: &[Arc<Change>], is_hiding: bool) {
        let budget = &mut SearchBudget::new(self.searched_bytes);
        if self.sockets.has_filters(Dialect::Runtime, of) {
            self.say_to_followers(of, run, is_hiding, budget).await;
        }
        for run in run.chunk_by(|one, next| one.id == next.id) {
            let names = self.sockets.of_one(Dialect::Runtime, of, &run[0].id);
            let filters = names.iter().filter_map(|name| FollowedFilter::parse(name));
            let filters: Vec<_> = filters.map(Arc::new).collect();
            filters.iter().for_each(|it| it.said.store(run[0].previous, Ordering::Relaxed));
            self.say_to_each(filters, is_hiding, run, budget).await;
        }
    }

    async fn say_to_followers(
        &mut self,
        of: &Resource,
        run: &[Arc<Change>],
        is_hiding: bool,
        budget: &mut SearchBudget,
    ) {
        // What a publisher says of a record that stays as it is, is for all who may know of it.
        let is_for_all = |change: &Arc<Change>| change.published && change.verb != Verb::Create;
        if !is_hiding && run.iter().any(is_for_all) {
            let filters = self.sockets.filters_of(Dialect::Runtime, of);
            self.say_to_each(filters, is_hiding, run, budget).await;
            return;
        }
        let Candidates { indexed, unindexed } = self.sockets.filters_for(Dialect::Runtime, of, run);
        for (filter, indexes) in indexed {
            let run: Vec<_> = indexes.into_iter().map(|index| Arc::clone(&run[index])).collect();
            self.say_to_each(vec![filter], is_hiding, &run, budget).await;
        }
        self.say_to_each(unindexed, is_hiding, run, budget).await;
    }

    /// Says changes to those who follow one of some filters, as far as these may search the changes.
    async fn say_to_each(
        &mut self,
        mut filters: Vec<Arc<FollowedFilter>>,
        is_hiding: bool,
        run: &[Arc<Change>],
        budget: &mut SearchBudget,
    ) {
        filters.sort_by_key(|filter| filter.searches);
        let Some(last) = run.last() else { return };
        for filter in filters {
            if budget.allows(&filter, run) {
                let previous = filter.said.load(Ordering::Relaxed);
                self.say_to_filter(&filter, is_hiding, previous, run).await;
            } else {
                self.limits.reached(Limit::SearchedBytes, None);
                filter.said.store(last.position.offset, Ordering::Relaxed);
                self.doubt(&filter.room, last.position);
            }
        }
    }

    async fn say_to_filter(
        &mut self,
        filter: &FollowedFilter,
        is_hiding: bool,
        previous: u64,
        run: &[Arc<Change>],
    ) {
        let followed = runtime::Followed { scope: &filter.scope, is_hiding };
        if let Some((push, last)) = runtime::scoped_push(&filter.room, followed, previous, run) {
            filter.said.store(last.offset, Ordering::Relaxed);
            self.send(&filter.room, &[], &push, last).await;
        }
    }

    async fn push(&mut self, room: &Room, but_not: &[&Room], changes: &[Arc<Change>]) {
        if !self.sockets.are_in(Dialect::Runtime, room) {
            return;
        }
        if let Some((push, last)) = runtime::push(room, changes).zip(changes.last()) {
            self.send(room, but_not, &push, last.position).await;
        }
    }

    async fn send(&mut self, room: &Room, but_not: &[&Room], push: &runtime::Push, last: Position) {
        let to = Audience { rooms: &[room], but_not, origin: None };
        self.told += self.sockets.count_in(Dialect::Runtime, room);
        let (name, .., changes) = push;
        let size = name.len() + changes.get().len();
        if !self.sockets.emit(Dialect::Runtime, to, runtime::EVENT, push, size).await {
            self.doubt(room, last);
        }
    }

    fn doubt(&mut self, room: &Room, position: Position) {
        if self.doubtful.is_empty() {
            self.announce_at = Instant::now() + PATIENCE;
        }
        self.doubtful.insert(room.clone(), position);
    }

    /// Tells the doubtful rooms where they stand; those who still do not read are told again.
    async fn announce(&mut self) {
        for (room, position) in std::mem::take(&mut self.doubtful) {
            let to = Audience { rooms: &[&room], but_not: &[], origin: None };
            let push = runtime::announcement(&room, position);
            let size = push.0.len();
            if !self.sockets.emit(Dialect::Runtime, to, runtime::EVENT, &push, size).await {
                self.doubt(&room, position);
            }
        }
    }
}

/// Those who were told get a turn to take it before there is more. Few have had it when all others have been
/// given way to once; many queue up where all threads come to them in the end.
async fn rest(told: usize) {
    let (threads, end) = (Handle::current().metrics(), Instant::now() + LONGEST_REST);
    loop {
        yield_now().await;
        if told < MANY || threads.global_queue_depth() == 0 || Instant::now() >= end {
            return;
        }
    }
}

/// What is said before the change itself, and what after it. In Sails a record is part of something before it is
/// told of itself, and has been taken out of something when it is destroyed or has moved.
fn around<'a>(change: &Change, all: &'a [Membership]) -> (&'a [Membership], &'a [Membership]) {
    let moves = all.iter().any(|it| it.is_new);
    let before = match change.verb {
        Verb::Destroy => 0,
        Verb::Update if moves => all.iter().filter(|it| it.is_new).count(),
        Verb::Create | Verb::Update => all.len(),
    };
    all.split_at(before)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_rest_ends_even_where_others_never_do() {
        let (is_over, tasks) = (Arc::new(AtomicBool::new(false)), Handle::current());
        let crowd = Arc::clone(&is_over);
        let crowd = thread::spawn(move || {
            while !crowd.load(Ordering::Relaxed) {
                tasks.spawn(std::future::ready(()));
            }
        });
        rest(MANY).await;
        is_over.store(true, Ordering::Relaxed);
        crowd.join().unwrap();
    }
}
