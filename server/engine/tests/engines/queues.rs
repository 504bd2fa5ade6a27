//! Facts about the queues of every engine.

use std::sync::Arc;

use backwire_engine::{Acked, Asked, Batch, Device, Error, Outcome, Post, Posted, Said};
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::{Portion, Ttl};
use backwire_records::write::{Key, Refused};
use serde_json::value::to_raw_value;

use crate::store::{DAY, NOON, Open, Store, roomy};

pub(crate) const SECOND: u64 = 1000;

/// Of everybody who is away.
const TTL: Ttl = Ttl::seconds(10);

/// Devices of one person, where it is not about their number.
const MOST: usize = 100;

/// When somebody who left at noon is forgotten.
const TIME_IS_UP: u64 = NOON + 10 * SECOND;

/// A message for some persons of the site `shop`, sent at noon.
pub(crate) fn post(persons: &[&str], event: &str, arg: u64) -> Post {
    let args = vec![to_raw_value(&arg).unwrap()];
    let message = Message { rooms: Vec::new(), event: event.to_owned(), args, resync: false };
    Post {
        site: "shop".into(),
        message: Arc::new(message),
        persons: persons.iter().copied().map(Arc::from).collect(),
        key: None,
        ttl: TTL,
        cap: 1000,
        at: NOON,
    }
}

/// Whose ack has to come in its turn.
pub(crate) fn resync(post: Post) -> Post {
    let message = Message { resync: true, ..Message::clone(&post.message) };
    Post { message: Arc::new(message), ..post }
}

pub(crate) fn keyed(key: &str, fingerprint: u64, post: Post) -> Post {
    let key = Key { identity: "".into(), key: key.into(), fingerprint };
    Post { key: Some(key), ..post }
}

/// A device at the site `shop`.
pub(crate) fn device(person: &str, name: &str) -> Device {
    device_at("shop", person, name)
}

pub(crate) fn device_at(site: &str, person: &str, name: &str) -> Device {
    Device { site: site.into(), person: person.into(), name: name.into() }
}

fn everything(at: u64) -> Asked {
    let portion = Portion { count: usize::MAX, bytes: usize::MAX };
    Asked { after: Flake::ZERO, upto: Flake::MAX, portion, at }
}

/// As an event and its arguments.
fn texts(batch: &Batch) -> Vec<String> {
    let text = |said: &Said| match said {
        Said::Resync => "resync".to_owned(),
        Said::Event { event, args } => {
            args.iter().fold(event.clone(), |text, arg| format!("{text} {arg}"))
        }
    };
    batch.deliveries.iter().map(|delivery| text(&delivery.said)).collect()
}

impl Store {
    pub(crate) async fn post(&self, post: Post) -> Flake {
        self.posted(post).await.unwrap().id
    }

    pub(crate) async fn posted(&self, post: Post) -> Result<Posted, Error> {
        self.engine.queues().post(post).await
    }

    pub(crate) async fn connect(&self, device: &Device, at: u64) -> Flake {
        self.engine.queues().connect(device.clone(), TTL, MOST, at).await.unwrap().unwrap()
    }

    pub(crate) async fn disconnect(&self, device: &Device, at: u64) {
        self.engine.queues().disconnect(device.clone(), at).await.unwrap();
    }

    pub(crate) async fn ack(&self, device: &Device, acked: Acked, at: u64) -> Outcome {
        self.engine.queues().ack(device.clone(), acked, at).await.unwrap()
    }

    /// Acks one delivery at noon, and is told that this was all.
    async fn read(&self, device: &Device, id: Flake) {
        assert_eq!(self.ack(device, Acked::One(id), NOON).await, Outcome::Removed);
    }

    /// Acks one delivery at noon, which was not the first.
    async fn lost(&self, device: &Device, id: Flake) -> Flake {
        match self.ack(device, Acked::One(id), NOON).await {
            Outcome::Resync(id) => id,
            Outcome::Removed => panic!("nothing was lost"),
        }
    }

    pub(crate) async fn asked(&self, device: &Device, asked: Asked) -> Batch {
        self.engine.queues().waiting(device.clone(), asked).await.unwrap()
    }

    pub(crate) async fn ids(&self, device: &Device, at: u64) -> Vec<Flake> {
        let batch = self.asked(device, everything(at)).await;
        batch.deliveries.iter().map(|delivery| delivery.id).collect()
    }

