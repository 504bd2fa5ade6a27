//! The fan-out: sends the changes of the log to the connections that follow them.
//!
//! One task takes changes from the tail, in commit order, and emits each to its rooms before it
//! takes the next. So pushes leave in the order of the log, and handlers do not publish. Changes
//! that arrive faster than they are emitted leave together, one frame for each room. A frame costs
//! each recipient a turn of its task and a system call, whatever its size. So the fan-out yields to
//! the recipients before the next batch, and the next frame has all changes since then.
//!
//! A client that does not read loses pushes, and Socket.IO does not report which client that was.
//! So after a loss, the fan-out announces the position of the room a little later: clients that are
//! behind notice it and ask to resume. A stock client could not notice it; one that cannot take a
//! push is disconnected. The same is done for all clients of a resource if changes of it did not
//! reach this server ([`MissedChanges`]).

mod populated;
mod search_budget;
mod stock;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use backwire_engine::{Environment, MissedChanges};
use backwire_environment::HashMap;
use backwire_protocol::planted;
use backwire_records::change::{Change, NewMembers, Position, Resource, Room, Verb};
use backwire_records::criteria::{Collection, Scope};
use backwire_records::model::{Membership, Models};
use tokio::sync::mpsc;
use tokio::task::yield_now;

use crate::dialect::{Dialect, runtime};
use crate::limit_monitor::LimitMonitor;
use crate::push_backlog::{MAX_STOCK_CHANGES, PushBacklog};
use crate::push_barriers::WaitingBarriers;
use crate::rooms::{Candidates, FollowedFilter};
use crate::settings::Limit;
use crate::shared::Shared;
use crate::socket::{Audience, Sockets};
use search_budget::SearchBudget;

/// The maximum number of changes that are sent together.
const MAX_BATCH: usize = 256;

/// The number of recipients from which on the fan-out waits for them; for fewer, it would not be
/// worth it.
const YIELD_THRESHOLD: usize = 64;

/// The maximum time that the fan-out waits for recipients.
const MAX_YIELD_TIME: Duration = Duration::from_millis(50);

/// The time that a slow reader gets before the position of its room is announced.
const SLOW_READER_GRACE: Duration = Duration::from_secs(1);

/// Sends the changes of the log to the rooms.
pub(crate) struct Fanout {
    environment: Environment,
    sockets: Sockets,
    models: Arc<Models>,
    /// Rooms with members that may have missed a push, and the positions of these rooms.
    rooms_behind: HashMap<Room, Position>,
    /// The number of recipients since the fan-out last yielded.
    recipients: usize,
    /// The number of changes that stock clients were sent since then.
    stock_changes: usize,
    limits: Arc<LimitMonitor>,
    /// The maximum number of bytes that filters may search in changes that are sent together.
    searched_bytes: usize,
    /// The bytes that filters have searched so far.
    searched: usize,
    backlog: Arc<PushBacklog>,
    barriers: WaitingBarriers,
    /// For the records in pushes to clients of Sails. The fan-out does not keep the engine open.
    shared: Weak<Shared>,
    /// When the positions of `rooms_behind` are announced; has no meaning while there are none.
    announce_at: Instant,
}

