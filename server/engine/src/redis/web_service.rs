//! The queues of a SocketIO Web Service, as the source of a [migration](crate::migration).
//!
//! A queue is a list with the key `/SITE:socket.io:ROOM:EVENT`, in later versions
//! `/SITE:socket.io:ROOM:DEVICE:EVENT`. Its items are `ID:[EVENT, …]`. Rooms, devices and events
//! may have colons, so the event is taken from the items, and the room begins with the prefix of
//! the rooms of single persons.

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_records::messages::flake::Flake;
use parking_lot::Mutex;
use redis::cmd;
use serde_json::value::RawValue;
use tokio::sync::mpsc::Sender;

use super::RedisOptions;
use super::connection::Commands;
use super::link::Link;
use super::reply::text;
use super::runtime::draw_secret;
use super::scan::scan_pattern;
use super::stored::unreadable;
use crate::Error;
use crate::migration::errors::send;
use crate::migration::item::{Item, StoredDelivery, StoredDevice, StoredPerson};
use crate::migration::waiting_messages::WaitingMessages;

/// The keys of all queues.
const PATTERN: &str = "/*:socket.io:*";

/// The text between the site and the room in a key.
const SEPARATOR: &str = ":socket.io:";

/// The queues of a service.
pub(crate) struct WebService {
    commands: Commands,
    messages: WaitingMessages,
    left_out: Mutex<Vec<String>>,
}

/// The queues that were read so far.
#[derive(Default)]
struct Queues {
    messages: BTreeMap<u64, Message>,
    persons: BTreeMap<(String, String), Person>,
}

#[derive(Debug, PartialEq, Eq)]
struct Message {
    event: String,
    args: String,
}

#[derive(Default)]
struct Person {
    /// The messages without a device, with their ends.
    waiting: BTreeMap<u64, u64>,
    devices: BTreeMap<String, Device>,
}

#[derive(Default)]
struct Device {
    queue: Vec<u64>,
    /// The latest end of its queues.
    until: u64,
}

/// The parts of a key.
#[derive(Debug, PartialEq, Eq)]
struct QueueKey<'k> {
    site: &'k str,
    room: &'k str,
    device: Option<&'k str>,
}

impl WebService {
    /// Connects. Nothing is written.
    pub(crate) async fn open(
        options: RedisOptions,
        messages: WaitingMessages,
    ) -> Result<Self, Error> {
        let RedisOptions { url, prefix, deadline, .. } = options;
        let commands = Commands::without_epoch(Arc::new(Link::new(&url, prefix, deadline)?));
        commands.connection().await?;
        Ok(Self { commands, messages, left_out: Mutex::default() })
    }

    /// Returns the keys that were left out, with reasons.
    pub(crate) fn left_out(&self) -> Vec<String> {
        self.left_out.lock().clone()
    }

    /// Sends all queues as those of devices that are away, or of persons without a device.
    pub(crate) async fn read(&self, at: u64, items: Sender<Item>) -> Result<(), Error> {
        let mut queues = Queues::default();
        for key in scan_pattern(&self.commands, PATTERN).await? {
            let key = text(key)?;
            if let Err(reason) = self.add(&mut queues, &key, at).await? {
                self.left_out.lock().push(format!("{key}: {reason}"));
            }
        }
        // The target has a secret of its own.
        send(&items, Item::Secret(draw_secret())).await?;
        let last = queues.messages.keys().next_back().copied().unwrap_or_default();
        send(&items, Item::LastDelivery(last)).await?;
        let Queues { messages, persons } = queues;
        let persons: Vec<_> = persons
            .into_iter()
            .map(|((site, name), person)| self.person(site, name, person, &messages, at))
            .collect();
        for (id, Message { event, args }) in messages {
            send(&items, Item::Message { id, event, args, resync: false }).await?;
        }
        for person in persons {
            send(&items, Item::Person(person)).await?;
        }
        Ok(())
    }

