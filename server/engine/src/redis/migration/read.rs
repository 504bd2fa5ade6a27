//! Reads the data in Redis as items.

use std::collections::{BTreeMap, BTreeSet};

use backwire_records::change::Resource;
use redis::{FromRedisValue, Value};
use tokio::sync::mpsc::Sender;

use super::super::connection::Commands;
use super::super::encoding::decode_id;
use super::super::queues::split_person;
use super::super::reply::{Reply, parse, text};
use super::super::scan::{command, scan};
use super::super::script::{self, Call};
use super::super::stored;
use super::super::stored::{LogEntry, unreadable};
use super::super::stored_message::{Body, flake};
use crate::Error;
use crate::cascades::Cascade;
use crate::ledger::Kind;
use crate::migration::errors::send;
use crate::migration::item::{
    Item, StoredDelivery, StoredDevice, StoredLedgerEntry, StoredPerson, StoredRecord,
};

/// Things that are read in one round trip.
const MAX_READ: usize = 500;

/// The source of items.
struct Reader<'r> {
    commands: &'r Commands,
    at: u64,
    items: Sender<Item>,
    /// Whether an ack out of order of each message asks for a resync.
    resyncs: BTreeMap<u64, bool>,
}

/// Sends all items.
pub(super) async fn all(commands: &Commands, at: u64, items: Sender<Item>) -> Result<(), Error> {
    let mut reader = Reader { commands, at, items, resyncs: BTreeMap::new() };
    reader.meta().await?;
    let resources = reader.resources().await?;
    for resource in &resources {
        reader.records(resource).await?;
        reader.log(resource).await?;
    }
    reader.ledger().await?;
    reader.cascades().await?;
    reader.sessions().await?;
    let persons = reader.persons().await?;
    reader.messages().await?;
    for person in persons {
        reader.send(Item::Person(person)).await?;
    }
    reader.posts().await
}

