//! Tests of the queues of every engine.

use std::sync::Arc;

use backwire_engine::{
    Ack, AckOutcome, Batch, DeliveryContent, Device, Enqueue, Enqueued, Error, QueueRange,
};
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::{BatchLimits, Ttl};
use backwire_records::write::{Key, WriteError};
use serde_json::value::to_raw_value;

use crate::store::{DAY, NOON, Open, Store, default_store};

pub(crate) const SECOND: u64 = 1000;

/// The TTL of disconnected devices.
const TTL: Ttl = Ttl::seconds(10);

/// The device limit in tests that do not test this limit.
const MAX_DEVICES: usize = 100;

/// The time at which a device that disconnected at noon expires.
const EXPIRY_TIME: u64 = NOON + 10 * SECOND;

/// Returns a message for some persons of the site `shop`, sent at noon.
pub(crate) fn post(persons: &[&str], event: &str, arg: u64) -> Enqueue {
    let args = vec![to_raw_value(&arg).unwrap()];
    let message = Message { rooms: Vec::new(), event: event.to_owned(), args, resync: false };
    Enqueue {
        site: "shop".into(),
        message: Arc::new(message),
        persons: persons.iter().copied().map(Arc::from).collect(),
        key: None,
        ttl: TTL,
        cap: 1000,
        at: NOON,
        list: None,
    }
}

/// Returns the message with `resync`: its ack must arrive in order.
pub(crate) fn resync(post: Enqueue) -> Enqueue {
    let message = Message { resync: true, ..Message::clone(&post.message) };
    Enqueue { message: Arc::new(message), ..post }
}

pub(crate) fn keyed(key: &str, fingerprint: u64, post: Enqueue) -> Enqueue {
    let key = Key { identity: "".into(), key: key.into(), fingerprint };
    Enqueue { key: Some(key), ..post }
}

/// Returns a device at the site `shop`.
pub(crate) fn device(person: &str, name: &str) -> Device {
    device_at("shop", person, name)
}

pub(crate) fn device_at(site: &str, person: &str, name: &str) -> Device {
    Device { site: site.into(), person: person.into(), name: name.into() }
}

fn everything(at: u64) -> QueueRange {
    let portion = BatchLimits { count: usize::MAX, bytes: usize::MAX };
    QueueRange { after: Flake::ZERO, upto: Flake::MAX, portion, at }
}

/// Returns each delivery as its event and arguments.
fn texts(batch: &Batch) -> Vec<String> {
    let text = |content: &DeliveryContent| match content {
        DeliveryContent::Resync => "resync".to_owned(),
        DeliveryContent::Event { event, args } => {
            args.iter().fold(event.clone(), |text, arg| format!("{text} {arg}"))
        }
    };
    batch.deliveries.iter().map(|delivery| text(&delivery.content)).collect()
}

impl Store {
    pub(crate) async fn post(&self, post: Enqueue) -> Flake {
        self.try_post(post).await.unwrap().id
    }

    pub(crate) async fn try_post(&self, post: Enqueue) -> Result<Enqueued, Error> {
        self.engine.queues().enqueue(post).await
    }

    pub(crate) async fn connect(&self, device: &Device, at: u64) -> Flake {
        self.engine.queues().connect(device.clone(), TTL, MAX_DEVICES, at).await.unwrap().unwrap()
    }

    pub(crate) async fn disconnect(&self, device: &Device, at: u64) {
        self.engine.queues().disconnect(device.clone(), at).await.unwrap();
    }

    pub(crate) async fn ack(&self, device: &Device, acked: Ack, at: u64) -> AckOutcome {
        self.engine.queues().ack(device.clone(), acked, at).await.unwrap()
    }

    /// Acks one delivery at noon, and checks that no resync follows.
    async fn ack_one(&self, device: &Device, id: Flake) {
        assert_eq!(self.ack(device, Ack::One(id), NOON).await, AckOutcome::Removed);
    }

    /// Acks one delivery at noon out of order, and returns the id of the resync.
    async fn ack_out_of_order(&self, device: &Device, id: Flake) -> Flake {
        match self.ack(device, Ack::One(id), NOON).await {
            AckOutcome::Resync(id) => id,
            AckOutcome::Removed => panic!("nothing was lost"),
        }
    }

