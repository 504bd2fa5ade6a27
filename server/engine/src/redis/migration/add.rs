//! Adds items to empty data in Redis, as the scripts of this engine store them.

use std::collections::BTreeMap;

use backwire_records::change::Resource;
use backwire_records::messages::message;
use redis::{Cmd, Value};
use serde_json::value::RawValue;
use tokio::sync::mpsc::Receiver;

use super::super::connection::Commands;
use super::super::encoding;
use super::super::operation::json;
use super::super::queues::person;
use super::super::scan::command;
use super::super::script::{self, Call};
use super::super::stored::{cascade_field, origin_text, unreadable};
use super::super::stored_message::Body;
use crate::counters::change_bytes;
use crate::ledger;
use crate::migration::item::{
    Item, StoredChange, StoredDelivery, StoredDevice, StoredLedgerEntry, StoredPerson, StoredRecord,
};
use crate::{Error, PERSON_KEY};

/// Commands in one round trip, and about their bytes.
const MAX_COMMANDS: usize = 500;
const MAX_BYTES: usize = 1 << 20;

/// The commands that wait, and what is stored at the end.
struct Writer<'w> {
    commands: &'w Commands,
    waiting: Vec<Cmd>,
    bytes: usize,
    resources: BTreeMap<String, Totals>,
    records: u64,
    ledger_bytes: u64,
    cascades: u64,
    /// The last epoch and its number.
    epoch: (u64, u64),
}

/// The counters of a resource that are computed.
#[derive(Default)]
struct Totals {
    records: u64,
    bytes: u64,
    /// The time of the first change in the log.
    oldest: Option<u64>,
    /// The number of the last epoch with a change.
    epoch: Option<u64>,
    cascades: u64,
}

/// Adds all items.
pub(super) async fn all(commands: &Commands, mut items: Receiver<Item>) -> Result<(), Error> {
    let mut writer = Writer {
        commands,
        waiting: Vec::new(),
        bytes: 0,
        resources: BTreeMap::new(),
        records: 0,
        ledger_bytes: 0,
        cascades: 0,
        epoch: (0, 0),
    };
    while let Some(item) = items.recv().await {
        writer.add(item)?;
        if writer.waiting.len() >= MAX_COMMANDS || writer.bytes >= MAX_BYTES {
            writer.flush().await?;
        }
    }
    writer.add_totals();
    writer.flush().await
}