impl Fanout {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let Shared { environment, sockets, models, limits, backlog, barriers, .. } = &**shared;
        Self {
            sockets: sockets.clone(),
            models: Arc::clone(models),
            rooms_behind: HashMap::default(),
            recipients: 0,
            stock_changes: 0,
            limits: Arc::clone(limits),
            searched_bytes: usize::MAX,
            searched: 0,
            backlog: Arc::clone(backlog),
            barriers: barriers.take(),
            shared: Arc::downgrade(shared),
            announce_at: environment.now(),
            environment: environment.clone(),
        }
    }

    /// Sets the limit on the bytes that filters may search in changes that are sent together.
    pub(crate) fn with_searched_bytes(self, searched_bytes: usize) -> Self {
        Self { searched_bytes, ..self }
    }

    /// Follows the log until the engine is gone and all changes are sent.
    ///
    /// Invariant: missed changes are handled before a later change is sent. The engine reports them
    /// before it sends such a change.
    pub(crate) async fn follow(
        mut self,
        mut tail: mpsc::Receiver<Arc<Change>>,
        missed: Option<mpsc::UnboundedReceiver<MissedChanges>>,
    ) {
        let mut changes = Vec::with_capacity(MAX_BATCH);
        let mut missed = missed.unwrap_or_else(|| mpsc::unbounded_channel().1);
        loop {
            let has_rooms_behind = !self.rooms_behind.is_empty();
            tokio::select! {
                biased;
                Some(changes) = missed.recv() => self.handle_missed_changes(&changes),
                // The timer is only made if it is needed.
                () = async { self.environment.sleep_until(self.announce_at).await },
                    if has_rooms_behind =>
                {
                    self.announce_positions().await;
                }
                barrier = self.barriers.next() => self.barriers.add(barrier, tail.len()),
                count = tail.recv_many(&mut changes, MAX_BATCH) => {
                    if count == 0 {
                        return;
                    }
                    while let Ok(changes) = missed.try_recv() {
                        self.handle_missed_changes(&changes);
                    }
                    if planted::has("fanout-skips-change") && changes.len() > 1 {
                        changes.remove(0);
                    }
                    if planted::has("fanout-reverses-changes") {
                        changes.reverse();
                    }
                    for run in changes.chunk_by(|one, next| is_of_same_log(one, next)) {
                        self.send_run(run).await;
                    }
                    self.barriers.sent(count);
                    changes.clear();
                    self.yield_to_recipients().await;
                }
            }
        }
    }

    /// Has all clients that follow anything of a resource resume, because changes of it were not
    /// sent.
    fn handle_missed_changes(&mut self, missed: &MissedChanges) {
        let is_loss = missed.after > missed.upto.offset;
        if planted::has("missed-changes-ignored") || is_loss && planted::has("loss-not-announced") {
            return;
        }
        self.backlog.skipped(&missed.resource);
        for filter in self.sockets.filters_of(Dialect::Runtime, &missed.resource) {
            filter.last_offset.store(missed.upto.offset, Ordering::Relaxed);
        }
        for client in self.sockets.all() {
            let mut rooms = client.record_rooms();
            let has_pairs = |room: &Room| {
                let of = room.scope().and_then(Scope::collection);
                let join = of.and_then(|of| self.models.associations().join_of(of));
                join.as_ref() == Some(&missed.resource)
            };
            // The members of a collection may be others now.
            let invalid: Vec<_> = rooms.iter().filter(|room| has_pairs(room)).cloned().collect();
            invalid.iter().for_each(|room| self.mark_behind(room, Position::NOWHERE));
            rooms.retain(|room| *room.resource() == missed.resource && !invalid.contains(room));
            match client.dialect() {
                Dialect::Runtime => {
                    rooms.iter().for_each(|room| self.mark_behind(room, missed.upto))
                }
                _ if !rooms.is_empty() => client.disconnect(),
                _ => {}
            }
        }
    }

    /// Sends consecutive changes of one resource.
    async fn send_run(&mut self, run: &[Arc<Change>]) {
        let Some(first) = run.first() else { return };
        let of = &first.resource;
        let counts = self.sockets.subscriber_counts(of);
        let counts = |dialect: Dialect| counts[dialect as usize];
        let stock = Dialect::STOCK.into_iter().filter(|dialect| counts(*dialect).all > 0);
        let stock: Vec<_> = stock.map(|dialect| (dialect, counts(dialect))).collect();
        let searched = self.searched;
        // Nothing is encoded for clients that follow nothing of the resource.
        if counts(Dialect::Runtime).all > 0 {
            self.push_to_runtimes(run).await;
            if counts(Dialect::Runtime).has_filters {
                self.push_to_filters(of, run, self.models.hide_records_of(of)).await;
            }
        }
        let searched_by_runtimes = (self.searched - searched) / run.len();
        for change in run {
            let searched = self.searched;
            let memberships = self.models.associations().memberships(change);
            let (before, after) = split_memberships(change, &memberships);
            self.emit_memberships(change, before);
            let before_pushes = self.sockets.separate_pushes();
            for (dialect, counts) in &stock {
                self.emit_to_stock(*dialect, *counts, change).await;
            }
            let pushes = self.sockets.separate_pushes().wrapping_sub(before_pushes);
            self.yield_after_stock_changes(pushes).await;
            self.backlog.sent(change, pushes, searched_by_runtimes + self.searched - searched);
            self.emit_memberships(change, after);
            self.invalidate_members(change, &memberships).await;
        }
    }

    /// Lets packets of stock clients leave if the last change was sent in such packets, and enough
    /// changes were sent before it. `pushes` is the number of these packets.
    async fn yield_after_stock_changes(&mut self, pushes: usize) {
        self.recipients = self.recipients.saturating_add(pushes);
        self.stock_changes += usize::from(pushes > 0);
        if self.stock_changes >= MAX_STOCK_CHANGES {
            self.yield_to_recipients().await;
        }
    }

    async fn yield_to_recipients(&mut self) {
        self.stock_changes = 0;
        yield_to(&self.environment, std::mem::take(&mut self.recipients)).await;
    }

    /// Sends the collections that a record enters or leaves by a change. Only Sails 1.x has such
    /// events; other clients see it in the change.
    fn emit_memberships(&self, change: &Change, memberships: &[Membership]) {
        for membership in memberships {
            if self.is_shown(change, membership) {
                continue;
            }
            let class = Room::class(membership.resource.clone());
            // A client that knows the one record may not be allowed to know the other.
            let target = self.models.associations().target_of(membership);
            let is_hiding = target.is_none_or(|target| self.models.hide_records_of(target));
            if is_hiding || !self.sockets.has_subscribers_in(Dialect::Sails, &class) {
                continue;
            }
            let room = Room::instance(membership.resource.clone(), membership.id.clone());
            let origin = change.origin.as_deref();
            let to = Audience { rooms: &[&room], except: &[], origin };
            let (event, payload) = Dialect::membership_event(membership);
            self.sockets.emit_to_each(Dialect::Sails, to, event, &payload);
        }
    }

    /// Whether the push of a new record shows that a record is in its collection.
    fn is_shown(&self, change: &Change, membership: &Membership) -> bool {
        let Membership { resource, id, attribute, is_new, .. } = membership;
        let is_announced = |it: &NewMembers| it.include((resource, id, attribute));
        *is_new
            && change.new_members.as_deref().is_some_and(is_announced)
            && self.shared.upgrade().is_some_and(|shared| populated::shows(&shared, membership))
    }

    /// Invalidates the rooms of a collection whose members have changed: their clients read it
    /// again, and follow the new members. A room that was read after the change is left out.
    async fn invalidate_members(&mut self, change: &Change, memberships: &[Membership]) {
        for membership in memberships {
            let Some(target) = self.models.associations().target_of(membership) else { continue };
            let of = membership.collection();
            for room in self.sockets.member_rooms(Dialect::Runtime, target, &of) {
                let at = room.scope().and_then(Scope::collection).map(Collection::position);
                // In another epoch, the offset may be that of another change.
                let is_before = |at: Position| {
                    at.epoch != change.position.epoch || at.offset < change.position.offset
                };
                if at.is_some_and(is_before) {
                    let push = runtime::invalidation(&room);
                    self.send(&room, &[], &push, Position::NOWHERE).await;
                }
            }
        }
    }

    async fn push_to_runtimes(&mut self, run: &[Arc<Change>]) {
        let Some(first) = run.first() else { return };
        let class = Room::class(first.resource.clone());
        self.push(&class, &[], run).await;
        for run in run.chunk_by(|one, next| one.id == next.id) {
            // A client in both rooms has received the changes in the class room.
            if planted::has("single-records-not-pushed") {
                continue;
            }
            let room = Room::instance(first.resource.clone(), run[0].id.clone());
            self.push(&room, &[&class], run).await;
        }
    }

    /// Sends the changes to the clients that follow a filter of the resource. Each filter is
    /// compared once with the changes that may concern it, however many clients follow it. A client
    /// that is in the class room as well receives them twice: to a list they are changes of
    /// different kinds.
    async fn push_to_filters(&mut self, of: &Resource, run: &[Arc<Change>], is_hiding: bool) {
        let budget = &mut SearchBudget::new(self.searched_bytes);
        self.push_to_list_filters(of, run, is_hiding, budget).await;
        for run in run.chunk_by(|one, next| one.id == next.id) {
            let filters = self.sockets.record_filters(Dialect::Runtime, of, &run[0].id);
            if planted::has("narrowed-records-not-pushed") {
                continue;
            }
            filters.iter().for_each(|it| it.last_offset.store(run[0].previous, Ordering::Relaxed));
            self.push_to_each_filter(filters, is_hiding, run, budget).await;
        }
        self.searched = self.searched.saturating_add(budget.spent());
    }

    async fn push_to_list_filters(
        &mut self,
        of: &Resource,
        run: &[Arc<Change>],
        is_hiding: bool,
        budget: &mut SearchBudget,
    ) {
        // A published change leaves the stored record as it is, so all clients that may know of the
        // record receive it.
        let is_for_all = |change: &Arc<Change>| change.published && change.verb != Verb::Create;
        if !is_hiding && run.iter().any(is_for_all) {
            let filters = self.sockets.filters_of(Dialect::Runtime, of);
            self.push_to_each_filter(filters, is_hiding, run, budget).await;
            return;
        }
        let Candidates { indexed, unindexed } = self.sockets.filters_for(Dialect::Runtime, of, run);
        let is_planted = planted::has("indexed-filters-not-pushed");
        for (filter, indexes) in indexed.into_iter().filter(|_| !is_planted) {
            let run: Vec<_> = indexes.into_iter().map(|index| Arc::clone(&run[index])).collect();
            self.push_to_each_filter(vec![filter], is_hiding, &run, budget).await;
        }
        self.push_to_each_filter(unindexed, is_hiding, run, budget).await;
    }

    /// Sends changes to the followers of some filters, as far as these filters may search the
    /// changes.
    async fn push_to_each_filter(
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
                let previous = filter.last_offset.load(Ordering::Relaxed);
                self.push_to_filter(&filter, is_hiding, previous, run).await;
            } else {
                self.limits.reached(Limit::SearchedBytes, None);
                filter.last_offset.store(last.position.offset, Ordering::Relaxed);
                self.mark_behind(&filter.room, last.position);
            }
        }
    }

    async fn push_to_filter(
        &mut self,
        filter: &FollowedFilter,
        is_hiding: bool,
        previous: u64,
        run: &[Arc<Change>],
    ) {
        let followed = runtime::FollowedScope { scope: filter.scope(), is_hiding };
        if let Some((push, last)) = runtime::scoped_push(&filter.room, followed, previous, run) {
            if !planted::has("position-of-filter-not-kept") {
                filter.last_offset.store(last.offset, Ordering::Relaxed);
            }
            self.send(&filter.room, &[], &push, last).await;
        }
    }

    async fn push(&mut self, room: &Room, except: &[&Room], changes: &[Arc<Change>]) {
        if !self.sockets.has_subscribers_in(Dialect::Runtime, room) {
            return;
        }
        if let Some((push, last)) = runtime::push(room, changes).zip(changes.last()) {
            self.send(room, except, &push, last.position).await;
        }
    }

    async fn send(&mut self, room: &Room, except: &[&Room], push: &runtime::Push, last: Position) {
        let to = Audience { rooms: &[room], except, origin: None };
        self.recipients += self.sockets.count_subscribers(Dialect::Runtime, room);
        let size = push.room.len() + push.changes.get().len();
        if !self.sockets.emit(to, push, size).await && !planted::has("dropped-push-not-noticed") {
            self.mark_behind(room, last);
        }
    }

    fn mark_behind(&mut self, room: &Room, position: Position) {
        if self.rooms_behind.is_empty() {
            self.announce_at = self.environment.now() + SLOW_READER_GRACE;
        }
        self.rooms_behind.insert(room.clone(), position);
    }

    /// Announces the positions of the rooms that may be behind. If a client still does not read,
    /// its room is announced again.
    async fn announce_positions(&mut self) {
        for (room, position) in std::mem::take(&mut self.rooms_behind) {
            let to = Audience { rooms: &[&room], except: &[], origin: None };
            let push = runtime::announcement(&room, position);
            let size = push.room.len();
            if !self.sockets.emit(to, &push, size).await {
                self.mark_behind(&room, position);
            }
        }
    }
}

