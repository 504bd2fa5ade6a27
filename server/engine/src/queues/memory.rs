//! Queues in memory, which are lost when the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use async_trait::async_trait;
use backwire_environment::HashMap;
use backwire_protocol::planted;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message;
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Ttl;
use backwire_records::write::WriteError;
use parking_lot::{Mutex, MutexGuard};

use super::{
    Ack, AckOutcome, Batch, Delivery, DeliveryContent, Device, Enqueue, Enqueued,
    MAX_EXPIRED_PER_STEP, QueueRange, Queues,
};
use crate::ledger::{Ledger, LedgerLimits};
use crate::{Error, Window};

/// Queues in memory. One lock guards them all, so each step is atomic.
#[derive(Default)]
pub struct MemoryQueues {
    state: Mutex<State>,
}

impl MemoryQueues {
    /// Returns empty queues. The window has the time for which keys of messages are known.
    pub fn new(window: &Window) -> Self {
        Self { state: Mutex::new(State { window: *window, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns a copy of the queues.
    pub(crate) fn copy(&self) -> Self {
        Self { state: Mutex::new(self.state().clone()) }
    }

    /// Gives no id again that may have been given since these queues were copied.
    pub(crate) fn note_lost_ids(&self) {
        self.state().ids.has_lost = true;
    }

    /// Gives only ids that are greater than one that a server knows.
    pub(crate) fn give_ids_after(&self, known: Flake) {
        let mut state = self.state();
        state.ids.last = state.ids.last.max(known);
    }

    /// Returns the number of persons with devices or deliveries, including those that have expired
    /// and are not dropped yet.
    pub fn count(&self) -> usize {
        self.state().sites.values().map(|site| site.persons.len()).sum()
    }
}

#[async_trait]
impl Queues for MemoryQueues {
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error> {
        let mut state = self.state();
        state.ids.last = state.ids.last.next_by(node, at);
        if planted::has("queues-lost-at-restart") {
            state.sites.clear();
        }
        state.disconnect_all(at);
        Ok(())
    }

    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        Ok(self.state().enqueue(&post)?)
    }

    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        Ok(self.state().step(&device.site, &device.person, at, |person, ids| {
            person.connect(&device.name, ttl, max_devices).then_some(ids.last)
        }))
    }

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        self.state().step(&device.site, &device.person, at, |person, _| {
            if let Some(device) = person.devices.get_mut(&device.name) {
                device.leave(at);
            }
        });
        Ok(())
    }

    async fn ack(&self, device: Device, acked: Ack, at: u64) -> Result<AckOutcome, Error> {
        Ok(self.state().step(&device.site, &device.person, at, |person, ids| match acked {
            Ack::One(id) => person.ack(&device.name, id, ids, at),
            Ack::Batch(mut ids) => {
                if planted::has("batch-ack-clears-queue") {
                    let queue = person.devices.get(&device.name).map(|it| it.queue.clone());
                    ids.extend(queue.unwrap_or_default());
                }
                person.remove_from_queue(&device.name, &ids);
                AckOutcome::Removed
            }
        }))
    }

    async fn waiting(&self, device: Device, range: QueueRange) -> Result<Batch, Error> {
        Ok(self.state().waiting(&device, range))
    }
}

/// Messages may not be in logs.
impl fmt::Debug for MemoryQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueues").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[derive(Default, Clone)]
struct State {
    window: Window,
    ids: Ids,
    sites: HashMap<Arc<str>, Site>,
    /// Sites and persons, by the next time at which a device or a delivery of theirs expires.
    ends: BTreeSet<(u64, Arc<str>, Arc<str>)>,
}

/// The ids of deliveries.
#[derive(Default, Clone)]
struct Ids {
    /// The last id that was created.
    last: Flake,
    /// Whether later ids may have been lost.
    has_lost: bool,
}

impl Ids {
    fn next(&mut self, at: u64) -> Flake {
        self.last = if std::mem::take(&mut self.has_lost) {
            self.last.next_after_loss(at)
        } else if planted::has("ids-of-messages-go-back") {
            Flake::ZERO.next(at)
        } else {
            self.last.next(at)
        };
        self.last
    }
}

#[derive(Default, Clone)]
struct Site {
    persons: HashMap<Arc<str>, Person>,
    posts: Ledger<Flake>,
}

impl State {
    fn enqueue(&mut self, post: &Enqueue) -> Result<Enqueued, WriteError> {
        let site = self.sites.entry(Arc::clone(&post.site)).or_default();
        if let Some(key) = &post.key
            && !planted::has("keys-of-messages-ignored")
            && let Some(entry) = site.posts.recall(key, self.window.ledger_cutoff(post.at))
        {
            return Ok(Enqueued { id: entry.answer(key)?, repeated: true });
        }
        let id = self.ids.next(post.at);
        if let Some(key) = &post.key {
            // There are few messages compared with writes, so only the age of their keys is
            // limited.
            let limits =
                LedgerLimits { bytes: u64::MAX, ..LedgerLimits::of(&self.window, post.at) };
            site.posts.remember(key, post.at, id, 0, limits);
        }
        for name in BTreeSet::from_iter(&post.persons) {
            self.step(&post.site, name, post.at, |person, ids| {
                person.add(id, Some(Arc::clone(&post.message)), post.ttl.end(post.at));
                if person.inbox.len() as u64 > post.cap {
                    person.drop_furthest_behind(ids, post);
                }
            });
        }
        Ok(Enqueued { id, repeated: false })
    }

