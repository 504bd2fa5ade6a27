//! Queues that live as long as their process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use async_trait::async_trait;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message;
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Ttl;
use backwire_records::write::Refused;
use parking_lot::{Mutex, MutexGuard};

use super::{
    Acked, Asked, Batch, Delivery, Device, FORGOTTEN_PER_STEP, Outcome, Post, Posted, Queues, Said,
};
use crate::ledger::{Ledger, LedgerLimits};
use crate::{Error, Window};

/// Queues in memory: one lock holds them all, so each step is one.
#[derive(Default)]
pub struct MemoryQueues {
    state: Mutex<State>,
}

impl MemoryQueues {
    /// Empty queues, which know the keys of posts as long as the window says.
    pub fn new(window: &Window) -> Self {
        Self { state: Mutex::new(State { window: *window, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// How many persons something is kept of, also of those that are due to be forgotten.
    pub fn count(&self) -> usize {
        self.state().sites.values().map(|site| site.persons.len()).sum()
    }
}

#[async_trait]
impl Queues for MemoryQueues {
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error> {
        let mut state = self.state();
        state.last = state.last.next_by(node, at);
        state.everybody_leaves(at);
        Ok(())
    }

    async fn post(&self, post: Post) -> Result<Posted, Error> {
        Ok(self.state().post(&post)?)
    }

    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        most: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        Ok(self.state().step(&device.site, &device.person, at, |person, last| {
            person.connect(&device.name, ttl, most).then_some(*last)
        }))
    }

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        self.state().step(&device.site, &device.person, at, |person, _| {
            if let Some(presence) = person.devices.get_mut(&device.name) {
                presence.leave(at);
            }
        });
        Ok(())
    }

    async fn ack(&self, device: Device, acked: Acked, at: u64) -> Result<Outcome, Error> {
        Ok(self.state().step(&device.site, &device.person, at, |person, last| match acked {
            Acked::One(id) => person.ack(&device.name, id, last, at),
            Acked::Batch(ids) => {
                person.leave_queue(&device.name, &ids);
                Outcome::Removed
            }
        }))
    }

    async fn waiting(&self, device: Device, asked: Asked) -> Result<Batch, Error> {
        Ok(self.state().waiting(&device, asked))
    }
}

/// What people are sent is not for logs.
impl fmt::Debug for MemoryQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueues").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    window: Window,
    /// The last id that was drawn.
    last: Flake,
    sites: HashMap<Arc<str>, Site>,
    /// Who is to be forgotten next comes first: site and person.
    ends: BTreeSet<(u64, Arc<str>, Arc<str>)>,
}

#[derive(Default)]
struct Site {
    persons: HashMap<Arc<str>, Person>,
    posts: Ledger<Flake>,
}

impl State {
    fn post(&mut self, post: &Post) -> Result<Posted, Refused> {
        let site = self.sites.entry(Arc::clone(&post.site)).or_default();
        if let Some(key) = &post.key
            && let Some(entry) = site.posts.recall(key, self.window.ledger_cutoff(post.at))
        {
            return Ok(Posted { id: entry.answer(key)?, repeated: true });
        }
        self.last = self.last.next(post.at);
        let id = self.last;
        if let Some(key) = &post.key {
            // They are few beside writes, so only their age has a bound.
            let limits =
                LedgerLimits { bytes: u64::MAX, ..LedgerLimits::of(&self.window, post.at) };
            site.posts.remember(key, post.at, id, 0, limits);
        }
        for name in BTreeSet::from_iter(&post.persons) {
            self.step(&post.site, name, post.at, |person, last| {
                person.add(id, Some(Arc::clone(&post.message)), post.ttl.end(post.at));
                if person.inbox.len() as u64 > post.cap {
                    person.drop_furthest_behind(last, post);
                }
            });
        }
        Ok(Posted { id, repeated: false })
    }