    pub(crate) async fn read_queue(&self, device: &Device, asked: QueueRange) -> Batch {
        self.engine.queues().waiting(device.clone(), asked).await.unwrap()
    }

    pub(crate) async fn ids(&self, device: &Device, at: u64) -> Vec<Flake> {
        let batch = self.read_queue(device, everything(at)).await;
        batch.deliveries.iter().map(|delivery| delivery.id).collect()
    }

    pub(crate) async fn waiting(&self, device: &Device, at: u64) -> Vec<String> {
        texts(&self.read_queue(device, everything(at)).await)
    }

    /// Connects a device and returns its queue.
    pub(crate) async fn connect_and_read(&self, device: &Device, at: u64) -> Vec<String> {
        self.connect(device, at).await;
        self.waiting(device, at).await
    }
}

pub(crate) async fn queued_message_is_stored_unchanged(open: Open) {
    let store = default_store(open);
    let args = [r#"{"b":1.50,"a":[]}"#, "null", "12345678901234567890"];
    let raw = |text: &str| serde_json::from_str(text).unwrap();
    let message =
        Message { args: args.map(raw).into(), ..Message::clone(&post(&[], "e", 1).message) };
    let ann = device("ann", "");
    let id = store.post(Enqueue { message: Arc::new(message), ..post(&["ann"], "e", 1) }).await;
    store.connect(&ann, NOON).await;
    assert_eq!(store.waiting(&ann, NOON).await, [format!("e {}", args.join(" "))]);
    assert_eq!(store.ids(&ann, NOON).await, [id]);
}

pub(crate) async fn messages_are_ordered_by_send_time_across_events(open: Open) {
    let store = default_store(open);
    for (event, arg) in [("store", 1), ("other", 2), ("store", 3), ("a", 4)] {
        store.post(post(&["ann"], event, arg)).await;
    }
    let found = store.connect_and_read(&device("ann", ""), NOON).await;
    assert_eq!(found, ["store 1", "other 2", "store 3", "a 4"]);
}

pub(crate) async fn message_ids_increase_when_the_clock_is_set_back(open: Open) {
    let store = default_store(open);
    let mut ids = Vec::new();
    for at in [NOON, NOON, NOON - DAY, NOON + 1, NOON] {
        ids.push(store.post(Enqueue { at, ..post(&["ann"], "e", at) }).await);
        // Ids also increase across sites, and for messages without recipients.
        ids.push(store.post(Enqueue { at, site: "other".into(), ..post(&[], "e", at) }).await);
    }
    assert!(ids.is_sorted_by(|earlier, later| earlier < later), "{ids:?}");
}

pub(crate) async fn message_ids_contain_the_node_that_began(open: Open) {
    let store = default_store(open);
    let last = store.post(post(&["ann"], "e", 1)).await;
    let node = Node::new(1, 2).unwrap();
    store.engine.queues().begin(node, NOON).await.unwrap();
    let id = store.post(post(&["ann"], "e", 2)).await;
    assert!(id > last);
    assert_eq!(u64::from(id) >> 12 & 0x3ff, 1 << 5 | 2);
}

pub(crate) async fn each_person_acks_a_shared_message_separately(open: Open) {
    let store = default_store(open);
    let id = store.post(post(&["ann", "bob", "ann"], "e", 1)).await;
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    assert_eq!(store.connect_and_read(&ann, NOON).await, ["e 1"]);
    assert_eq!(store.connect_and_read(&bob, NOON).await, ["e 1"]);
    assert!(store.connect_and_read(&device("cid", ""), NOON).await.is_empty());
    store.ack_one(&ann, id).await;
    assert!(store.waiting(&ann, NOON).await.is_empty());
    assert_eq!(store.waiting(&bob, NOON).await, ["e 1"]);
}

pub(crate) async fn ack_removes_only_the_acked_message(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.post(post(&["ann"], "e", 1)).await;
    let second = store.post(post(&["ann"], "e", 2)).await;
    store.post(post(&["ann"], "e", 3)).await;
    store.ack_one(&ann, second).await;
    // Repeated acks, and acks of unknown messages.
    store.ack_one(&ann, second).await;
    store.ack_one(&ann, Flake::MAX).await;
    store.ack_one(&device("ann", "unknown"), second).await;
    store.ack_one(&device("nobody", ""), second).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1", "e 3"]);
}

pub(crate) async fn batch_ack_keeps_later_messages(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    for (event, arg) in [("e", 1), ("f", 2), ("e", 3)] {
        store.post(resync(post(&["ann"], event, arg))).await;
    }
    let batch = store.ids(&ann, NOON).await;
    store.post(post(&["ann"], "e", 4)).await;
    store.post(post(&["ann"], "f", 5)).await;
    assert_eq!(store.ack(&ann, Ack::Batch(batch), NOON).await, AckOutcome::Removed);
    assert_eq!(store.waiting(&ann, NOON).await, ["e 4", "f 5"]);
}

pub(crate) async fn batch_may_be_acked_before_an_earlier_batch(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    for arg in 1..=4 {
        store.post(resync(post(&["ann"], "e", arg))).await;
    }
    let ids = store.ids(&ann, NOON).await;
    let acked = Ack::Batch(ids[2..].to_vec());
    assert_eq!(store.ack(&ann, acked, NOON).await, AckOutcome::Removed);
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1", "e 2"]);
}

pub(crate) async fn queue_is_read_in_portions(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    for arg in 1..=5 {
        store.post(post(&["ann"], "event", arg)).await;
    }
    let upto = store.connect(&ann, NOON).await;
    store.post(post(&["ann"], "event", 6)).await;
    // Each message is as large as `event[1]`.
    for (count, bytes) in [(2, 1000), (1000, 16), (2, 16)] {
        let portion = BatchLimits { count, bytes };
        let mut asked = QueueRange { upto, portion, ..everything(NOON) };
        let mut portions = Vec::new();
        loop {
            let batch = store.read_queue(&ann, asked).await;
            portions.push(texts(&batch));
            asked.after = batch.deliveries.last().unwrap().id;
            if !batch.more {
                break;
            }
        }
        assert_eq!(portions.concat(), ["event 1", "event 2", "event 3", "event 4", "event 5"]);
        assert_eq!(portions.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    }
    let small = BatchLimits { count: 1000, bytes: 1 };
    let batch = store.read_queue(&ann, QueueRange { portion: small, ..everything(NOON) }).await;
    assert_eq!((batch.deliveries.len(), batch.more), (1, true));
    let nothing = QueueRange { after: Flake::MAX, upto: Flake::ZERO, ..everything(NOON) };
    assert!(store.read_queue(&ann, nothing).await.deliveries.is_empty());
}

pub(crate) async fn sites_do_not_share_deliveries(open: Open) {
    let store = default_store(open);
    let (ann, other) = (device("ann", ""), device_at("other", "ann", ""));
    let id = store.post(post(&["ann"], "e", 1)).await;
    assert_eq!(store.connect_and_read(&ann, NOON).await, ["e 1"]);
    assert!(store.connect_and_read(&other, NOON).await.is_empty());
    store.ack_one(&other, id).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1"]);
    store.disconnect(&ann, NOON).await;
    store.post(Enqueue { at: EXPIRY_TIME, site: "other".into(), ..post(&["ann"], "e", 2) }).await;
    assert_eq!(store.waiting(&other, EXPIRY_TIME).await, ["e 2"]);
    assert!(store.connect_and_read(&ann, EXPIRY_TIME).await.is_empty());
}

pub(crate) async fn device_named_like_a_pattern_does_not_affect_other_queues(open: Open) {
    for name in ["*", "%", "phon?", "[a-z]*", "", "'", "phone\0"] {
        let store = default_store(open);
        let (phone, strange) = (device("ann", "phone"), device("ann", name));
        store.connect(&phone, NOON).await;
        let first = store.post(post(&["ann"], "e", 1)).await;
        store.ack_one(&phone, first).await;
        let second = store.post(resync(post(&["ann"], "e", 2))).await;
        assert_eq!(store.connect_and_read(&strange, NOON).await, ["e 2"], "{name}");
        store.ack(&strange, Ack::Batch(vec![first, second]), NOON).await;
        assert!(store.waiting(&strange, NOON).await.is_empty(), "{name}");
        store.disconnect(&strange, NOON - DAY).await;
        store.post(post(&["ann"], "e", 3)).await;
        assert_eq!(store.waiting(&phone, NOON).await, ["e 2", "e 3"], "{name}");
    }
}

pub(crate) async fn person_named_like_a_pattern_gets_no_deliveries_of_others(open: Open) {
    let store = default_store(open);
    store.post(post(&["ann"], "e", 1)).await;
    for person in ["*", "an?", "%", "ann:phone", "ann\0", ""] {
        assert!(
            store.connect_and_read(&device(person, "phone"), NOON).await.is_empty(),
            "{person}"
        );
    }
}

pub(crate) async fn each_device_has_its_own_queue(open: Open) {
    let store = default_store(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    let mut ids = Vec::new();
    for arg in 1..=4 {
        ids.push(store.post(post(&["ann"], "e", arg)).await);
    }
    store.ack_one(&phone, ids[2]).await;
    store.ack_one(&desk, ids[0]).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["e 1", "e 2", "e 4"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 2", "e 3", "e 4"]);
    store.ack_one(&phone, ids[0]).await;
    store.ack_one(&phone, ids[1]).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["e 4"]);
    store.ack_one(&phone, ids[3]).await;
    store.post(post(&["ann"], "e", 5)).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["e 5"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 2", "e 3", "e 4", "e 5"]);
}

pub(crate) async fn new_device_gets_the_messages_that_no_device_has_acked(open: Open) {
    let store = default_store(open);
    let (phone, desk, pad) = (device("ann", "phone"), device("ann", "desk"), device("ann", "pad"));
    let mut ids = Vec::new();
    for arg in 1..=4 {
        ids.push(store.post(post(&["ann"], "e", arg)).await);
    }
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    store.ack_one(&phone, ids[1]).await;
    store.ack_one(&desk, ids[2]).await;
    assert_eq!(store.connect_and_read(&pad, NOON).await, ["e 1", "e 4"]);
    // This also holds after the device that acked it is forgotten.
    store.disconnect(&phone, NOON).await;
    store.disconnect(&pad, NOON).await;
    store.ack_one(&desk, ids[0]).await;
    assert_eq!(store.connect_and_read(&device("ann", "new"), EXPIRY_TIME).await, ["e 4"]);
    assert_eq!(store.waiting(&desk, EXPIRY_TIME).await, ["e 2", "e 4"]);
}

pub(crate) async fn out_of_order_ack_clears_the_queue_of_its_event_and_device(open: Open) {
    let store = default_store(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    store.post(post(&["ann", "bob"], "e", 1)).await;
    store.post(post(&["ann"], "f", 2)).await;
    let third = store.post(resync(post(&["ann"], "e", 3))).await;
    store.post(post(&["ann"], "e", 4)).await;
    let lost = store.ack_out_of_order(&phone, third).await;
    // The resync stays in the queue until it is acked.
    assert_eq!(store.waiting(&phone, NOON).await, ["f 2", "resync"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 1", "f 2", "e 3", "e 4"]);
    assert_eq!(store.connect_and_read(&device("bob", ""), NOON).await, ["e 1"]);
    store.ack_one(&phone, lost).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["f 2"]);
    store.post(post(&["ann"], "e", 5)).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["f 2", "e 5"]);
}

pub(crate) async fn ack_of_the_first_message_of_its_event_loses_no_message(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.post(resync(post(&["ann"], "f", 1))).await;
    let first = store.post(resync(post(&["ann"], "e", 2))).await;
    let second = store.post(resync(post(&["ann"], "e", 3))).await;
    store.ack_one(&ann, first).await;
    store.ack_one(&ann, second).await;
    // Another tab repeats the ack.
    store.ack_one(&ann, second).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["f 1"]);
}

pub(crate) async fn out_of_order_ack_without_resync_loses_no_message(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.post(resync(post(&["ann"], "e", 1))).await;
    let second = store.post(post(&["ann"], "e", 2)).await;
    store.ack_one(&ann, second).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1"]);
}

pub(crate) async fn concurrent_acks_lose_no_message(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    for arg in 0..100 {
        store.post(resync(post(&["ann"], "e", arg))).await;
    }
    let ids = store.ids(&ann, NOON).await;
    let acks = ids.into_iter().map(|id| store.ack(&ann, Ack::One(id), NOON));
    let outcomes = futures_util::future::join_all(acks).await;
    assert!(outcomes.iter().all(|outcome| *outcome == AckOutcome::Removed), "{outcomes:?}");
    assert!(store.waiting(&ann, NOON).await.is_empty());
}

pub(crate) async fn queue_is_dropped_when_the_last_device_was_away_for_the_ttl(open: Open) {
    let store = default_store(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    store.post(post(&["ann"], "e", 1)).await;
    store.disconnect(&phone, NOON).await;
    store.disconnect(&desk, NOON + SECOND).await;
    store.post(Enqueue { at: NOON + 2 * SECOND, ..post(&["ann"], "e", 2) }).await;
    assert_eq!(store.waiting(&desk, EXPIRY_TIME + SECOND - 1).await, ["e 1", "e 2"]);
    assert!(store.waiting(&desk, EXPIRY_TIME + SECOND).await.is_empty());
    let new = device("ann", "new");
    assert!(store.connect_and_read(&new, EXPIRY_TIME + SECOND).await.is_empty());
}

pub(crate) async fn device_that_reconnects_within_the_ttl_finds_its_queue(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.disconnect(&ann, NOON).await;
    store.post(Enqueue { at: NOON + 1, ..post(&["ann"], "e", 1) }).await;
    assert_eq!(store.connect_and_read(&ann, EXPIRY_TIME - 1).await, ["e 1"]);
}

pub(crate) async fn ttl_of_0_never_expires(open: Open) {
    let store = default_store(open);
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    let ttl = Ttl::seconds(0);
    store.engine.queues().connect(ann.clone(), ttl, MAX_DEVICES, NOON).await.unwrap();
    store.disconnect(&ann, NOON).await;
    store.post(Enqueue { ttl, ..post(&["ann", "bob"], "e", 1) }).await;
    let much_later = NOON + 10_000 * DAY;
    store.post(Enqueue { ttl, at: much_later, ..post(&["cid"], "e", 2) }).await;
    assert_eq!(store.connect_and_read(&ann, much_later).await, ["e 1"]);
    assert_eq!(store.connect_and_read(&bob, much_later).await, ["e 1"]);
}

pub(crate) async fn messages_for_a_person_without_devices_expire_too(open: Open) {
    let store = default_store(open);
    store.post(post(&["ann", "bob"], "e", 1)).await;
    store.post(Enqueue { at: NOON + SECOND, ..post(&["ann"], "e", 2) }).await;
    // Each message has its own TTL from its send time.
    assert_eq!(store.connect_and_read(&device("bob", ""), EXPIRY_TIME - 1).await, ["e 1"]);
    assert_eq!(store.connect_and_read(&device("ann", ""), EXPIRY_TIME).await, ["e 2"]);
    // While a device is known, the messages of its person are kept.
    assert_eq!(store.waiting(&device("ann", ""), NOON + DAY).await, ["e 2"]);
}

pub(crate) async fn reconnected_device_is_not_dropped_by_its_old_ttl(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.disconnect(&ann, NOON).await;
    store.connect(&ann, EXPIRY_TIME - 1).await;
    store.post(Enqueue { at: EXPIRY_TIME, ..post(&["ann"], "e", 1) }).await;
    assert_eq!(store.waiting(&ann, EXPIRY_TIME).await, ["e 1"]);
    // Unacked messages are kept while the device is connected.
    store.post(Enqueue { at: NOON + DAY, ..post(&["ann"], "e", 2) }).await;
    assert_eq!(store.waiting(&ann, NOON + DAY).await, ["e 1", "e 2"]);
}

pub(crate) async fn device_stays_connected_while_one_of_its_sockets_is(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    store.connect(&ann, NOON).await;
    store.connect(&ann, NOON).await;
    store.disconnect(&ann, NOON).await;
    store.post(Enqueue { at: EXPIRY_TIME, ..post(&["ann"], "e", 1) }).await;
    assert_eq!(store.waiting(&ann, EXPIRY_TIME).await, ["e 1"]);
    store.disconnect(&ann, EXPIRY_TIME).await;
    // A superfluous disconnect does not change the time of the last one.
    store.disconnect(&ann, EXPIRY_TIME + SECOND).await;
    assert!(store.connect_and_read(&ann, EXPIRY_TIME + 10 * SECOND).await.is_empty());
}

pub(crate) async fn device_that_stays_away_is_forgotten_and_others_are_kept(open: Open) {
    let store = default_store(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    let first = store.post(post(&["ann"], "e", 1)).await;
    store.post(post(&["ann"], "e", 2)).await;
    store.ack_one(&desk, first).await;
    store.disconnect(&phone, NOON).await;
    assert_eq!(store.waiting(&phone, EXPIRY_TIME - 1).await, ["e 1", "e 2"]);
    // The device returns as a new one.
    assert_eq!(store.connect_and_read(&phone, EXPIRY_TIME).await, ["e 2"]);
    assert_eq!(store.waiting(&desk, EXPIRY_TIME).await, ["e 2"]);
}

pub(crate) async fn connected_devices_of_a_person_are_limited(open: Open) {
    let store = default_store(open);
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
    // A refused device has no queue, and other devices have lost nothing.
    store.post(post(&["ann"], "e", 2)).await;
    assert!(store.waiting(&device("ann", "desk"), NOON).await.is_empty());
    assert_eq!(store.waiting(&device("ann", "phone"), NOON).await, ["e 1", "e 2"]);
    store.disconnect(&device("ann", "phone"), NOON).await;
    assert!(!connect("ann", "desk", NOON).await, "another socket of it is there");
}

pub(crate) async fn new_device_replaces_the_one_away_for_longest(open: Open) {
    let store = default_store(open);
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
    store.ack_one(&first, news).await;
    store.post(post(&["ann"], "e", 2)).await;
    assert!(connect(&new, TTL, 3).await);
    assert_eq!(store.waiting(&new, NOON + SECOND).await, ["e 2"]);
    assert_eq!(store.waiting(&third, NOON + SECOND).await, ["e 1", "e 2"]);
    assert!(store.waiting(&second, NOON + SECOND).await.is_empty());
    // The device returns as a new one. The limit is now lower than the number of known devices.
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

pub(crate) async fn all_devices_are_disconnected_when_a_process_begins(open: Open) {
    let store = default_store(open);
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    store.connect(&ann, NOON).await;
    store.connect(&ann, NOON).await;
    store.connect(&bob, NOON).await;
    store.disconnect(&bob, NOON).await;
    store.post(post(&["ann", "bob"], "e", 1)).await;
    store.engine.queues().begin(Node::default(), NOON + SECOND).await.unwrap();
    assert_eq!(store.waiting(&ann, EXPIRY_TIME).await, ["e 1"]);
    assert!(store.waiting(&ann, EXPIRY_TIME + SECOND).await.is_empty());
    // A device that had disconnected before keeps its time.
    assert!(store.waiting(&bob, EXPIRY_TIME).await.is_empty());
    store.connect(&ann, NOON + SECOND).await;
    store.disconnect(&ann, NOON + 2 * SECOND).await;
    assert!(store.connect_and_read(&ann, EXPIRY_TIME + 2 * SECOND).await.is_empty());
}

pub(crate) async fn person_over_the_cap_gets_a_resync(open: Open) {
    let store = default_store(open);
    let (ann, bob) = (device("ann", ""), device("bob", ""));
    store.connect(&ann, NOON).await;
    for arg in 1..=3 {
        store.post(Enqueue { cap: 3, ..post(&["ann", "bob"], "e", arg) }).await;
    }
    assert_eq!(store.waiting(&ann, NOON).await, ["e 1", "e 2", "e 3"]);
    store.post(Enqueue { cap: 3, ..post(&["ann"], "e", 4) }).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["resync"]);
    for arg in 5..=6 {
        store.post(Enqueue { cap: 3, ..post(&["ann"], "e", arg) }).await;
    }
    assert_eq!(store.waiting(&ann, NOON).await, ["resync", "e 5", "e 6"]);
    // The resync is acked like any other message.
    store.ack_one(&ann, store.ids(&ann, NOON).await[0]).await;
    assert_eq!(store.waiting(&ann, NOON).await, ["e 5", "e 6"]);
    assert_eq!(store.connect_and_read(&bob, NOON).await, ["e 1", "e 2", "e 3"]);
}

pub(crate) async fn person_over_the_cap_without_devices_gets_a_resync(open: Open) {
    let store = default_store(open);
    for arg in 1..=8 {
        store.post(Enqueue { cap: 3, ..post(&["ann", "bob"], "e", arg) }).await;
    }
    assert_eq!(store.connect_and_read(&device("ann", "phone"), NOON).await, ["resync", "e 8"]);
    assert_eq!(store.connect_and_read(&device("ann", "desk"), NOON).await, ["resync", "e 8"]);
    store.ack_one(&device("ann", "desk"), store.ids(&device("ann", "desk"), NOON).await[0]).await;
    assert_eq!(store.connect_and_read(&device("ann", "pad"), NOON).await, ["e 8"]);
    assert!(store.connect_and_read(&device("bob", ""), EXPIRY_TIME).await.is_empty());
}

pub(crate) async fn only_devices_behind_the_cap_get_a_resync(open: Open) {
    let store = default_store(open);
    let (phone, desk) = (device("ann", "phone"), device("ann", "desk"));
    store.connect(&phone, NOON).await;
    store.connect(&desk, NOON).await;
    for arg in 1..=4 {
        let id = store.post(Enqueue { cap: 3, ..post(&["ann"], "e", arg) }).await;
        if arg < 4 {
            store.ack_one(&desk, id).await;
        }
    }
    assert_eq!(store.waiting(&phone, NOON).await, ["resync"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 4"]);
    store.post(Enqueue { cap: 3, ..post(&["ann"], "e", 5) }).await;
    assert_eq!(store.waiting(&phone, NOON).await, ["resync", "e 5"]);
    assert_eq!(store.waiting(&desk, NOON).await, ["e 4", "e 5"]);
}

pub(crate) async fn message_over_the_cap_of_one_person_is_queued_for_others(open: Open) {
    let store = default_store(open);
    store.post(Enqueue { cap: 1, ..post(&["ann"], "e", 1) }).await;
    store.post(Enqueue { cap: 1, ..post(&["ann", "bob"], "e", 2) }).await;
    assert_eq!(store.connect_and_read(&device("ann", ""), NOON).await, ["resync"]);
    assert_eq!(store.connect_and_read(&device("bob", ""), NOON).await, ["e 2"]);
}

pub(crate) async fn repeated_post_is_stored_once(open: Open) {
    let store = default_store(open);
    let ann = device("ann", "");
    let first = store.try_post(keyed("k", 1, post(&["ann"], "e", 1))).await.unwrap();
    assert!(!first.repeated);
    let again = store.try_post(keyed("k", 1, post(&["ann"], "e", 1))).await.unwrap();
    assert_eq!(again, Enqueued { repeated: true, ..first });
    assert_eq!(store.connect_and_read(&ann, NOON).await, ["e 1"]);
    // This also holds after the message is delivered.
    store.ack_one(&ann, first.id).await;
    assert!(store.try_post(keyed("k", 1, post(&["ann"], "e", 1))).await.unwrap().repeated);
    assert!(store.waiting(&ann, NOON).await.is_empty());
    // Each site has its own keys.
    let other = Enqueue { site: "other".into(), ..keyed("k", 2, post(&["ann"], "e", 1)) };
    assert!(!store.try_post(other).await.unwrap().repeated);
}

pub(crate) async fn concurrent_repeats_of_a_post_are_stored_once(open: Open) {
    let store = default_store(open);
    let posts = (0..16).map(|_| store.try_post(keyed("k", 1, post(&["ann"], "e", 1))));
    let posted = futures_util::future::join_all(posts).await;
    let ids: Vec<_> = posted.iter().map(|posted| posted.as_ref().unwrap().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(store.connect_and_read(&device("ann", ""), NOON).await, ["e 1"]);
}

pub(crate) async fn key_reused_for_another_post_is_refused(open: Open) {
    let store = default_store(open);
    store.post(keyed("k", 1, post(&["ann"], "e", 1))).await;
    let refused = store.try_post(keyed("k", 2, post(&["ann"], "e", 2))).await;
    assert!(matches!(refused, Err(Error::Refused(WriteError::KeyReused))), "{refused:?}");
    assert_eq!(store.connect_and_read(&device("ann", ""), NOON).await, ["e 1"]);
}

pub(crate) async fn key_of_a_post_is_forgotten_after_seven_days(open: Open) {
    let store = default_store(open);
    let at = |at: u64| Enqueue { at, ..keyed("k", 1, post(&["ann"], "e", 1)) };
    store.post(at(NOON)).await;
    assert!(store.try_post(at(NOON + 7 * DAY)).await.unwrap().repeated);
    assert!(!store.try_post(at(NOON + 7 * DAY + 1)).await.unwrap().repeated);
    assert!(store.try_post(at(NOON + 7 * DAY + 2)).await.unwrap().repeated);
}

pub(crate) async fn concurrent_posts_are_all_stored_once(open: Open) {
    let store = Arc::new(default_store(open));
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