    /// Adds the queue with a key. The inner error is the reason why it is left out.
    async fn add(
        &self,
        queues: &mut Queues,
        key: &str,
        at: u64,
    ) -> Result<Result<(), String>, Error> {
        let mut kind = cmd("TYPE");
        kind.arg(key);
        if self.commands.query::<String>([kind]).await?.concat() != "list" {
            return Ok(Err("it is not a list".to_owned()));
        }
        let (mut range, mut ttl) = (cmd("LRANGE"), cmd("PTTL"));
        range.arg(key).arg(0).arg(-1);
        ttl.arg(key);
        let items = self.commands.query::<Vec<String>>([range]).await?.concat();
        let left = self.commands.query::<i64>([ttl]).await?.pop().unwrap_or(-1);
        let until =
            u64::try_from(left).map_or_else(|_| self.messages.ttl.end(at), |left| at + left);
        let Some(items) = items.iter().map(|item| read_item(item)).collect::<Option<Vec<_>>>()
        else {
            return Ok(Err("an item is no message with an id and an event".to_owned()));
        };
        let Some((_, first)) = items.first() else { return Ok(Ok(())) };
        let prefixes = &self.messages.user_room_prefixes;
        let parts = match QueueKey::read(key, &first.event, prefixes) {
            Ok(parts) => parts,
            Err(reason) => return Ok(Err(reason)),
        };
        let person = (parts.site.to_owned(), parts.room.to_owned());
        for (id, message) in items {
            let id = queues.add_message(id, message).map_err(unreadable)?;
            let person = queues.persons.entry(person.clone()).or_default();
            match parts.device {
                None => drop(person.waiting.insert(id, until)),
                Some(device) => {
                    let device = person.devices.entry(device.to_owned()).or_default();
                    device.queue.push(id);
                    device.until = device.until.max(until);
                }
            }
        }
        Ok(Ok(()))
    }

    fn person(
        &self,
        site: String,
        name: String,
        person: Person,
        messages: &BTreeMap<u64, Message>,
        at: u64,
    ) -> StoredPerson {
        let Person { waiting, devices } = person;
        let ttl = self.messages.ttl.as_seconds();
        let has_devices = !devices.is_empty();
        let mut ends: BTreeMap<u64, Option<u64>> =
            waiting.iter().map(|(id, end)| (*id, Some(*end).filter(|_| !has_devices))).collect();
        let mut stored = Vec::new();
        for (name, Device { mut queue, until }) in devices {
            // Messages of a version without devices are for all of them.
            queue.extend(waiting.keys());
            queue.sort_unstable();
            queue.dedup();
            ends.extend(queue.iter().map(|id| (*id, None)));
            let left = match ttl {
                0 => at,
                ttl => until.saturating_sub(ttl.saturating_mul(1000)),
            };
            stored.push(StoredDevice { name, ttl, left, queue });
        }
        let deliveries = ends.into_iter().map(|(id, until)| {
            let event = messages.get(&id).map(|message| (message.event.clone(), false));
            StoredDelivery { id, acked: false, until, event }
        });
        StoredPerson { site, name, deliveries: deliveries.collect(), devices: stored }
    }
}

impl Queues {
    /// Adds a message, which may be in several queues. Returns its id, which is another one if
    /// another message has it.
    fn add_message(&mut self, id: u64, message: Message) -> Result<u64, &'static str> {
        let mut id = id;
        loop {
            match self.messages.get(&id) {
                Some(other) if *other != message => {
                    id = id.checked_add(1).ok_or("all ids are in use")?;
                }
                Some(_) => return Ok(id),
                None => {
                    self.messages.insert(id, message);
                    return Ok(id);
                }
            }
        }
    }
}