    /// Does something with a person, as they are at a time, and forgets some others.
    fn step<T>(
        &mut self,
        site: &Arc<str>,
        name: &Arc<str>,
        at: u64,
        act: impl FnOnce(&mut Person, &mut Flake) -> T,
    ) -> T {
        let mut person = self.take(site, name);
        person.forget(at);
        let outcome = act(&mut person, &mut self.last);
        self.put_back(site, name, person);
        self.forget_some(at);
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

    fn forget_some(&mut self, at: u64) {
        for _ in 0..FORGOTTEN_PER_STEP {
            let Some((_, site, name)) = self.ends.first().filter(|(end, ..)| *end <= at).cloned()
            else {
                return;
            };
            let mut person = self.take(&site, &name);
            person.forget(at);
            self.put_back(&site, &name, person);
        }
    }

    fn everybody_leaves(&mut self, at: u64) {
        let persons = self.sites.iter().flat_map(|(site, Site { persons, .. })| {
            persons.keys().map(|name| (Arc::clone(site), Arc::clone(name)))
        });
        for (site, name) in persons.collect::<Vec<_>>() {
            let mut person = self.take(&site, &name);
            for presence in person.devices.values_mut().filter(|presence| presence.sockets > 0) {
                presence.sockets = 1;
                presence.leave(at);
            }
            self.put_back(&site, &name, person);
        }
    }

    fn waiting(&self, device: &Device, asked: Asked) -> Batch {
        let nothing = Batch { deliveries: Vec::new(), more: false };
        let person = self.sites.get(&device.site).and_then(|site| site.persons.get(&device.person));
        let Some(person) = person else { return nothing };
        match person.devices.get(&device.name) {
            Some(presence) if asked.at < presence.end => person.batch(presence, asked),
            _ => nothing,
        }
    }
}

/// Somebody of whom a device is known or for whom something waits.
#[derive(Default)]
struct Person {
    inbox: BTreeMap<Flake, Item>,
    devices: BTreeMap<Arc<str>, Presence>,
    /// When each is forgotten that waits for the first device.
    ends: BTreeSet<(u64, Flake)>,
}

/// Something that waits for a person.
struct Item {
    /// None: that something was dropped unread.
    message: Option<Arc<Message>>,
    /// Whether a device is done with it; one that comes for the first time does not get it then.
    is_begun: bool,
    /// Devices that wait for it. It goes with the last of them.
    readers: usize,
}

impl Item {
    fn delivery(&self, id: Flake) -> (Delivery, usize) {
        let Some(message) = &self.message else { return (Delivery { id, said: Said::Resync }, 0) };
        let Message { event, args, .. } = &**message;
        let said = Said::Event { event: event.clone(), args: args.clone() };
        (Delivery { id, said }, message::size(event, args))
    }
}

/// A device that is known.
struct Presence {
    /// Of the devices of one person, the older has the lower.
    number: u64,
    sockets: usize,
    ttl: Ttl,
    /// When it has left, if it is away.
    left: u64,
    /// When it is forgotten; never while it is connected.
    end: u64,
    queue: BTreeSet<Flake>,
}

impl Presence {
    fn leave(&mut self, at: u64) {
        if self.sockets == 1 {
            (self.left, self.end) = (at, self.ttl.end(at));
        }
        self.sockets = self.sockets.saturating_sub(1);
    }
}

impl Person {
    /// Whether there is room for it.
    fn connect(&mut self, name: &Arc<str>, ttl: Ttl, most: usize) -> bool {
        let Some(leaving) = self.make_room(name, most) else { return false };
        let number = self.devices.values().map(|presence| presence.number + 1).max();
        let presence = self.devices.entry(Arc::clone(name)).or_insert_with(|| {
            let unread = self.inbox.iter_mut().filter(|(_, item)| !item.is_begun);
            let queue = unread.map(|(id, item)| {
                item.readers += 1;
                *id
            });
            let number = number.unwrap_or_default();
            Presence { number, sockets: 0, ttl, left: 0, end: u64::MAX, queue: queue.collect() }
        });
        self.ends.clear();
        presence.sockets += 1;
        (presence.ttl, presence.end) = (ttl, u64::MAX);
        leaving.iter().for_each(|name| self.drop_device(name));
        true
    }

    /// Who has to go for a device to come; none if those who could are too few.
    fn make_room(&self, name: &Arc<str>, most: usize) -> Option<Vec<Arc<str>>> {
        if self.devices.contains_key(name) {
            return Some(Vec::new());
        }
        let too_many = (self.devices.len() + 1).saturating_sub(most);
        let away = self.devices.iter().filter(|(_, presence)| presence.sockets == 0);
        let mut away: Vec<_> = away.map(|(name, it)| (it.left, it.number, name)).collect();
        away.sort_unstable();
        let leaving: Vec<_> = away.into_iter().take(too_many).map(|(.., it)| it.clone()).collect();
        (leaving.len() == too_many).then_some(leaving)
    }