impl Writer<'_> {
    async fn flush(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        self.commands.query::<Value>(std::mem::take(&mut self.waiting)).await.map(drop)
    }

    /// Adds a command for a key.
    fn command(&mut self, name: &str, key: &str, args: impl FnOnce(&mut Cmd)) {
        let mut command = command(name, &self.commands.link.prefix, key);
        args(&mut command);
        self.waiting.push(command);
    }

    fn totals(&mut self, resource: &str) -> &mut Totals {
        self.resources.entry(resource.to_owned()).or_default()
    }

    fn add(&mut self, item: Item) -> Result<(), Error> {
        match item {
            Item::Secret(secret) => {
                self.command("HSET", "meta", |it| {
                    it.arg("secret").arg(&secret[..]);
                });
            }
            Item::LastDelivery(id) => {
                self.command("HSET", "meta", |it| {
                    it.arg("flake").arg(digits(id));
                });
            }
            Item::Epoch { number, epoch } => {
                self.epoch = self.epoch.max((number, epoch));
                self.command("ZADD", "epochs", |it| {
                    it.arg(number).arg(epoch);
                });
            }
            Item::Resource { name, head, floor, next_id, key } => {
                self.totals(&name);
                self.command("HSET", &format!("resource:{name}"), |it| {
                    it.arg("head").arg(head).arg("floor").arg(floor).arg("next").arg(next_id);
                    key.iter().for_each(|key| {
                        it.arg("key").arg(key);
                    });
                });
                self.command("XADD", "resources", |it| {
                    it.arg("*").arg("name").arg(&name);
                });
            }
            Item::FirstOffset { resource, number, first } => {
                let totals = self.totals(&resource);
                totals.epoch = totals.epoch.max(Some(number));
                let key = format!("firsts:{resource}");
                self.command("ZADD", &key, |it| {
                    it.arg(number).arg(first);
                });
            }
            Item::Record(record) => self.add_record(&record),
            Item::Change(change) => self.add_change(&change),
            Item::LedgerEntry(entry) => self.add_ledger_entry(&entry),
            Item::Cascade { resource, attribute, id, until, is_pair, origin } => {
                self.totals(&resource).cascades += 1;
                self.cascades += 1;
                let field = cascade_field(&attribute, &encoding::id(&id));
                let (is_pair, origin) = (u8::from(is_pair), origin_text(origin.as_deref()));
                self.command("HSET", &format!("cascades:{resource}"), |it| {
                    it.arg(&field[..]).arg(format!("{until} {is_pair} {origin}"));
                });
                let member = [resource.as_bytes(), b" ", &field[..]].concat();
                let number = self.cascades;
                self.command("ZADD", "cascades", |it| {
                    it.arg(number).arg(member);
                });
            }
            Item::Session { id, values, until } => self.add_session(&id, &values, until),
            Item::Message { id, event, args, resync: _ } => self.add_message(id, event, &args)?,
            Item::Person(person) => self.add_person(&person),
            Item::Post { site, hash, fingerprint, id, at } => {
                let entry = format!("{at} {fingerprint} {}", digits(id));
                self.command("HSET", &format!("posts:{site}"), |it| {
                    it.arg(&hash[..]).arg(entry);
                });
                let age = [format!("{at} ").as_bytes(), &hash[..]].concat();
                self.command("RPUSH", &format!("posts-ages:{site}"), |it| {
                    it.arg(age);
                });
            }
        }
        Ok(())
    }

    fn add_record(&mut self, record: &StoredRecord) {
        let StoredRecord { resource, id, offset, changed, json } = record;
        let id = encoding::id(id);
        let value = match json {
            Some(json) => format!("{offset} {changed} {json}"),
            None => offset.to_string(),
        };
        self.bytes += value.len();
        self.command("HSET", &format!("records:{resource}"), |it| {
            it.arg(&id[..]).arg(value);
        });
        if json.is_some() {
            self.totals(resource).records += 1;
            self.records += 1;
            self.command("ZADD", &format!("ids:{resource}"), |it| {
                it.arg(0).arg(id);
            });
        }
    }

    fn add_change(&mut self, change: &StoredChange) {
        let StoredChange { resource, offset, previous, verb, id, names, mark, at, .. } = change;
        let StoredChange { before, after, published, origin, .. } = change;
        let [before, after] = [before, after].map(|json| json.as_deref().unwrap_or_default());
        let size = change_bytes([before.len(), after.len(), names.len()]);
        let totals = self.totals(resource);
        totals.bytes += size;
        totals.oldest = totals.oldest.or(Some(*at));
        self.bytes += before.len() + after.len();
        self.command("XADD", &format!("log:{resource}"), |it| {
            it.arg(format!("{offset}-0")).arg("i").arg(encoding::id(id)).arg("t").arg(*at);
            it.arg("s").arg(size).arg("p").arg(*previous).arg("v").arg(*verb);
            it.arg("f").arg(u8::from(*published)).arg("m").arg(*mark);
            it.arg("o").arg(origin_text(origin.as_deref())).arg("n").arg(names);
            it.arg("b").arg(before).arg("a").arg(after);
        });
    }

    fn add_ledger_entry(&mut self, entry: &StoredLedgerEntry) {
        let StoredLedgerEntry { hash, fingerprint, resource, id, offset, verb, kind, at } = entry;
        let bytes = ledger::bytes(&Resource::internal(resource), id);
        self.ledger_bytes += bytes;
        let begin = format!("{at} {fingerprint} {verb} {kind} {offset} {resource} ");
        let value = [begin.as_bytes(), &encoding::id(id)].concat();
        self.command("HSET", "ledger", |it| {
            it.arg(&hash[..]).arg(value);
        });
        let age = [format!("{at} {bytes} ").as_bytes(), &hash[..]].concat();
        self.command("RPUSH", "ledger-ages", |it| {
            it.arg(age);
        });
    }

    fn add_session(&mut self, id: &str, values: &BTreeMap<String, String>, until: Option<u64>) {
        if values.is_empty() {
            return;
        }
        self.command("HSET", &format!("session:{id}"), |it| {
            values.iter().for_each(|(name, value)| {
                it.arg(format!("={name}")).arg(value);
            });
        });
        let score = until.map_or_else(|| "+inf".to_owned(), |until| until.to_string());
        let is_anonymous = values.get(PERSON_KEY).is_none_or(|person| person == "null");
        for set in ["sessions"].into_iter().chain(is_anonymous.then_some("sessions-anonymous")) {
            self.command("ZADD", set, |it| {
                it.arg(&score).arg(id);
            });
        }
    }

    fn add_message(&mut self, id: u64, event: String, args: &str) -> Result<(), Error> {
        let args: Vec<Box<RawValue>> = serde_json::from_str(args).map_err(unreadable)?;
        let size = message::size(&event, &args);
        let body = json(&Body { event, args });
        self.bytes += body.len();
        self.command("HSET", &format!("message:{}", digits(id)), |it| {
            it.arg("body").arg(body).arg("size").arg(size).arg("persons").arg(0);
        });
        Ok(())
    }

    fn add_person(&mut self, stored: &StoredPerson) {
        let StoredPerson { site, name, deliveries, devices } = stored;
        // The time has no effect.
        let mut call = Call::new(&script::MIGRATE).with("add").with(0).with(person(site, name));
        call.add(deliveries.len());
        for StoredDelivery { id, acked, until, event } in deliveries {
            let (kind, event) = match event {
                None => ("r", ""),
                Some((event, false)) => ("m", event.as_str()),
                Some((event, true)) => ("s", event.as_str()),
            };
            let until = match until {
                None => String::new(),
                Some(u64::MAX) => "inf".to_owned(),
                Some(until) => until.to_string(),
            };
            call.add(digits(*id)).add(u8::from(*acked)).add(kind).add(event).add(until);
        }
        call.add(devices.len());
        for StoredDevice { name, ttl, left, queue } in devices {
            call.add(name).add(*ttl).add(*left).add(queue.len());
            queue.iter().for_each(|id| {
                call.add(digits(*id));
            });
        }
        self.bytes += call.bytes();
        self.waiting.push(call.command(&self.commands.link.prefix));
    }

    fn add_totals(&mut self) {
        for (resource, totals) in std::mem::take(&mut self.resources) {
            let Totals { records, bytes, oldest, epoch, cascades } = totals;
            self.command("HSET", &format!("resource:{resource}"), |it| {
                it.arg("records").arg(records).arg("bytes").arg(bytes);
                it.arg("oldest").arg(oldest.unwrap_or_default()).arg("cascades").arg(cascades);
                epoch.iter().for_each(|epoch| {
                    it.arg("epoch").arg(epoch);
                });
            });
        }
        let (records, ledger_bytes, cascades) = (self.records, self.ledger_bytes, self.cascades);
        let (number, epoch) = self.epoch;
        self.command("HSET", "meta", |it| {
            it.arg("records").arg(records).arg("ledger_bytes").arg(ledger_bytes);
            it.arg("cascades").arg(cascades).arg("number").arg(number).arg("epoch").arg(epoch);
        });
    }
}

/// Returns an id as the scripts write it.
fn digits(id: u64) -> String {
    format!("{id:016x}")
}
