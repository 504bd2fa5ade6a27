//! Queues of deliveries in Redis.
//!
//! Each device has the numbers of its sockets at each node. When a node begins, only the sockets of
//! its own former process are gone. When its lease ends without that, the others remove them: see
//! `lease.rs`.

use std::collections::BTreeSet;
use std::convert::Infallible;

use async_trait::async_trait;
use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message;
use backwire_records::messages::rules::Ttl;
use backwire_records::write::WriteError;
use redis::Value;

use super::Redis;
use super::events::MAX_EVENTS;
use super::operation::json;
use super::reply::{Reply, parse};
use super::script::{self, Call};
use super::sockets::Step;
use super::stored::unreadable;
use super::stored_message::{Address, Body, flake};
use crate::ledger::KeyHash;
use crate::{
    Ack, AckOutcome, Batch, Delivery, DeliveryContent, Device, Enqueue, Enqueued, Error,
    QueueRange, Queues,
};

/// The number of a node, and its clock.
struct NodeTime {
    node: u64,
    /// Milliseconds since the epoch of the node's ids.
    clock: u64,
}

impl NodeTime {
    /// An id has both.
    fn of(node: Node, at: u64) -> Self {
        let id = u64::from(Flake::ZERO.next_by(node, at));
        Self { node: id >> 12 & 0x3ff, clock: id >> 22 }
    }
}

#[async_trait]
impl Queues for Redis {
    async fn begin(&self, node: Node, at: u64) -> Result<(), Error> {
        let NodeTime { node: number, .. } = NodeTime::of(node, at);
        self.lease.claim_node(number).await?;
        *self.node.lock() = node;
        self.sockets.clear();
        let node = number;
        self.steps.run(self.with_node(step("begin", at), at)).await?;
        while self.steps.run(step("away", at).with(node)).await? != Value::Int(0) {}
        Ok(())
    }

    async fn enqueue(&self, post: Enqueue) -> Result<Enqueued, Error> {
        let mut call = self.with_node(step("enqueue", post.at), post.at).with(&*post.site);
        call.add(u8::from(post.key.is_some()));
        if let Some(key) = &post.key {
            let cutoff = self.window.ledger_cutoff(post.at);
            call.add(KeyHash::from(key).as_bytes()).add(key.fingerprint).add(cutoff);
        }
        let message = &*post.message;
        let (event, args) = (message.event.clone(), message.args.clone());
        let size = message::size(&event, &args);
        call.add(post.ttl.as_seconds())
            .add(post.cap)
            .add(if message.resync { "s" } else { "m" })
            .add(&event)
            .add(json(&Body { event, args }))
            .add(size);
        let persons: BTreeSet<_> = post.persons.iter().collect();
        call.add(persons.len());
        for name in persons {
            call.add(person(&post.site, name));
        }
        call.add(json(&Address::of(&post))).add(MAX_EVENTS);
        let mut posted = Reply::list(self.steps.queue(post.list, call).await?)?;
        let (known, id) = (posted.text()?, flake(&posted.text()?)?);
        self.known_id.add(id);
        if known.is_empty() {
            return Ok(Enqueued { id, repeated: false });
        }
        match post
            .key
            .is_some_and(|key| parse(&known).is_ok_and(|known: u64| known == key.fingerprint))
        {
            true => Ok(Enqueued { id, repeated: true }),
            false => Err(WriteError::KeyReused.into()),
        }
    }