    fn drop_device(&mut self, name: &Arc<str>) {
        let presence = self.devices.remove(name);
        for id in presence.iter().flat_map(|presence| &presence.queue) {
            lose_reader(&mut self.inbox, id);
        }
    }

    /// Adds something for all devices, or to wait for the first one until then.
    fn add(&mut self, id: Flake, message: Option<Arc<Message>>, end: u64) {
        let readers = self.devices.len();
        self.inbox.insert(id, Item { message, is_begun: false, readers });
        if readers == 0 {
            self.ends.insert((end, id));
        }
        for presence in self.devices.values_mut() {
            presence.queue.insert(id);
        }
    }

    fn ack(&mut self, name: &Arc<str>, id: Flake, last: &mut Flake, at: u64) -> Outcome {
        let Some(lost) = self.lost_by(name, id) else {
            self.leave_queue(name, &[id]);
            return Outcome::Removed;
        };
        self.leave_queue(name, &lost);
        *last = last.next(at);
        self.tell_to_start_over(&[Arc::clone(name)], *last);
        Outcome::Resync(*last)
    }

    /// What a device loses by an ack out of order, if it is one.
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

    /// Takes something out of a device's queue, which is done with it.
    fn leave_queue(&mut self, name: &Arc<str>, ids: &[Flake]) {
        let Some(presence) = self.devices.get_mut(name) else { return };
        for id in ids.iter().filter(|id| presence.queue.remove(id)) {
            if let Some(item) = self.inbox.get_mut(id) {
                item.is_begun = true;
            }
            lose_reader(&mut self.inbox, id);
        }
    }

    /// Of who waits for the oldest delivery, drops all that waits. They have to start over.
    fn drop_furthest_behind(&mut self, last: &mut Flake, post: &Post) {
        let Some((oldest, _)) = self.inbox.first_key_value() else { return };
        let oldest = *oldest;
        *last = last.next(post.at);
        if self.devices.is_empty() {
            self.inbox.clear();
            self.ends.clear();
            return self.add(*last, None, post.ttl.end(post.at));
        }
        let behind = self.devices.iter().filter(|(_, presence)| presence.queue.contains(&oldest));
        let behind: Vec<_> = behind.map(|(name, _)| Arc::clone(name)).collect();
        for name in &behind {
            self.clear_queue(name);
        }
        self.tell_to_start_over(&behind, *last);
    }

    fn clear_queue(&mut self, name: &Arc<str>) {
        let queue =
            self.devices.get(name).map(|presence| Vec::from_iter(presence.queue.iter().copied()));
        self.leave_queue(name, &queue.unwrap_or_default());
    }

    /// Lets a delivery that says so wait for some of the devices.
    fn tell_to_start_over(&mut self, names: &[Arc<str>], id: Flake) {
        let (readers, is_begun) = (names.len(), names.len() < self.devices.len());
        self.inbox.insert(id, Item { message: None, is_begun, readers });
        for name in names {
            if let Some(presence) = self.devices.get_mut(name) {
                presence.queue.insert(id);
            }
        }
    }

    /// Forgets devices that have been away for too long; with the last, all that waits for the person.
    fn forget(&mut self, at: u64) {
        let gone = self.devices.iter().filter(|(_, presence)| presence.end <= at);
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

    /// When something of them is to be forgotten.
    fn end(&self) -> Option<u64> {
        match self.devices.values().map(|presence| presence.end).min() {
            None => self.ends.first().map(|(end, _)| *end),
            end => end,
        }
    }

    fn batch(&self, presence: &Presence, asked: Asked) -> Batch {
        let wanted = presence.queue.range((Excluded(asked.after), Unbounded));
        let wanted = wanted.take_while(|id| **id <= asked.upto);
        let found = wanted.filter_map(|id| Some(self.inbox.get(id)?.delivery(*id)));
        let Ok((deliveries, more)) = asked.portion.take(found.map(Ok::<_, Infallible>));
        Batch { deliveries, more }
    }
}

fn lose_reader(inbox: &mut BTreeMap<Flake, Item>, id: &Flake) {
    let Some(item) = inbox.get_mut(id) else { return };
    item.readers -= 1;
    if item.readers == 0 {
        inbox.remove(id);
    }
}