    /// Runs a step on a person after expired data of theirs is dropped. Also drops expired data of
    /// a few others.
    fn step<T>(
        &mut self,
        site: &Arc<str>,
        name: &Arc<str>,
        at: u64,
        run: impl FnOnce(&mut Person, &mut Ids) -> T,
    ) -> T {
        let mut person = self.take(site, name);
        person.expire(at);
        let outcome = run(&mut person, &mut self.ids);
        self.put_back(site, name, person);
        self.expire_some(at);
        outcome
    }

    fn take(&mut self, site: &Arc<str>, name: &Arc<str>) -> Person {
        let persons = &mut self.sites.entry(Arc::clone(site)).or_default().persons;
        let person = persons.remove(name).unwrap_or_default();
        if let Some(end) = person.end() {
            self.ends.remove(&(end, Arc::clone(site), Arc::clone(name)));
        }
        person
    }

    fn put_back(&mut self, site: &Arc<str>, name: &Arc<str>, person: Person) {
        if let Some(end) = person.end() {
            self.ends.insert((end, Arc::clone(site), Arc::clone(name)));
        }
        if !(person.devices.is_empty() && person.inbox.is_empty()) {
            let persons = &mut self.sites.entry(Arc::clone(site)).or_default().persons;
            persons.insert(Arc::clone(name), person);
        }
    }

    fn expire_some(&mut self, at: u64) {
        for _ in 0..MAX_EXPIRED_PER_STEP {
            let Some((_, site, name)) = self.ends.first().filter(|(end, ..)| *end <= at).cloned()
            else {
                return;
            };
            let mut person = self.take(&site, &name);
            person.expire(at);
            self.put_back(&site, &name, person);
        }
    }

    fn disconnect_all(&mut self, at: u64) {
        let persons = self.sites.iter().flat_map(|(site, Site { persons, .. })| {
            persons.keys().map(|name| (Arc::clone(site), Arc::clone(name)))
        });
        for (site, name) in persons.collect::<Vec<_>>() {
            let mut person = self.take(&site, &name);
            for device in person.devices.values_mut().filter(|device| device.sockets > 0) {
                device.sockets = 1;
                device.leave(at);
            }
            self.put_back(&site, &name, person);
        }
    }

