//! The state of a store as a reader sees it, and its comparison with the model.

use std::collections::{BTreeMap, BTreeSet};

use backwire_engine::{ChangesSince, Engine, Error};
use backwire_records::change::{Id, Position, Room};
use backwire_records::criteria::{Criteria, Language, Parameters};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::model::{Logged, Model, Written};
use crate::operation::{DEVICES, RESOURCES, attributes, resource};
use crate::store::Store;

/// The state of a store, read from its engine.
#[derive(Debug)]
pub(crate) struct Observed {
    tables: BTreeMap<&'static str, ObservedTable>,
    cascades: BTreeSet<Id>,
    waiting: BTreeMap<(&'static str, &'static str), Vec<u64>>,
    persons: BTreeMap<String, ObservedPerson>,
    /// The entries of the ledger for some keys.
    ledger: BTreeMap<u64, Option<Written>>,
}

/// The data of a person in the file. No device that is connected sees all of it: messages also wait
/// for persons without devices.
#[derive(Debug, Default, PartialEq)]
struct ObservedPerson {
    devices: BTreeSet<String>,
    messages: BTreeSet<u64>,
}

#[derive(Debug)]
struct ObservedTable {
    records: BTreeMap<Id, Value>,
    head: Position,
    /// The offset after which the log has all changes.
    floor: u64,
    log: Vec<Logged>,
}

impl Observed {
    /// Reads the state, and of the ledger these keys.
    pub(crate) async fn read(store: &mut Store, keys: &BTreeSet<u64>) -> Result<Self, Error> {
        let (mut tables, mut waiting) = (BTreeMap::new(), BTreeMap::new());
        for name in RESOURCES {
            tables.insert(name, ObservedTable::read(store, name).await?);
        }
        for device in DEVICES {
            waiting.insert(device, store.waiting(device).await?);
        }
        let unfinished = store.engine.cascades().unfinished().await?;
        let cascades = unfinished.into_iter().map(|cascade| cascade.id).collect();
        let mut ledger = BTreeMap::new();
        for key in keys {
            let entry = store.ledger_entry(*key).await?;
            ledger.insert(*key, entry.map(|entry| written(&entry)));
        }
        let persons = read_persons(&store.connect()?)?;
        Ok(Self { tables, cascades, waiting, persons, ledger })
    }

    /// Returns the end of a log.
    pub(crate) fn head(&self, name: &str) -> u64 {
        self.tables[name].head.offset
    }

    /// Returns the first difference from a model. The log has at least `kept` changes.
    pub(crate) fn difference(&self, model: &Model, kept: u64) -> Option<String> {
        let table = |name: &'static str| {
            self.tables[name].difference(name, model, kept).map(|it| format!("{name}: {it}"))
        };
        RESOURCES.into_iter().find_map(table).or_else(|| self.other_difference(model))
    }

    fn other_difference(&self, model: &Model) -> Option<String> {
        let expected: BTreeSet<_> = model.cascades.keys().cloned().collect();
        if self.cascades != expected {
            return Some(format!("cascades {:?}, expected {expected:?}", self.cascades));
        }
        for (device, numbers) in &self.waiting {
            let expected = model.waiting(*device).unwrap_or_default();
            if *numbers != expected {
                return Some(format!("{device:?} waits for {numbers:?}, expected {expected:?}"));
            }
        }
        for (name, expected) in &model.persons {
            let expected = ObservedPerson {
                devices: expected.devices().map(str::to_owned).collect(),
                messages: expected.messages().collect(),
            };
            let none = ObservedPerson::default();
            let person = self.persons.get(*name).unwrap_or(&none);
            if *person != expected {
                return Some(format!("{name} has {person:?}, expected {expected:?}"));
            }
        }
        let differs = |(key, entry): (&u64, &Option<Written>)| {
            let (entry, expected) = (entry.as_ref(), model.ledger.get(key));
            let is_same = match (entry, expected) {
                (Some(entry), Some(expected)) => {
                    let is_logged = expected.is_logged;
                    *expected == Written { is_logged, ..entry.clone() }
                }
                (None, None) => true,
                _ => false,
            };
            (!is_same).then(|| format!("key {key}: {entry:?}, expected {expected:?}"))
        };
        self.ledger.iter().find_map(differs)
    }
}