impl<'k> QueueKey<'k> {
    /// Reads a key. The event is the one of the items. An error is the reason why the queue is left
    /// out.
    fn read(
        key: &'k str,
        event: &str,
        prefixes: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let (site, rest) = key[1..].split_once(SEPARATOR).unwrap_or_default();
        let prefix = prefixes.get(site);
        let prefix =
            prefix.ok_or_else(|| format!("there is no site {site} with a userRoomPrefix"))?;
        let rest = rest.strip_suffix(event).and_then(|rest| rest.strip_suffix(':'));
        let rest = rest.ok_or("it does not end with the event of its items")?;
        if !rest.starts_with(prefix.as_str()) {
            return Err(format!(
                "the room is not that of a person: it does not begin with {prefix}"
            ));
        }
        // The prefix may have a colon. After it, the first colon ends the room.
        let (room, device) = match rest[prefix.len()..].split_once(':') {
            Some((person, device)) => (&rest[..prefix.len() + person.len()], Some(device)),
            None => (rest, None),
        };
        Ok(Self { site, room, device })
    }
}

/// Reads an item: `ID:[EVENT, …]`. Returns the id and the message.
fn read_item(item: &str) -> Option<(u64, Message)> {
    let (id, list) = item.split_once(':')?;
    let id: Flake = id.parse().ok()?;
    let mut parts: Vec<Box<RawValue>> = serde_json::from_str(list).ok()?;
    if parts.is_empty() {
        return None;
    }
    let args = parts.split_off(1);
    let event: String = serde_json::from_str(parts.first()?.get()).ok()?;
    Some((id.into(), Message { event, args: serde_json::to_string(&args).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key<'k>(key: &'k str, event: &str) -> Result<QueueKey<'k>, String> {
        let prefixes = [("shop", "user_"), ("desk", "user:")];
        let prefixes = prefixes.map(|(site, prefix)| (site.to_owned(), prefix.to_owned())).into();
        QueueKey::read(key, event, &prefixes)
    }

    #[test]
    fn key_is_read_with_and_without_a_device() {
        let parts = |site, room, device| Ok(QueueKey { site, room, device });
        assert_eq!(key("/shop:socket.io:user_1:news", "news"), parts("shop", "user_1", None));
        let expected = parts("shop", "user_1", Some("d-7:x"));
        assert_eq!(key("/shop:socket.io:user_1:d-7:x:a:b", "a:b"), expected);
        assert_eq!(key("/desk:socket.io:user:1:news", "news"), parts("desk", "user:1", None));
        let expected = parts("desk", "user:1", Some("d"));
        assert_eq!(key("/desk:socket.io:user:1:d:news", "news"), expected);
    }

    #[test]
    fn queue_that_is_left_out_has_a_reason() {
        let reason = |text: &str, event| key(text, event).unwrap_err();
        assert!(reason("/other:socket.io:user_1:news", "news").contains("no site other"));
        assert!(reason("/shop:socket.io:staff:news", "news").contains("does not begin with user_"));
        assert!(reason("/shop:socket.io:user_1:news", "olds").contains("event of its items"));
    }

    #[test]
    fn item_is_an_id_and_a_list_that_begins_with_the_event() {
        let (id, message) = read_item("5936413466:[\"news\",{\"a\":1.0},2]").unwrap();
        assert_eq!(
            (id, &*message.event, &*message.args),
            (5_936_413_466, "news", "[{\"a\":1.0},2]")
        );
        for item in ["", "x:[\"e\"]", "1:{}", "1:[]", "1:[null,null]", "1:[\"e\""] {
            assert!(read_item(item).is_none(), "{item}");
        }
    }

    #[test]
    fn different_messages_with_one_id_are_both_kept() {
        let message = |args: &str| Message { event: "e".to_owned(), args: args.to_owned() };
        let mut queues = Queues::default();
        let ids = ["[1]", "[2]", "[1]"].map(|args| queues.add_message(7, message(args)).unwrap());
        assert_eq!(ids, [7, 8, 7]);
    }
}