    fn waiting(&self, device: &Device, range: QueueRange) -> Batch {
        let nothing = Batch { deliveries: Vec::new(), more: false };
        let person = self.sites.get(&device.site).and_then(|site| site.persons.get(&device.person));
        let Some(person) = person else { return nothing };
        match person.devices.get(&device.name) {
            Some(device) if range.at < device.end => person.batch(device, range),
            _ => nothing,
        }
    }
}

/// A person with devices or deliveries.
#[derive(Default, Clone)]
struct Person {
    inbox: BTreeMap<Flake, Item>,
    devices: BTreeMap<Arc<str>, KnownDevice>,
    /// The deliveries that wait for the first device, by the time at which they expire.
    ends: BTreeSet<(u64, Flake)>,
}

/// A delivery that waits for a person.
#[derive(Clone)]
struct Item {
    /// The message; `None` for a resync.
    message: Option<Arc<Message>>,
    /// Whether a device has acked it. Then a new device does not get it.
    was_acked: bool,
    /// The number of devices that have it in their queue. It is dropped with the last of them.
    readers: usize,
}

impl Item {
    fn delivery(&self, id: Flake) -> (Delivery, usize) {
        let Some(message) = &self.message else {
            return (Delivery { id, content: DeliveryContent::Resync }, 0);
        };
        let Message { event, args, .. } = &**message;
        let content = DeliveryContent::Event { event: event.clone(), args: args.clone() };
        (Delivery { id, content }, message::size(event, args))
    }
}

/// A device that has connected once.
#[derive(Clone)]
struct KnownDevice {
    /// An older device of a person has a lower number.
    number: u64,
    sockets: usize,
    ttl: Ttl,
    /// The time of its last disconnect, if it is away.
    left: u64,
    /// When it expires; never while it is connected.
    end: u64,
    queue: BTreeSet<Flake>,
}

impl KnownDevice {
    fn leave(&mut self, at: u64) {
        if self.sockets == 1 {
            (self.left, self.end) = (at, self.ttl.end(at));
        }
        self.sockets = self.sockets.saturating_sub(1);
    }
}

impl Person {
    /// Adds a socket of a device. Returns `false` if there is no room for the device.
    fn connect(&mut self, name: &Arc<str>, ttl: Ttl, max_devices: usize) -> bool {
        let Some(leaving) = self.make_room(name, max_devices) else { return false };
        let number = self.devices.values().map(|device| device.number + 1).max();
        let device = self.devices.entry(Arc::clone(name)).or_insert_with(|| {
            let unread = self.inbox.iter_mut().filter(|(_, item)| !item.was_acked);
            let queue = unread.map(|(id, item)| {
                item.readers += 1;
                *id
            });
            let number = number.unwrap_or_default();
            KnownDevice { number, sockets: 0, ttl, left: 0, end: u64::MAX, queue: queue.collect() }
        });
        self.ends.clear();
        device.sockets += 1;
        (device.ttl, device.end) = (ttl, u64::MAX);
        leaving.iter().for_each(|name| self.drop_device(name));
        true
    }

    /// Returns the devices to drop for a new one; `None` if too few are away.
    fn make_room(&self, name: &Arc<str>, max_devices: usize) -> Option<Vec<Arc<str>>> {
        if self.devices.contains_key(name) {
            return Some(Vec::new());
        }
        let too_many = (self.devices.len() + 1).saturating_sub(max_devices);
        let away = self.devices.iter().filter(|(_, device)| device.sockets == 0);
        let mut away: Vec<_> = away.map(|(name, it)| (it.left, it.number, name)).collect();
        away.sort_unstable();
        let leaving: Vec<_> = away.into_iter().take(too_many).map(|(.., it)| it.clone()).collect();
        (leaving.len() == too_many).then_some(leaving)
    }

    fn drop_device(&mut self, name: &Arc<str>) {
        let device = self.devices.remove(name);
        for id in device.iter().flat_map(|device| &device.queue) {
            remove_reader(&mut self.inbox, id);
        }
    }

    /// Adds a delivery for all devices. If there is none, it waits for the first one until `end`.
    fn add(&mut self, id: Flake, message: Option<Arc<Message>>, end: u64) {
        let readers = self.devices.len();
        self.inbox.insert(id, Item { message, was_acked: false, readers });
        if readers == 0 {
            self.ends.insert((end, id));
        }
        for device in self.devices.values_mut() {
            if planted::has("message-not-kept-for-away-device") && device.sockets == 0 {
                continue;
            }
            device.queue.insert(id);
        }
    }

    fn ack(&mut self, name: &Arc<str>, id: Flake, ids: &mut Ids, at: u64) -> AckOutcome {
        let Some(lost) = self.lost_by(name, id) else {
            self.remove_from_queue(name, &[id]);
            return AckOutcome::Removed;
        };
        self.remove_from_queue(name, &lost);
        let resync = ids.next(at);
        self.add_resync(&[Arc::clone(name)], resync);
        AckOutcome::Resync(resync)
    }