    async fn connect(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<Option<Flake>, Error> {
        let call = self.connect_step("connect", (&device, ttl, max_devices), at);
        match self.run_socket_step((device, Step::Connect), call, at).await? {
            Value::BulkString(last) => flake(&super::reply::text(last)?).map(Some),
            _ => Ok(None),
        }
    }

    async fn restore(
        &self,
        device: Device,
        ttl: Ttl,
        max_devices: usize,
        at: u64,
    ) -> Result<(), Error> {
        let call = self.connect_step("restore", (&device, ttl, max_devices), at);
        self.run_socket_step((device, Step::Restore), call, at).await.map(drop)
    }

    async fn disconnect(&self, device: Device, at: u64) -> Result<(), Error> {
        let call = of_device("disconnect", &device, at).by(&script::QUEUE_WITHOUT_ROOM);
        let call = call.with(self.node_time(at).node);
        self.run_socket_step((device, Step::Disconnect), call, at).await.map(drop)
    }

    async fn ack(&self, device: Device, acked: Ack, at: u64) -> Result<AckOutcome, Error> {
        let (is_one, ids) = match acked {
            Ack::One(id) => (true, vec![id]),
            Ack::Batch(ids) => (false, ids),
        };
        let call = of_device("ack", &device, at).by(&script::QUEUE_WITHOUT_ROOM);
        let mut call = self.with_node(call, at);
        call.add(u8::from(is_one)).add(ids.len());
        for id in ids {
            call.add(digits(id));
        }
        match self.steps.run(call).await? {
            Value::BulkString(id) => flake(&super::reply::text(id)?).map(AckOutcome::Resync),
            _ => Ok(AckOutcome::Removed),
        }
    }

    async fn waiting(&self, device: Device, range: QueueRange) -> Result<Batch, Error> {
        let QueueRange { after, upto, portion, at } = range;
        let call = of_device("waiting", &device, at)
            .with(digits(after))
            .with(digits(upto))
            .with(portion.count)
            .with(portion.bytes);
        let mut found = Vec::new();
        for delivery in Reply::list(self.reads.run(&call).await?.0)? {
            let mut delivery = Reply::list(delivery)?;
            let id = flake(&delivery.text()?)?;
            self.known_id.add(id);
            let content = match delivery.optional_text()? {
                None => DeliveryContent::Resync,
                Some(body) => {
                    let Body { event, args } = serde_json::from_str(&body).map_err(unreadable)?;
                    DeliveryContent::Event { event, args }
                }
            };
            let delivery = Delivery { id, content };
            let size = delivery.size();
            found.push(Ok::<_, Infallible>((delivery, size)));
        }
        let Ok((deliveries, more)) = portion.take(found);
        Ok(Batch { deliveries, more })
    }
}

impl Redis {
    fn node_time(&self, at: u64) -> NodeTime {
        NodeTime::of(*self.node.lock(), at)
    }

    /// Adds what the script needs for the next id.
    fn with_node(&self, call: Call, at: u64) -> Call {
        let NodeTime { node, clock } = self.node_time(at);
        call.with(node).with(clock).with(digits(self.known_id.get()))
    }

    fn connect_step(&self, name: &str, (device, ttl, max): (&Device, Ttl, usize), at: u64) -> Call {
        let node = self.node_time(at).node;
        of_device(name, device, at).with(node).with(ttl.as_seconds()).with(max)
    }

    /// Runs a step that changes the number of sockets of a device.
    async fn run_socket_step(
        &self,
        (device, step): (Device, Step),
        call: Call,
        at: u64,
    ) -> Result<Value, Error> {
        let (node, corrected) = (self.node_time(at).node, device.clone());
        let correct = move |number, sockets| {
            let call = of_device("correct", &corrected, at).by(&script::QUEUE_WITHOUT_ROOM);
            call.with(node).with(number).with(sockets)
        };
        self.sockets.run((device, step), call, correct).await
    }
}

fn step(name: &str, at: u64) -> Call {
    Call::new(&script::QUEUE).with(name).with(at)
}

fn of_device(name: &str, device: &Device, at: u64) -> Call {
    step(name, at).with(person(&device.site, &device.person)).with(&*device.name)
}

/// Returns a person of a site, so that no two are the same text.
pub(super) fn person(site: &str, name: &str) -> String {
    format!("{}:{site}{name}", site.len())
}

/// Returns the site and the name of a person.
pub(super) fn split_person(person: &str) -> Result<(&str, &str), Error> {
    let parts = person.split_once(':').and_then(|(length, rest)| {
        let length: usize = length.parse().ok()?;
        rest.split_at_checked(length)
    });
    parts.ok_or_else(|| unreadable("the name of a person is malformed"))
}

/// Returns an id as digits in its order.
fn digits(id: Flake) -> String {
    format!("{:016x}", u64::from(id))
}