    pub(crate) async fn waiting(&self, device: &Device, at: u64) -> Vec<String> {
        texts(&self.asked(device, everything(at)).await)
    }

    /// What a device finds that connects at some time.
    async fn found(&self, device: &Device, at: u64) -> Vec<String> {
        self.connect(device, at).await;
        self.waiting(device, at).await
    }
}

pub(crate) async fn what_was_sent_waits_as_it_was_sent(open: Open) {
    let store = roomy(open);
    let args = [r#"{"b":1.50,"a":[]}"#, "null", "12345678901234567890"];
    let raw = |text: &str| serde_json::from_str(text).unwrap();
    let message =
        Message { args: args.map(raw).into(), ..Message::clone(&post(&[], "e", 1).message) };
    let ann = device("ann", "");
    let id = store.post(Post { message: Arc::new(message), ..post(&["ann"], "e", 1) }).await;
    store.connect(&ann, NOON).await;
    assert_eq!(store.waiting(&ann, NOON).await, [format!("e {}", args.join(" "))]);
    assert_eq!(store.ids(&ann, NOON).await, [id]);
}

pub(crate) async fn order_is_the_order_of_sending_across_events(open: Open) {
    let store = roomy(open);
    for (event, arg) in [("store", 1), ("other", 2), ("store", 3), ("a", 4)] {
        store.post(post(&["ann"], event, arg)).await;
    }
    let found = store.found(&device("ann", ""), NOON).await;
    assert_eq!(found, ["store 1", "other 2", "store 3", "a 4"]);
}

pub(crate) async fn ids_grow_though_the_clock_steps_back(open: Open) {
    let store = roomy(open);
    let mut ids = Vec::new();
    for at in [NOON, NOON, NOON - DAY, NOON + 1, NOON] {
        ids.push(store.post(Post { at, ..post(&["ann"], "e", at) }).await);
        // Also over sites and where nobody is to read it.
        ids.push(store.post(Post { at, site: "other".into(), ..post(&[], "e", at) }).await);
    }
    assert!(ids.is_sorted_by(|earlier, later| earlier < later), "{ids:?}");
}

pub(crate) async fn who_begins_draws_the_ids(open: Open) {
    let store = roomy(open);
    let last = store.post(post(&["ann"], "e", 1)).await;
    let node = Node::new(1, 2).unwrap();
    store.engine.queues().begin(node, NOON).await.unwrap();
    let id = store.post(post(&["ann"], "e", 2)).await;
    assert!(id > last);
    assert_eq!(u64::from(id) >> 12 & 0x3ff, 1 << 5 | 2);
}

pub(crate) async fn each_person_has_a_message_and_acks_it_for_themselves(open: Open) {
    let store = roomy(open);
    let id = store.post(post(&["ann", "bob", "ann"], "e", 1)).await;
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    assert_eq!(store.found(&ann, NOON).await, ["e 1"]);
    assert_eq!(store.found(&bob, NOON).await, ["e 1"]);
    assert!(store.found(&device("cid", ""), NOON).await.is_empty());
    store.read(&ann, id).await;
    assert!(store.waiting(&ann, NOON).await.is_empty());
    assert_eq!(store.waiting(&bob, NOON).await, ["e 1"]);
}

pub(crate) async fn an_ack_removes_what_was_acked_and_nothing_else(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.post(post(&["ann"], "e", 1)).await;
    let second = store.post(post(&["ann"], "e", 2)).await;
    store.post(post(&["ann"], "e", 3)).await;
    store.read(&ann, second).await;
    // Again, and what never was.
    store.read(&ann, second).await;
    store.read(&ann, Flake::MAX).await;
    store.read(&device("ann", "unknown"), second).await;
    store.read(&device("nobody", ""), second).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1", "e 3"]);
}

pub(crate) async fn a_batch_ack_does_not_delete_what_came_after(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    for (event, arg) in [("e", 1), ("f", 2), ("e", 3)] {
        store.post(resync(post(&["ann"], event, arg))).await;
    }
    let batch = store.ids(&ann, NOON).await;
    store.post(post(&["ann"], "e", 4)).await;
    store.post(post(&["ann"], "f", 5)).await;
    assert_eq!(store.ack(&ann, Acked::Batch(batch), NOON).await, Outcome::Removed);
    assert_eq!(store.waiting(&ann, NOON).await, ["e 4", "f 5"]);
}

pub(crate) async fn a_batch_may_be_acked_before_one_that_was_sent_earlier(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    for arg in 1..=4 {
        store.post(resync(post(&["ann"], "e", arg))).await;
    }
    let ids = store.ids(&ann, NOON).await;
    let acked = Acked::Batch(ids[2..].to_vec());
    assert_eq!(store.ack(&ann, acked, NOON).await, Outcome::Removed);
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1", "e 2"]);
}

pub(crate) async fn what_waits_comes_in_portions(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    for arg in 1..=5 {
        store.post(post(&["ann"], "event", arg)).await;
    }
    let upto = store.connect(&ann, NOON).await;
    store.post(post(&["ann"], "event", 6)).await;
    // Each is as large as `event[1]`.
    for (count, bytes) in [(2, 1000), (1000, 16), (2, 16)] {
        let portion = Portion { count, bytes };
        let mut asked = Asked { upto, portion, ..everything(NOON) };
        let mut portions = Vec::new();
        loop {
            let batch = store.asked(&ann, asked).await;
            portions.push(texts(&batch));
            asked.after = batch.deliveries.last().unwrap().id;
            if !batch.more {
                break;
            }
        }
        assert_eq!(portions.concat(), ["event 1", "event 2", "event 3", "event 4", "event 5"]);
        assert_eq!(portions.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
    let small = Portion { count: 1000, bytes: 1 };
    let batch = store.asked(&ann, Asked { portion: small, ..everything(NOON) }).await;
    assert_eq!((batch.deliveries.len(), batch.more), (1, true));
    let nothing = Asked { after: Flake::MAX, upto: Flake::ZERO, ..everything(NOON) };
    assert!(store.asked(&ann, nothing).await.deliveries.is_empty());
}

pub(crate) async fn two_sites_never_see_each_others_deliveries(open: Open) {
    let store = roomy(open);
    let (ann, other) = (device("ann", ""), device_at("other", "ann", ""));
    let id = store.post(post(&["ann"], "e", 1)).await;
    assert_eq!(store.found(&ann, NOON).await, ["e 1"]);
    assert!(store.found(&other, NOON).await.is_empty());
    store.read(&other, id).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1"]);
    store.disconnect(&ann, NOON).await;
    store.post(Post { at: TIME_IS_UP, site: "other".into(), ..post(&["ann"], "e", 2) }).await;
    assert_eq!(store.waiting(&other, TIME_IS_UP).await, ["e 2"]);
    assert!(store.found(&ann, TIME_IS_UP).await.is_empty());
}

pub(crate) async fn a_device_named_like_a_pattern_touches_nobody_elses_queue(open: Open) {
    for name in ["*", "%", "phon?", "[a-z]*", "", "'", "phone\0"] {
        let store = roomy(open);
        let (phone, strange) = (device("ann", "phone"), device("ann", name));
        store.connect(&phone, NOON).await;
        let first = store.post(post(&["ann"], "e", 1)).await;
        store.read(&phone, first).await;
        let second = store.post(resync(post(&["ann"], "e", 2))).await;
        assert_eq!(store.found(&strange, NOON).await, ["e 2"], "{name}");
        store.ack(&strange, Acked::Batch(vec![first, second]), NOON).await;
        assert!(store.waiting(&strange, NOON).await.is_empty(), "{name}");
        store.disconnect(&strange, NOON - DAY).await;
        store.post(post(&["ann"], "e", 3)).await;
        assert_eq!(store.waiting(&phone, NOON).await, ["e 2", "e 3"], "{name}");
    }
}

pub(crate) async fn a_person_named_like_a_pattern_gets_nobody_elses_deliveries(open: Open) {
    let store = roomy(open);
    store.post(post(&["ann"], "e", 1)).await;
    for person in ["*", "an?", "%", "ann:phone", "ann\0", ""] {
        assert!(store.found(&device(person, "phone"), NOON).await.is_empty(), "{person}");
    }
}

pub(crate) async fn each_device_has_a_queue_of_its_own(open: Open) {
    let store = roomy(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    let mut ids = Vec::new();
    for arg in 1..=4 {
        ids.push(store.post(post(&["ann"], "e", arg)).await);
    }
    store.read(&phone, ids[2]).await;
    store.read(&desk, ids[0]).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["e 1", "e 2", "e 4"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 2", "e 3", "e 4"]);
    store.read(&phone, ids[0]).await;
    store.read(&phone, ids[1]).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["e 4"]);
    store.read(&phone, ids[3]).await;
    store.post(post(&["ann"], "e", 5)).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["e 5"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 2", "e 3", "e 4", "e 5"]);
}

pub(crate) async fn a_first_time_device_gets_what_no_device_has_acked(open: Open) {
    let store = roomy(open);
    let (phone, desk, pad) = (device("ann", "phone"), device("ann", "desk"), device("ann", "pad"));
    let mut ids = Vec::new();
    for arg in 1..=4 {
        ids.push(store.post(post(&["ann"], "e", arg)).await);
    }
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    store.read(&phone, ids[1]).await;
    store.read(&desk, ids[2]).await;
    assert_eq!(store.found(&pad, NOON).await, ["e 1", "e 4"]);
    // Also when the device that acked it is not known any more.
    store.disconnect(&phone, NOON).await;
    store.disconnect(&pad, NOON).await;
    store.read(&desk, ids[0]).await;
    assert_eq!(store.found(&device("ann", "new"), TIME_IS_UP).await, ["e 4"]);
    assert_eq!(store.waiting(&desk, TIME_IS_UP).await, ["e 2", "e 4"]);
}

pub(crate) async fn an_ack_out_of_order_clears_the_queue_of_its_event_and_device(open: Open) {
    let store = roomy(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    store.post(post(&["ann", "bob"], "e", 1)).await;
    store.post(post(&["ann"], "f", 2)).await;
    let third = store.post(resync(post(&["ann"], "e", 3))).await;
    store.post(post(&["ann"], "e", 4)).await;
    let lost = store.lost(&phone, third).await;
    // That it has to start over waits until it has been told.
    assert_eq!(store.waiting(&phone, NOON).await, ["f 2", "resync"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 1", "f 2", "e 3", "e 4"]);
    assert_eq!(store.found(&device("bob", ""), NOON).await, ["e 1"]);
    store.read(&phone, lost).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["f 2"]);
    store.post(post(&["ann"], "e", 5)).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["f 2", "e 5"]);
}

pub(crate) async fn an_ack_of_the_first_of_its_event_loses_nothing(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.post(resync(post(&["ann"], "f", 1))).await;
    let first = store.post(resync(post(&["ann"], "e", 2))).await;
    let second = store.post(resync(post(&["ann"], "e", 3))).await;
    store.read(&ann, first).await;
    store.read(&ann, second).await;
    // Again, by another tab.
    store.read(&ann, second).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["f 1"]);
}

pub(crate) async fn an_ack_out_of_order_loses_nothing_where_nobody_asked_for_order(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.post(resync(post(&["ann"], "e", 1))).await;
    let second = store.post(post(&["ann"], "e", 2)).await;
    store.read(&ann, second).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1"]);
}

pub(crate) async fn acks_in_quick_succession_lose_nothing(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    for arg in 0..100 {
        store.post(resync(post(&["ann"], "e", arg))).await;
    }
    let ids = store.ids(&ann, NOON).await;
    let acks = ids.into_iter().map(|id| store.ack(&ann, Acked::One(id), NOON));
    let outcomes = futures_util::future::join_all(acks).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Removed), "{outcomes:?}");
    assert!(store.waiting(&ann, NOON).await.is_empty());
}

pub(crate) async fn what_waits_is_dropped_when_the_last_device_was_away_for_the_ttl(open: Open) {
    let store = roomy(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    store.post(post(&["ann"], "e", 1)).await;
    store.disconnect(&phone, NOON).await;
    store.disconnect(&desk, NOON + SECOND).await;
    store.post(Post { at: NOON + 2 * SECOND, ..post(&["ann"], "e", 2) }).await;
    assert_eq!(store.waiting(&desk, TIME_IS_UP + SECOND - 1).await, ["e 1", "e 2"]);
    assert!(store.waiting(&desk, TIME_IS_UP + SECOND).await.is_empty());
    let new = device("ann", "new");
    assert!(store.found(&new, TIME_IS_UP + SECOND).await.is_empty());
}

pub(crate) async fn what_is_not_forgotten_yet_is_found_by_who_comes_back(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.disconnect(&ann, NOON).await;
    store.post(Post { at: NOON + 1, ..post(&["ann"], "e", 1) }).await;
    assert_eq!(store.found(&ann, TIME_IS_UP - 1).await, ["e 1"]);
}

pub(crate) async fn a_ttl_of_0_means_for_ever(open: Open) {
    let store = roomy(open);
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    let ttl = Ttl::seconds(0);
    store.engine.queues().connect(ann.clone(), ttl, MOST, NOON).await.unwrap();
    store.disconnect(&ann, NOON).await;
    store.post(Post { ttl, ..post(&["ann", "bob"], "e", 1) }).await;
    let much_later = NOON + 10_000 * DAY;
    store.post(Post { ttl, at: much_later, ..post(&["cid"], "e", 2) }).await;
    assert_eq!(store.found(&ann, much_later).await, ["e 1"]);
    assert_eq!(store.found(&bob, much_later).await, ["e 1"]);
}

pub(crate) async fn what_first_came_while_offline_has_a_ttl_too(open: Open) {
    let store = roomy(open);
    store.post(post(&["ann", "bob"], "e", 1)).await;
    store.post(Post { at: NOON + SECOND, ..post(&["ann"], "e", 2) }).await;
    // Each has its own from its sending on.
    assert_eq!(store.found(&device("bob", ""), TIME_IS_UP - 1).await, ["e 1"]);
    assert_eq!(store.found(&device("ann", ""), TIME_IS_UP).await, ["e 2"]);
    // Of whom a device is known, what waits is kept for as long as that.
    assert_eq!(store.waiting(&device("ann", ""), NOON + DAY).await, ["e 2"]);
}

pub(crate) async fn a_device_that_came_back_is_not_dropped_by_its_old_ttl(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.disconnect(&ann, NOON).await;
    store.connect(&ann, TIME_IS_UP - 1).await;
    store.post(Post { at: TIME_IS_UP, ..post(&["ann"], "e", 1) }).await;
    assert_eq!(store.waiting(&ann, TIME_IS_UP).await, ["e 1"]);
    // Nor does what it has not acked vanish while it is there.
    store.post(Post { at: NOON + DAY, ..post(&["ann"], "e", 2) }).await;
    assert_eq!(store.waiting(&ann, NOON + DAY).await, ["e 1", "e 2"]);
}

pub(crate) async fn a_device_is_there_for_as_long_as_one_of_its_sockets_is(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.connect(&ann, NOON).await;
    store.disconnect(&ann, NOON).await;
    store.post(Post { at: TIME_IS_UP, ..post(&["ann"], "e", 1) }).await;
    assert_eq!(store.waiting(&ann, TIME_IS_UP).await, ["e 1"]);
    store.disconnect(&ann, TIME_IS_UP).await;
    // One too many does not change when it left.
    store.disconnect(&ann, TIME_IS_UP + SECOND).await;
    assert!(store.found(&ann, TIME_IS_UP + 10 * SECOND).await.is_empty());
}

pub(crate) async fn a_device_that_stays_away_is_forgotten_and_others_are_not(open: Open) {
    let store = roomy(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    let first = store.post(post(&["ann"], "e", 1)).await;
    store.post(post(&["ann"], "e", 2)).await;
    store.read(&desk, first).await;
    store.disconnect(&phone, NOON).await;
    assert_eq!(store.waiting(&phone, TIME_IS_UP - 1).await, ["e 1", "e 2"]);
    // It comes back as one that was never there.
    assert_eq!(store.found(&phone, TIME_IS_UP).await, ["e 2"]);
    assert_eq!(store.waiting(&desk, TIME_IS_UP).await, ["e 2"]);
}

pub(crate) async fn no_more_devices_of_a_person_are_connected_than_may_be(open: Open) {
    let store = roomy(open);
    let connect = async |person: &str, name: &str, at: u64| {
        let queues = store.engine.queues();
        queues.connect(device(person, name), TTL, 2, at).await.unwrap().is_some()
    };
    store.post(post(&["ann"], "e", 1)).await;
    for name in ["phone", "", "phone"] {
        assert!(connect("ann", name, NOON).await, "{name}");
    }
    assert!(!connect("ann", "desk", NOON).await);
    assert!(connect("bob", "desk", NOON).await);
    // Who was refused has no queue, and others have lost nothing.
    store.post(post(&["ann"], "e", 2)).await;
    assert!(store.waiting(&device("ann", "desk"), NOON).await.is_empty());
    assert_eq!(store.waiting(&device("ann", "phone"), NOON).await, ["e 1", "e 2"]);
    store.disconnect(&device("ann", "phone"), NOON).await;
    assert!(!connect("ann", "desk", NOON).await, "another socket of it is there");
}

pub(crate) async fn a_new_device_takes_the_place_of_the_one_that_has_been_away_the_longest(
    open: Open,
) {
    let store = roomy(open);
    let [first, second, third, new] = ["1", "2", "3", "4"].map(|name| device("ann", name));
    let connect = async |device: &Device, ttl: Ttl, most: usize| {
        let connected = store.engine.queues().connect(device.clone(), ttl, most, NOON + SECOND);
        connected.await.unwrap().is_some()
    };
    for device in [&first, &second, &third] {
        assert!(connect(device, Ttl::seconds(0), 3).await);
    }
    let news = store.post(post(&["ann"], "e", 1)).await;
    for (device, at) in [(&second, NOON + 1), (&third, NOON + 2)] {
        store.disconnect(device, at).await;
    }
    store.read(&first, news).await;
    store.post(post(&["ann"], "e", 2)).await;
    assert!(connect(&new, TTL, 3).await);
    assert_eq!(store.waiting(&new, NOON + SECOND).await, ["e 2"]);
    assert_eq!(store.waiting(&third, NOON + SECOND).await, ["e 1", "e 2"]);
    assert!(store.waiting(&second, NOON + SECOND).await.is_empty());
    // It comes back as one that was never there. Fewer may be known now than there are.
    assert!(!connect(&second, TTL, 1).await);
    store.disconnect(&first, NOON + 3).await;
    assert!(!connect(&second, TTL, 1).await);
    store.disconnect(&new, NOON + 3).await;
    assert!(connect(&second, TTL, 1).await);
    assert_eq!(store.waiting(&second, NOON + SECOND).await, ["e 2"]);
    for device in [&first, &third, &new] {
        assert!(store.waiting(device, NOON + SECOND).await.is_empty());
    }
}

pub(crate) async fn when_a_process_begins_everybody_is_away(open: Open) {
    let store = roomy(open);
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    store.connect(&ann, NOON).await;
    store.connect(&ann, NOON).await;
    store.connect(&bob, NOON).await;
    store.disconnect(&bob, NOON).await;
    store.post(post(&["ann", "bob"], "e", 1)).await;
    store.engine.queues().begin(Node::default(), NOON + SECOND).await.unwrap();
    assert_eq!(store.waiting(&ann, TIME_IS_UP).await, ["e 1"]);
    assert!(store.waiting(&ann, TIME_IS_UP + SECOND).await.is_empty());
    // Who had left before has left then.
    assert!(store.waiting(&bob, TIME_IS_UP).await.is_empty());
    store.connect(&ann, NOON + SECOND).await;
    store.disconnect(&ann, NOON + 2 * SECOND).await;
    assert!(store.found(&ann, TIME_IS_UP + 2 * SECOND).await.is_empty());
}

pub(crate) async fn beyond_the_cap_a_person_starts_over(open: Open) {
    let store = roomy(open);
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    store.connect(&ann, NOON).await;
    for arg in 1..=3 {
        store.post(Post { cap: 3, ..post(&["ann", "bob"], "e", arg) }).await;
    }
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1", "e 2", "e 3"]);
    store.post(Post { cap: 3, ..post(&["ann"], "e", 4) }).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["resync"]);
    for arg in 5..=6 {
        store.post(Post { cap: 3, ..post(&["ann"], "e", arg) }).await;
    }
    assert_eq!(store.waiting(&ann, NOON).await, ["resync", "e 5", "e 6"]);
    // Told and acked, it is one like the others.
    store.read(&ann, store.ids(&ann, NOON).await[0]).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 5", "e 6"]);
    assert_eq!(store.found(&bob, NOON).await, ["e 1", "e 2", "e 3"]);
}

pub(crate) async fn beyond_the_cap_a_person_who_never_came_starts_over(open: Open) {
    let store = roomy(open);
    for arg in 1..=8 {
        store.post(Post { cap: 3, ..post(&["ann", "bob"], "e", arg) }).await;
    }
    assert_eq!(store.found(&device("ann", "phone"), NOON).await, ["resync", "e 8"]);
    assert_eq!(store.found(&device("ann", "desk"), NOON).await, ["resync", "e 8"]);
    store.read(&device("ann", "desk"), store.ids(&device("ann", "desk"), NOON).await[0]).await;
    assert_eq!(store.found(&device("ann", "pad"), NOON).await, ["e 8"]);
    assert!(store.found(&device("bob", ""), TIME_IS_UP).await.is_empty());
}

pub(crate) async fn beyond_the_cap_only_devices_that_are_behind_start_over(open: Open) {
    let store = roomy(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    for arg in 1..=4 {
        let id = store.post(Post { cap: 3, ..post(&["ann"], "e", arg) }).await;
        if arg < 4 {
            store.read(&desk, id).await;
        }
    }
    assert_eq!(store.waiting(&phone, NOON).await, ["resync"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 4"]);
    store.post(Post { cap: 3, ..post(&["ann"], "e", 5) }).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["resync", "e 5"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 4", "e 5"]);
}

pub(crate) async fn a_message_that_is_too_much_for_one_person_waits_for_the_others(open: Open) {
    let store = roomy(open);
    store.post(Post { cap: 1, ..post(&["ann"], "e", 1) }).await;
    store.post(Post { cap: 1, ..post(&["ann", "bob"], "e", 2) }).await;
    assert_eq!(store.found(&device("ann", ""), NOON).await, ["resync"]);
    assert_eq!(store.found(&device("bob", ""), NOON).await, ["e 2"]);
}

pub(crate) async fn a_post_that_is_repeated_is_stored_once(open: Open) {
    let store = roomy(open);
    let ann = device("ann", "");
    let first = store.posted(keyed("k", 1, post(&["ann"], "e", 1))).await.unwrap();
    assert!(!first.repeated);
    let again = store.posted(keyed("k", 1, post(&["ann"], "e", 1))).await.unwrap();
    assert_eq!(again, Posted { repeated: true, ..first });
    assert_eq!(store.found(&ann, NOON).await, ["e 1"]);
    // Also when it is long delivered.
    store.read(&ann, first.id).await;
    assert!(store.posted(keyed("k", 1, post(&["ann"], "e", 1))).await.unwrap().repeated);
    assert!(store.waiting(&ann, NOON).await.is_empty());
    // Its keys are its own.
    let other = Post { site: "other".into(), ..keyed("k", 2, post(&["ann"], "e", 1)) };
    assert!(!store.posted(other).await.unwrap().repeated);
}

pub(crate) async fn posts_that_are_repeated_at_the_same_time_are_stored_once(open: Open) {
    let store = roomy(open);
    let posts = (0..16).map(|_| store.posted(keyed("k", 1, post(&["ann"], "e", 1))));
    let posted = futures_util::future::join_all(posts).await;
    let ids: Vec<_> = posted.iter().map(|posted| posted.as_ref().unwrap().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(store.found(&device("ann", ""), NOON).await, ["e 1"]);
}

pub(crate) async fn a_key_used_for_another_post_is_refused(open: Open) {
    let store = roomy(open);
    store.post(keyed("k", 1, post(&["ann"], "e", 1))).await;
    let refused = store.posted(keyed("k", 2, post(&["ann"], "e", 2))).await;
    assert!(matches!(refused, Err(Error::Refused(Refused::KeyReused))), "{refused:?}");
    assert_eq!(store.found(&device("ann", ""), NOON).await, ["e 1"]);
}

pub(crate) async fn the_key_of_a_post_is_forgotten_after_seven_days(open: Open) {
    let store = roomy(open);
    let at = |at: u64| Post { at, ..keyed("k", 1, post(&["ann"], "e", 1)) };
    store.post(at(NOON)).await;
    assert!(store.posted(at(NOON + 7 * DAY)).await.unwrap().repeated);
    assert!(!store.posted(at(NOON + 7 * DAY + 1)).await.unwrap().repeated);
    assert!(store.posted(at(NOON + 7 * DAY + 2)).await.unwrap().repeated);
}

pub(crate) async fn posts_at_the_same_time_are_all_stored_once(open: Open) {
    let store = Arc::new(roomy(open));
    let posts: Vec<_> = (0..64)
        .map(|arg| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.post(post(&["ann"], "e", arg)).await })
        })
        .collect();
    let mut ids = Vec::new();
    for post in posts {
        ids.push(post.await.unwrap());
    }
    ids.sort_unstable();
    store.connect(&device("ann", ""), NOON).await;
    assert_eq!(store.ids(&device("ann", ""), NOON).await, ids);
    ids.dedup();
    assert_eq!(ids.len(), 64);
}
