//! Random operations on queues. Every engine gives the same results as a small model, and SQLite
//! and Redis also do so over restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backwire_engine::{Ack, AckOutcome, Device, Enqueue, Enqueued, Error, Window};
use backwire_records::messages::flake::Node;
use backwire_records::messages::rules::Ttl;
use backwire_records::write::WriteError;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::queues::{SECOND, device_at, keyed, post, resync};
use crate::redis_server;
use crate::store::{self, DAY, NOON, Store, redis_options, redis_with};

const CAP: u64 = 5;
const SITES: [&str; 2] = ["shop", "other"];
const PERSONS: [&str; 2] = ["ann", "bob"];
const DEVICES: [&str; 3] = ["", "*", "phone"];

/// The device limit of a person.
const MAX_DEVICES: usize = 2;
const EVENTS: [&str; 2] = ["e", "f"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_engine_matches_the_queue_model(
        ttl in select(&[0, 10][..]),
        steps in vec((pause(), step()), 1..60),
    ) {
        store::runtime().block_on(async {
            let mut world = World::new(ttl);
            for (pause, step) in steps {
                world.model.now += pause;
                world.take(&step).await?;
                world.agrees().await?;
                world.is_tidy()?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send(Sent),
    Connect(Device),
    Disconnect(Device),
    /// Acks the entry at this index of the queue.
    Ack(Device, Index),
    /// Acks this many first entries of the queue.
    AckBatch(Device, usize),
    Restart,
}

#[derive(Debug, Clone)]
struct Sent {
    site: &'static str,
    persons: Vec<&'static str>,
    event: &'static str,
    resync: bool,
    /// The key and the fingerprint of the request.
    key: Option<(&'static str, u64)>,
}

fn pause() -> impl Strategy<Value = u64> {
    // Mostly no pause, and often exactly the time when something expires.
    prop_oneof![
        6 => Just(0),
        2 => select(vec![1, SECOND, 9_999, 10 * SECOND]),
        1 => select(vec![11 * SECOND, DAY, 7 * DAY]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => sent().prop_map(Step::Send),
        4 => a_device().prop_map(Step::Connect),
        3 => a_device().prop_map(Step::Disconnect),
        6 => (a_device(), any::<Index>()).prop_map(|(device, place)| Step::Ack(device, place)),
        2 => (a_device(), 1..6_usize).prop_map(|(device, count)| Step::AckBatch(device, count)),
        1 => Just(Step::Restart),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let persons = subsequence(PERSONS.to_vec(), 0..=2);
    let key = option::weighted(0.2, (select(&["j", "k"][..]), 1..3_u64));
    // Mostly the same site, so that the queues are not empty.
    let site = prop_oneof![5 => Just(SITES[0]), 1 => Just(SITES[1])];
    let fields = (site, persons, select(&EVENTS[..]), any::<bool>(), key);
    fields.prop_map(|(site, persons, event, resync, key)| Sent {
        site,
        persons,
        event,
        resync,
        key,
    })
}

fn a_device() -> impl Strategy<Value = Device> {
    let of_ann = Vec::from_iter(devices().take(DEVICES.len()));
    prop_oneof![3 => select(of_ann), 1 => select(Vec::from_iter(devices()))]
}

fn devices() -> impl Iterator<Item = Device> {
    let sites = SITES.into_iter().zip([&PERSONS[..], &PERSONS[..1]]);
    let persons = sites.flat_map(|(site, persons)| persons.iter().map(move |name| (site, *name)));
    persons.flat_map(|(site, person)| DEVICES.map(|name| device_at(site, person, name)))
}

/// The model and the engines that are compared with it.
struct World {
    model: Model,
    memory: Store,
    sqlite: Store,
    redis: Store,
    prefix: String,
    folder: TempDir,
    /// Another connection to the file.
    file: Connection,
}

impl World {
    fn new(ttl: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = redis_server::unused_prefix();
        Self {
            redis: redis_with(redis_options(prefix.clone()), Window::default(), 1),
            prefix,
            model: Model { now: NOON, ttl: Ttl::seconds(ttl), ..Model::default() },
            memory: store::memory(Window::default(), 1),
            sqlite: store::sqlite_in(folder.path(), Window::default(), 1),
            file: Connection::open(folder.path().join("data/backwire.db")).unwrap(),
            folder,
        }
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Restart => {
                self.sqlite.restart(&self.folder);
                let options = redis_options(self.prefix.clone());
                self.redis = redis_with(options, Window::default(), 1);
                self.model.restart();
                for store in [&self.memory, &self.sqlite, &self.redis] {
                    let queues = store.engine.queues();
                    queues.begin(Node::default(), self.model.now).await.unwrap();
                }
            }
            Step::Connect(device) => {
                let has_room = self.model.connect(device);
                for store in [&self.memory, &self.sqlite, &self.redis] {
                    let (queues, Model { ttl, now, .. }) = (store.engine.queues(), &self.model);
                    let connected =
                        queues.connect(device.clone(), *ttl, MAX_DEVICES, *now).await.unwrap();
                    prop_assert_eq!(connected.is_some(), has_room);
                }
            }
            Step::Disconnect(device) => {
                self.model.disconnect(device);
                for store in [&self.memory, &self.sqlite, &self.redis] {
                    store.disconnect(device, self.model.now).await;
                }
            }
            Step::Send(sent) => {
                let post = self.model.post(sent);
                let outcome = self.model.send(sent);
                for store in [&self.memory, &self.sqlite, &self.redis] {
                    prop_assert_eq!(store.outcome(post.clone()).await, outcome);
                }
            }
            Step::Ack(device, place) => {
                let places = self.model.waiting(device).len();
                // The index may also be beyond the queue.
                let place = place.index(places + 1);
                let lost = self.model.ack(device, place);
                for store in [&self.memory, &self.sqlite, &self.redis] {
                    let ids = store.ids(device, self.model.now).await;
                    let id = ids.get(place).copied().unwrap_or_default();
                    let outcome = store.ack(device, Ack::One(id), self.model.now).await;
                    prop_assert_eq!(matches!(outcome, AckOutcome::Resync(_)), lost);
                }
            }
            Step::AckBatch(device, count) => {
                self.model.ack_first(device, *count);
                for store in [&self.memory, &self.sqlite, &self.redis] {
                    let ids = store.ids(device, self.model.now).await;
                    let acked = Ack::Batch(ids.into_iter().take(*count).collect());
                    store.ack(device, acked, self.model.now).await;
                }
            }
        }
        Ok(())
    }

    /// Checks that each device has the same queue everywhere, with the same ids in order.
    async fn agrees(&self) -> Result<(), TestCaseError> {
        for device in devices() {
            let expected = self.model.waiting(&device);
            for store in [&self.memory, &self.sqlite, &self.redis] {
                let waiting = store.waiting(&device, self.model.now).await;
                prop_assert_eq!(&waiting, &expected, "{:?}", device);
            }
            let ids = self.memory.ids(&device, self.model.now).await;
            prop_assert!(ids.is_sorted_by(|earlier, later| earlier < later));
            for store in [&self.sqlite, &self.redis] {
                prop_assert_eq!(&store.ids(&device, self.model.now).await, &ids);
            }
        }
        Ok(())
    }
}

impl World {
    /// Checks that the file has no unused rows, and that its counters are correct.
    fn is_tidy(&self) -> Result<(), TestCaseError> {
        for violation in VIOLATIONS {
            let sql = format!("SELECT count(*) FROM {violation}");
            let mut count = self.file.prepare_cached(&sql).unwrap();
            let count: i64 = count.query_row([], |row| row.get(0)).unwrap();
            prop_assert_eq!(count, 0, "{}", violation);
        }
        Ok(())
    }
}

const VIOLATIONS: [&str; 5] = [
    "messages m WHERE readers = 0
     OR readers <> (SELECT count(*) FROM inbox WHERE inbox.id = m.id)",
    "inbox WHERE id NOT IN (SELECT id FROM messages)",
    "persons p WHERE waiting <> (SELECT count(*) FROM inbox WHERE person = p.id)
     OR (waiting = 0 AND id NOT IN (SELECT person FROM devices))",
    "acks a WHERE NOT EXISTS (SELECT 1 FROM devices d JOIN inbox i ON i.person = d.person
     WHERE d.id = a.device AND i.id = a.id AND a.id > d.floor)",
    "inbox i WHERE i.person IN (SELECT person FROM devices)
     AND (until IS NOT NULL OR NOT EXISTS (SELECT 1 FROM devices d WHERE d.person = i.person
     AND d.floor < i.id AND NOT EXISTS (SELECT 1 FROM acks a WHERE a.device = d.id AND a.id = i.id)))",
];

impl Store {
    /// Closes the engine, and opens another with the same file.
    fn restart(&mut self, folder: &TempDir) {
        // Only one process may have the file open.
        *self = store::memory(Window::default(), 1);
        *self = store::sqlite_in(folder.path(), Window::default(), 1);
    }

    /// Returns whether a post is a repeat, or `None` if it was refused.
    async fn outcome(&self, post: Enqueue) -> Option<bool> {
        match self.try_post(post).await {
            Ok(Enqueued { repeated, .. }) => Some(repeated),
            Err(Error::Refused(WriteError::KeyReused)) => None,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The model.
struct Model {
    now: u64,
    ttl: Ttl,
    /// The number of entries so far.
    count: u64,
    /// The number of connects so far.
    met: u64,
    persons: BTreeMap<(Arc<str>, Arc<str>), Person>,
    /// The fingerprint and time of each key, by site and key.
    keys: BTreeMap<(&'static str, &'static str), (u64, u64)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    number: u64,
    /// `None` is a resync.
    event: Option<&'static str>,
    resync: bool,
    end: u64,
}

#[derive(Default)]
struct Person {
    /// Entries that no device has acked.
    unread: Vec<Entry>,
    devices: BTreeMap<Arc<str>, Presence>,
}

struct Presence {
    number: u64,
    sockets: u32,
    left: u64,
    end: u64,
    queue: Vec<Entry>,
}

impl Default for Model {
    fn default() -> Self {
        let (persons, keys) = Default::default();
        Self { now: NOON, ttl: Ttl::seconds(0), count: 0, met: 0, persons, keys }
    }
}

impl Model {
    /// Returns a person, after expired devices and entries are removed.
    fn person(&mut self, site: &str, name: &str) -> &mut Person {
        let person = self.persons.entry((site.into(), name.into())).or_default();
        let known = person.devices.len();
        person.devices.retain(|_, device| self.now < device.end);
        if person.devices.is_empty() {
            person.unread.retain(|entry| known == 0 && self.now < entry.end);
        }
        person
    }

    fn device(&mut self, device: &Device) -> (&mut Vec<Entry>, Option<&mut Presence>, bool) {
        let Person { unread, devices } = self.person(&device.site, &device.person);
        let is_alone = devices.len() == 1;
        (unread, devices.get_mut(&device.name), is_alone)
    }

    /// Connects a device. Returns false if the device limit is reached.
    fn connect(&mut self, device: &Device) -> bool {
        self.met += 1;
        let number = self.met;
        let person = self.person(&device.site, &device.person);
        if person.devices.len() == MAX_DEVICES && !person.devices.contains_key(&device.name) {
            let away = person.devices.iter().filter(|(_, presence)| presence.sockets == 0);
            let oldest = away.min_by_key(|(_, presence)| (presence.left, presence.number));
            let Some((oldest, _)) = oldest else { return false };
            let oldest = oldest.clone();
            person.devices.remove(&oldest);
        }
        let queue = person.unread.clone();
        let new = Presence { number, sockets: 0, left: 0, end: u64::MAX, queue };
        let presence = person.devices.entry(device.name.clone()).or_insert(new);
        presence.sockets += 1;
        presence.end = u64::MAX;
        true
    }

    fn disconnect(&mut self, device: &Device) {
        let (now, end) = (self.now, self.ttl.end(self.now));
        let (_, presence, _) = self.device(device);
        if let Some(presence) = presence.filter(|presence| presence.sockets > 0) {
            presence.sockets -= 1;
            if presence.sockets == 0 {
                (presence.left, presence.end) = (now, end);
            }
        }
    }

    fn restart(&mut self) {
        let (now, end) = (self.now, self.ttl.end(self.now));
        let presences = self.persons.values_mut().flat_map(|person| person.devices.values_mut());
        for presence in presences.filter(|presence| presence.sockets > 0) {
            (presence.sockets, presence.left, presence.end) = (0, now, end);
        }
    }

    fn post(&self, sent: &Sent) -> Enqueue {
        let post = post(&sent.persons, sent.event, self.count + 1);
        let post = if sent.resync { resync(post) } else { post };
        let post = match sent.key {
            Some((key, fingerprint)) => keyed(key, fingerprint, post),
            None => post,
        };
        Enqueue { site: sent.site.into(), ttl: self.ttl, cap: CAP, at: self.now, ..post }
    }

    fn send(&mut self, sent: &Sent) -> Option<bool> {
        if let Some((key, fingerprint)) = sent.key {
            match self.keys.get(&(sent.site, key)) {
                Some((known, at)) if self.now <= at + 7 * DAY => {
                    return (*known == fingerprint).then_some(true);
                }
                _ => self.keys.insert((sent.site, key), (fingerprint, self.now)),
            };
        }
        let (event, resync) = (Some(sent.event), sent.resync);
        let entry = self.next(Entry { number: 0, event, resync, end: self.ttl.end(self.now) });
        for name in &sent.persons {
            let person = self.person(sent.site, name);
            person.unread.push(entry.clone());
            person.devices.values_mut().for_each(|device| device.queue.push(entry.clone()));
            if person.waiting().len() as u64 > CAP {
                let start_over = self.start_over();
                self.person(sent.site, name).drop_furthest_behind(&start_over);
            }
        }
        Some(false)
    }

    fn start_over(&mut self) -> Entry {
        self.next(Entry { number: 0, event: None, resync: false, end: self.ttl.end(self.now) })
    }

    fn next(&mut self, entry: Entry) -> Entry {
        self.count += 1;
        Entry { number: self.count, ..entry }
    }

    /// Acks an entry. Returns whether the device gets a resync.
    fn ack(&mut self, device: &Device, place: usize) -> bool {
        let (unread, Some(presence), is_alone) = self.device(device) else { return false };
        let Some(acked) = presence.queue.get(place).cloned() else { return false };
        let is_same = |entry: &Entry| acked.event.is_some() && entry.event == acked.event;
        if !(acked.resync && presence.queue[..place].iter().any(is_same)) {
            unread.retain(|entry| *entry != acked);
            presence.queue.remove(place);
            return false;
        }
        presence.leave(unread, is_same);
        let start_over = self.start_over();
        let (unread, presence, _) = self.device(device);
        if is_alone {
            unread.push(start_over.clone());
        }
        presence.unwrap().queue.push(start_over);
        true
    }

    fn ack_first(&mut self, device: &Device, count: usize) {
        if let (unread, Some(presence), _) = self.device(device) {
            let mut numbers = 0..count;
            presence.leave(unread, |_| numbers.next().is_some());
        }
    }

    fn waiting(&self, device: &Device) -> Vec<String> {
        let person = self.persons.get(&(device.site.clone(), device.person.clone()));
        let presence = person.and_then(|person| person.devices.get(&device.name));
        let queue = presence.filter(|presence| self.now < presence.end).map(|found| &found.queue);
        queue.into_iter().flatten().map(Entry::text).collect()
    }
}

impl Person {
    /// Returns the numbers of all queued entries.
    fn waiting(&self) -> BTreeSet<u64> {
        let queues = self.devices.values().map(|device| &device.queue).chain([&self.unread]);
        queues.flatten().map(|entry| entry.number).collect()
    }

    fn drop_furthest_behind(&mut self, start_over: &Entry) {
        let oldest = *self.waiting().first().unwrap();
        let Self { unread, devices } = self;
        if devices.is_empty() {
            unread.clear();
        }
        let mut are_all_behind = true;
        for device in devices.values_mut() {
            if device.queue.first().is_some_and(|entry| entry.number == oldest) {
                device.leave(unread, |_| true);
                device.queue.push(start_over.clone());
            } else {
                are_all_behind = false;
            }
        }
        if are_all_behind {
            unread.push(start_over.clone());
        }
    }
}

impl Presence {
    /// Removes entries that are done.
    fn leave(&mut self, unread: &mut Vec<Entry>, is_done: impl FnMut(&Entry) -> bool) {
        let (done, left) = std::mem::take(&mut self.queue).into_iter().partition(is_done);
        let done: Vec<Entry> = done;
        self.queue = left;
        unread.retain(|entry| !done.contains(entry));
    }
}

impl Entry {
    fn text(&self) -> String {
        match self.event {
            Some(event) => format!("{event} {}", self.number),
            None => "resync".to_owned(),
        }
    }
}