fn read_persons(connection: &Connection) -> Result<BTreeMap<String, ObservedPerson>, Error> {
    let mut persons = BTreeMap::<String, ObservedPerson>::new();
    let devices = "SELECT p.name, d.name FROM devices d JOIN persons p ON p.id = d.person";
    let mut devices = connection.prepare(devices)?;
    for row in devices.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (person, device) = row?;
        persons.entry(person).or_default().devices.insert(device);
    }
    let messages = "SELECT p.name, m.args ->> 0 FROM inbox i JOIN persons p ON p.id = i.person
                    JOIN messages m ON m.id = i.id";
    let mut messages = connection.prepare(messages)?;
    for row in messages.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))? {
        let (person, number) = row?;
        persons.entry(person).or_default().messages.insert(number.cast_unsigned());
    }
    Ok(persons)
}

fn written(entry: &backwire_engine::LedgerEntry) -> Written {
    let name = RESOURCES.into_iter().find(|name| *name == entry.resource().as_str());
    Written {
        resource: name.unwrap_or("?"),
        id: entry.id().clone(),
        offset: entry.position().offset,
        is_logged: true,
    }
}

impl ObservedTable {
    async fn read(store: &Store, name: &str) -> Result<Self, Error> {
        let (engine, of) = (&store.engine, resource(name));
        let found = engine.find(&of, &Criteria::default()).await?;
        let records = found.value.iter().map(|record| {
            let id = record.get("id").and_then(Id::from_json).expect("each record has an id");
            (id, Value::Object((**record).clone()))
        });
        let records = records.collect();
        let head = found.position;
        let all: Vec<_> = (0..=head.offset).map(|offset| Position { offset, ..head }).collect();
        let reached = engine.reaches(&of, &all).await?;
        let floor = reached.iter().position(|it| *it).expect("the head is in reach") as u64;
        let from = Position { offset: floor, ..head };
        let since = engine.changes_since(&Room::class(of), from).await?;
        let ChangesSince::Changes { changes, .. } = since else { panic!("{from} is in reach") };
        let logged = changes.iter().map(|change| Logged {
            verb: change.verb,
            id: change.id.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        });
        let log: Vec<_> = logged.collect();
        let offsets = changes.iter().map(|change| change.position.offset);
        assert!(offsets.eq(floor + 1..=head.offset), "{name}: the log has no gaps");
        Ok(Self { records, head, floor, log })
    }

    fn difference(&self, name: &str, model: &Model, kept: u64) -> Option<String> {
        let expected = &model.tables[name];
        let (head, expected_head) = (self.head.offset, expected.head());
        if head != expected_head {
            return Some(format!("head {head}, expected {expected_head}"));
        }
        if self.floor > head.saturating_sub(kept) {
            return Some(format!("the log begins after {} and ends with {head}", self.floor));
        }
        let floor = usize::try_from(self.floor).unwrap();
        for ((change, expected), offset) in
            self.log.iter().zip(&expected.log[floor..]).zip(floor + 1..)
        {
            if *change != **expected {
                return Some(format!("change {offset} is {change:?}, expected {expected:?}"));
            }
        }
        let expected = model.records(name);
        (self.records != expected)
            .then(|| format!("records {:?}, expected {expected:?}", self.records))
    }
}

/// Returns the first difference between lists that an index finds and a scan.
pub(crate) async fn index_difference(
    store: &Store,
    model: &Model,
) -> Result<Option<String>, Error> {
    let all = model.records("pet");
    let mut queries: Vec<_> = ["red", "blue"].map(|color| json!({ "color": color })).into();
    queries.extend(all.values().take(2).map(|pet| json!({ "tag": pet["tag"] })));
    queries.extend(
        model.tables["user"].ids().iter().take(2).map(|id| json!({ "owner": id.to_json() })),
    );
    for query in
        queries.into_iter().filter(|query| !query["tag"].is_null() || query.get("tag").is_none())
    {
        let parameters = Parameters::read(Vec::new(), attributes(query.clone())).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        let found = store.engine.find(&resource("pet"), &criteria).await?.value;
        let found: Vec<_> = found.iter().map(|pet| Value::Object((**pet).clone())).collect();
        let (name, value) = query.as_object().unwrap().iter().next().unwrap();
        let expected: Vec<_> = all.values().filter(|pet| pet[name] == *value).cloned().collect();
        if found != expected {
            return Ok(Some(format!("{query} finds {found:?}, expected {expected:?}")));
        }
    }
    Ok(None)
}