impl Reader<'_> {
    async fn send(&self, item: Item) -> Result<(), Error> {
        send(&self.items, item).await
    }

    async fn read<T: FromRedisValue + Default>(
        &self,
        name: &str,
        key: &str,
        args: &[&str],
    ) -> Result<T, Error> {
        let mut command = command(name, &self.commands.link.prefix, key);
        command.arg(args);
        Ok(self.commands.query::<T>([command]).await?.pop().unwrap_or_default())
    }

    async fn meta(&self) -> Result<(), Error> {
        let secret: Option<Vec<u8>> = self.read("HGET", "meta", &["secret"]).await?;
        let secret = secret.and_then(|secret| secret.try_into().ok());
        self.send(Item::Secret(secret.ok_or_else(|| unreadable("there is no secret"))?)).await?;
        let last: Option<String> = self.read("HGET", "meta", &["flake"]).await?;
        let last = last.map(|last| flake(&last)).transpose()?.unwrap_or_default();
        self.send(Item::LastDelivery(last.into())).await?;
        let all = ["0", "-1", "WITHSCORES"];
        let epochs: Vec<(u64, u64)> = self.read("ZRANGE", "epochs", &all).await?;
        for (epoch, number) in epochs {
            self.send(Item::Epoch { number, epoch }).await?;
        }
        Ok(())
    }

    async fn resources(&self) -> Result<BTreeSet<String>, Error> {
        let entries: Value = {
            let read = command("XRANGE", &self.commands.link.prefix, "resources");
            let mut read = read;
            read.arg("-").arg("+");
            self.commands.query([read]).await?.pop().unwrap_or(Value::Nil)
        };
        let mut names = BTreeSet::new();
        for entry in Reply::list(entries)? {
            let mut entry = Reply::list(entry)?;
            entry.text()?;
            if let Some(Value::BulkString(name)) = entry.next_list()?.nth(1) {
                names.insert(text(name)?);
            }
        }
        for name in &names {
            let counters = format!("resource:{name}");
            let fields = ["head", "floor", "next", "key"];
            let values: Vec<Option<String>> = self.read("HMGET", &counters, &fields).await?;
            let [head, floor, next, key] =
                values.try_into().map_err(|_| unreadable("counters are missing"))?;
            let number = |text: Option<String>| parse(&text.unwrap_or_else(|| "0".to_owned()));
            let next_id = parse(&next.unwrap_or_else(|| "1".to_owned()))?;
            let (name, head, floor) = (name.clone(), number(head)?, number(floor)?);
            self.send(Item::Resource { name, head, floor, next_id, key }).await?;
        }
        for resource in &names {
            let all = ["0", "-1", "WITHSCORES"];
            let firsts: Vec<(u64, u64)> =
                self.read("ZRANGE", &format!("firsts:{resource}"), &all).await?;
            for (first, number) in firsts {
                let resource = resource.clone();
                self.send(Item::FirstOffset { resource, number, first }).await?;
            }
        }
        Ok(names)
    }

    async fn records(&self, resource: &str) -> Result<(), Error> {
        let records = format!("records:{resource}");
        let ids: Vec<Vec<u8>> = self.read("HKEYS", &records, &[]).await?;
        for ids in ids.chunks(MAX_READ) {
            let mut get = command("HMGET", &self.commands.link.prefix, &records);
            get.arg(ids);
            let found = self.commands.query::<Vec<Option<Vec<u8>>>>([get]).await?.concat();
            for (id, stored) in ids.iter().zip(found) {
                let Some(stored) = stored else { continue };
                let stored::StoredRecord { offset, changed, json } =
                    stored::StoredRecord::read(stored)?;
                let (resource, id) = (resource.to_owned(), decode_id(id)?);
                let record = StoredRecord { resource, id, offset, changed, json };
                self.send(Item::Record(record)).await?;
            }
        }
        Ok(())
    }

    async fn log(&self, resource: &str) -> Result<(), Error> {
        let mut from = "-".to_owned();
        loop {
            let mut range =
                command("XRANGE", &self.commands.link.prefix, &format!("log:{resource}"));
            range.arg(&from).arg("+").arg("COUNT").arg(MAX_READ);
            let entries = self.commands.query::<Value>([range]).await?.pop();
            let entries: Vec<_> = Reply::list(entries.unwrap_or(Value::Nil))?.collect();
            let count = entries.len();
            for entry in entries {
                let entry = LogEntry::read(Reply::list(entry)?)?;
                from = format!("({}-0", entry.offset);
                self.send(Item::Change(entry.stored(resource)?)).await?;
            }
            if count < MAX_READ {
                return Ok(());
            }
        }
    }

    /// Calls a function with the members of a list of ages, a part at a time.
    async fn ages(&self, key: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.read("LRANGE", key, &["0", "-1"]).await
    }

    /// Entries whose key was used again later are left out.
    async fn ledger(&self) -> Result<(), Error> {
        let ages = self.ages("ledger-ages").await?;
        for ages in ages.chunks(MAX_READ) {
            let ages: Vec<_> = ages.iter().filter_map(|age| split_age(age, 2)).collect();
            let mut get = command("HMGET", &self.commands.link.prefix, "ledger");
            get.arg(ages.iter().map(|(_, hash)| *hash).collect::<Vec<_>>());
            let entries = self.commands.query::<Vec<Option<Vec<u8>>>>([get]).await?.concat();
            for ((at, hash), entry) in ages.into_iter().zip(entries) {
                let entry = entry.map(|entry| stored::ledger_entry(&entry)).transpose()?;
                let Some(entry) = entry.filter(|entry| entry.outcome.at == at) else { continue };
                let written = entry.outcome;
                let entry = StoredLedgerEntry {
                    hash: hash.to_vec(),
                    fingerprint: entry.fingerprint,
                    resource: written.resource.as_str().to_owned(),
                    id: written.id,
                    offset: written.offset,
                    verb: stored::verb_number(written.verb),
                    kind: match written.kind {
                        Kind::Changed => 0,
                        Kind::Published => 1,
                        Kind::Unchanged => 2,
                    },
                    at,
                };
                self.send(Item::LedgerEntry(entry)).await?;
            }
        }
        Ok(())
    }

    async fn cascades(&self) -> Result<(), Error> {
        let (reply, _) = self.commands.run(&Call::new(&script::CASCADES)).await?;
        for stored in Reply::list(reply)? {
            let mut stored = Reply::list(stored)?;
            let resource = Resource::internal(&stored.text()?);
            let (field, value) = (stored.bytes()?, stored.bytes()?);
            let Cascade { reference, id, until, origin } =
                stored::cascade(resource, &field, value)?;
            let item = Item::Cascade {
                resource: reference.resource.as_str().to_owned(),
                attribute: reference.attribute,
                id,
                until,
                is_pair: reference.is_pair,
                origin: origin.map(|origin| origin.to_string()),
            };
            self.send(item).await?;
        }
        Ok(())
    }

    async fn sessions(&self) -> Result<(), Error> {
        let ids: Vec<Vec<u8>> = self.read("ZRANGE", "sessions", &["0", "-1"]).await?;
        for ids in ids.chunks(MAX_READ) {
            let mut call = Call::new(&script::LOAD_SESSION);
            for id in ids {
                call.add(&id[..]);
            }
            let sessions = Reply::list(self.commands.run(&call).await?.0)?;
            for (id, session) in ids.iter().zip(sessions) {
                let mut session = Reply::list(session)?;
                let (mut list, until) = (session.next_list()?, session.text()?);
                let mut values = BTreeMap::new();
                while let Ok(name) = list.text() {
                    values.insert(name[1..].to_owned(), list.text()?);
                }
                let until = if until == "inf" { None } else { Some(parse(&until)?) };
                self.send(Item::Session { id: text(id.clone())?, values, until }).await?;
            }
        }
        Ok(())
    }

    /// Returns all persons, and records which messages ask for a resync.
    async fn persons(&mut self) -> Result<Vec<StoredPerson>, Error> {
        let prefix = &self.commands.link.prefix;
        let mut names = BTreeSet::new();
        for kind in ["devices", "inbox"] {
            let begin = format!("{prefix}:{kind}:");
            for key in scan(self.commands, &begin).await? {
                names.insert(text(key[begin.len()..].to_vec())?);
            }
        }
        let mut persons = Vec::new();
        for person in names {
            let call = Call::new(&script::MIGRATE).with("read").with(self.at).with(&person);
            let mut read = Reply::list(self.commands.run(&call).await?.0)?;
            let (items, devices) = (read.next_list()?, read.next_list()?);
            let (site, name) = split_person(&person)?;
            let (site, name) = (site.to_owned(), name.to_owned());
            let deliveries = self.deliveries(items)?;
            persons.push(StoredPerson { site, name, deliveries, devices: read_devices(devices)? });
        }
        Ok(persons)
    }

    fn deliveries(&mut self, items: Reply) -> Result<Vec<StoredDelivery>, Error> {
        let mut deliveries = Vec::new();
        for item in items {
            let mut item = Reply::list(item)?;
            let (id, acked, kind) = (flake(&item.text()?)?.into(), item.text()?, item.text()?);
            let (event, until) = (item.text()?, item.text()?);
            let until = match until.as_str() {
                "" => None,
                "inf" => Some(u64::MAX),
                until => Some(parse(until)?),
            };
            let event = (kind != "r").then(|| (event, kind == "s"));
            if let Some((_, resync)) = &event {
                self.resyncs.insert(id, *resync);
            }
            deliveries.push(StoredDelivery { id, acked: acked == "1", until, event });
        }
        Ok(deliveries)
    }

    async fn messages(&self) -> Result<(), Error> {
        let all: Vec<_> = self.resyncs.iter().map(|(id, resync)| (*id, *resync)).collect();
        for messages in all.chunks(MAX_READ) {
            let prefix = &self.commands.link.prefix;
            let reads = messages.iter().map(|(id, _)| {
                let mut get = command("HGET", prefix, &format!("message:{id:016x}"));
                get.arg("body");
                get
            });
            let bodies = self.commands.query::<Option<String>>(reads).await?;
            for (&(id, resync), body) in messages.iter().zip(bodies) {
                let body = body.ok_or_else(|| unreadable("a message is missing"))?;
                let Body { event, args } = serde_json::from_str(&body).map_err(unreadable)?;
                let args = serde_json::to_string(&args).map_err(unreadable)?;
                self.send(Item::Message { id, event, args, resync }).await?;
            }
        }
        Ok(())
    }

    async fn posts(&self) -> Result<(), Error> {
        let begin = format!("{}:posts-ages:", self.commands.link.prefix);
        for key in scan(self.commands, &begin).await? {
            let site = text(key[begin.len()..].to_vec())?;
            for age in self.ages(&format!("posts-ages:{site}")).await? {
                let Some((at, hash)) = split_age(&age, 1) else { continue };
                let mut get = command("HGET", &self.commands.link.prefix, &format!("posts:{site}"));
                get.arg(hash);
                let entry = self.commands.query::<Option<String>>([get]).await?.pop().flatten();
                let entry = entry.unwrap_or_default();
                let parts: Vec<_> = entry.split(' ').collect();
                let [entry_at, fingerprint, id] = parts[..] else { continue };
                if parse::<u64>(entry_at)? == at {
                    let (site, hash, id) = (site.clone(), hash.to_vec(), flake(id)?.into());
                    let fingerprint = parse(fingerprint)?;
                    self.send(Item::Post { site, hash, fingerprint, id, at }).await?;
                }
            }
        }
        Ok(())
    }
}

fn read_devices(devices: Reply) -> Result<Vec<StoredDevice>, Error> {
    let mut numbered = Vec::new();
    for device in devices {
        let mut device = Reply::list(device)?;
        let (name, number): (_, u64) = (device.text()?, device.number()?);
        let (ttl, left) = (device.number()?, device.number()?);
        let mut queue = Vec::new();
        for id in device.next_list()? {
            let Value::BulkString(id) = id else { continue };
            queue.push(flake(&text(id)?)?.into());
        }
        numbered.push((number, StoredDevice { name, ttl, left, queue }));
    }
    numbered.sort_by_key(|(number, _)| *number);
    Ok(numbered.into_iter().map(|(_, device)| device).collect())
}

/// Returns the time and the hash of an entry in a list of ages, which has so many numbers before
/// the hash.
fn split_age(age: &[u8], numbers: usize) -> Option<(u64, &[u8])> {
    let mut parts = age.splitn(numbers + 1, |byte| *byte == b' ');
    let at = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    Some((at, parts.nth(numbers - 1)?))
}