/// Returns whether two changes are of one log.
///
/// Invariant: one frame has changes of one log. If a replica without the last writes replaces the
/// store, lost changes may still wait here, and other changes have their offsets.
fn is_of_same_log(one: &Change, next: &Change) -> bool {
    one.resource == next.resource && one.position.epoch == next.position.epoch
}

/// Yields to the recipients before the next batch. A few recipients have had their turn after one
/// yield to all other tasks. Many recipients wait in the global queue of the runtime, which all
/// threads come to in the end.
async fn yield_to(environment: &Environment, recipients: usize) {
    let end = environment.now() + MAX_YIELD_TIME;
    loop {
        yield_now().await;
        if recipients < YIELD_THRESHOLD
            || !environment.has_waiting_tasks()
            || environment.now() >= end
        {
            return;
        }
    }
}

/// Splits memberships into those that are sent before the change itself and those that are sent
/// after it. As in Sails, a record enters a collection before its own change is sent, and leaves a
/// collection after it is destroyed or has moved.
fn split_memberships<'a>(
    change: &Change,
    all: &'a [Membership],
) -> (&'a [Membership], &'a [Membership]) {
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

    use tokio::runtime::Handle;

    use super::*;

    #[tokio::test]
    async fn yield_ends_even_if_other_tasks_never_do() {
        let (is_over, tasks) = (Arc::new(AtomicBool::new(false)), Handle::current());
        let spawner = Arc::clone(&is_over);
        let spawner = thread::spawn(move || {
            while !spawner.load(Ordering::Relaxed) {
                tasks.spawn(std::future::ready(()));
            }
        });
        yield_to(&Environment::tokio(), YIELD_THRESHOLD).await;
        is_over.store(true, Ordering::Relaxed);
        spawner.join().unwrap();
    }
}