    /// Returns the deliveries that a resync replaces, if an ack is out of order.
    fn lost_by(&self, name: &Arc<str>, id: Flake) -> Option<Vec<Flake>> {
        let queue = &self.devices.get(name)?.queue;
        let message = self.inbox.get(queue.get(&id)?)?.message.as_ref()?;
        let is_same = |id: &&Flake| {
            let other = self.inbox.get(id).and_then(|item| item.message.as_ref());
            other.is_some_and(|other| other.event == message.event)
        };
        let first = queue.iter().find(is_same)?;
        let is_lost = message.resync && *first < id;
        is_lost.then(|| queue.iter().filter(is_same).copied().collect())
    }

    /// Removes deliveries from the queue of a device that has acked them.
    fn remove_from_queue(&mut self, name: &Arc<str>, ids: &[Flake]) {
        let Some(device) = self.devices.get_mut(name) else { return };
        for id in ids.iter().filter(|id| device.queue.remove(id)) {
            if let Some(item) = self.inbox.get_mut(id) {
                item.was_acked = true;
            }
            remove_reader(&mut self.inbox, id);
        }
    }

    /// Replaces the queues of the devices that have not acked the oldest delivery by a resync.
    fn drop_furthest_behind(&mut self, ids: &mut Ids, post: &Enqueue) {
        let Some((oldest, _)) = self.inbox.first_key_value() else { return };
        let oldest = *oldest;
        let id = ids.next(post.at);
        if self.devices.is_empty() {
            self.inbox.clear();
            self.ends.clear();
            return self.add(id, None, post.ttl.end(post.at));
        }
        let behind = self.devices.iter().filter(|(_, device)| device.queue.contains(&oldest));
        let behind: Vec<_> = behind.map(|(name, _)| Arc::clone(name)).collect();
        for name in &behind {
            self.clear_queue(name);
        }
        self.add_resync(&behind, id);
    }

    fn clear_queue(&mut self, name: &Arc<str>) {
        let queue =
            self.devices.get(name).map(|device| Vec::from_iter(device.queue.iter().copied()));
        self.remove_from_queue(name, &queue.unwrap_or_default());
    }

    /// Adds a resync for some of the devices.
    fn add_resync(&mut self, names: &[Arc<str>], id: Flake) {
        let (readers, was_acked) = (names.len(), names.len() < self.devices.len());
        self.inbox.insert(id, Item { message: None, was_acked, readers });
        for name in names {
            if let Some(device) = self.devices.get_mut(name) {
                device.queue.insert(id);
            }
        }
    }

    /// Drops devices that have been away for too long; with the last device, all deliveries of the
    /// person.
    fn expire(&mut self, at: u64) {
        let gone = self.devices.iter().filter(|(_, device)| device.end <= at);
        let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
        gone.iter().for_each(|name| self.drop_device(name));
        if self.devices.is_empty() && !gone.is_empty() {
            self.inbox.clear();
        }
        let later = self.ends.split_off(&(at.saturating_add(1), Flake::ZERO));
        for (_, id) in mem::replace(&mut self.ends, later) {
            self.inbox.remove(&id);
        }
    }

    /// Returns the next time at which a device or a delivery expires.
    fn end(&self) -> Option<u64> {
        match self.devices.values().map(|device| device.end).min() {
            None => self.ends.first().map(|(end, _)| *end),
            end => end,
        }
    }

    fn batch(&self, device: &KnownDevice, range: QueueRange) -> Batch {
        let wanted = device.queue.range((Excluded(range.after), Unbounded));
        let wanted = wanted.take_while(|id| **id <= range.upto);
        let found = wanted.filter_map(|id| Some(self.inbox.get(id)?.delivery(*id)));
        let Ok((deliveries, more)) = range.portion.take(found.map(Ok::<_, Infallible>));
        Batch { deliveries, more }
    }
}

fn remove_reader(inbox: &mut BTreeMap<Flake, Item>, id: &Flake) {
    let Some(item) = inbox.get_mut(id) else { return };
    item.readers -= 1;
    if item.readers == 0 {
        inbox.remove(id);
    }
}
