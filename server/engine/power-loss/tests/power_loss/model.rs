//! A model of the engine: what a history of operations leaves. It shares no code with the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backwire_records::change::{Attributes, Id, Verb};
use backwire_records::write::Action;
use serde_json::{Value, json};

use crate::operation::{DEVICES, Operation, RESOURCES};

/// The state of a store.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) tables: BTreeMap<&'static str, Table>,
    /// The writes by the number of their key.
    pub(crate) ledger: BTreeMap<u64, Written>,
    /// The destroyed users whose pets still refer to them, with the head of the pets' log then.
    pub(crate) cascades: BTreeMap<Id, u64>,
    pub(crate) persons: BTreeMap<&'static str, Person>,
    /// The numbers of the messages with a key.
    pub(crate) sent: BTreeSet<u64>,
}

/// A resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The stored records, and the offsets of their last changes.
    records: BTreeMap<Id, (Arc<Attributes>, u64)>,
    /// The log, from its first change on.
    pub(crate) log: Vec<Arc<Logged>>,
    last_id: i64,
}

/// A change in the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logged {
    pub(crate) verb: Verb,
    pub(crate) id: Id,
    pub(crate) before: Option<Arc<Attributes>>,
    pub(crate) after: Option<Arc<Attributes>>,
}

/// A write in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) resource: &'static str,
    pub(crate) id: Id,
    /// The offset of its change, or of the head if it has changed nothing.
    pub(crate) offset: u64,
    pub(crate) is_logged: bool,
}

/// A person's devices, and the messages with the devices that have acked them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Person {
    devices: BTreeSet<&'static str>,
    messages: BTreeMap<u64, BTreeSet<&'static str>>,
}

/// The outcome of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Refused for its content.
    Refused,
    /// The write changed its record.
    Changed { id: Id, offset: u64, after: Option<Arc<Attributes>> },
    /// The record has these values already.
    Unchanged { id: Id },
    /// The write was executed before.
    Repeated { id: Id },
    /// The message was stored, now or before.
    Sent { is_repeat: bool },
    /// A step of the queues, or the end of a cascade.
    Done,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            tables: RESOURCES.map(|name| (name, Table::default())).into(),
            ledger: BTreeMap::new(),
            cascades: BTreeMap::new(),
            persons: DEVICES.map(|(person, _)| (person, Person::default())).into(),
            sent: BTreeSet::new(),
        }
    }
}

impl Model {
    /// Whether nothing was stored.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.values().all(|table| table.log.is_empty())
            && self.persons.values().all(|it| it.devices.is_empty() && it.messages.is_empty())
    }

    /// Executes an operation.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Write { resource, action, key } => self.write(resource, action, *key),
            Operation::Send { number, persons, has_key } => {
                if *has_key && !self.sent.insert(*number) {
                    return Outcome::Sent { is_repeat: true };
                }
                for person in persons {
                    self.person(person).messages.insert(*number, BTreeSet::new());
                }
                Outcome::Sent { is_repeat: false }
            }
            Operation::Connect { device: (person, name) } => {
                self.person(person).connect(name);
                Outcome::Done
            }
            Operation::Ack { device: (person, name), numbers } => {
                self.person(person).ack(name, numbers);
                Outcome::Done
            }
            Operation::Finish { user } => {
                self.cascades.remove(user);
                Outcome::Done
            }
        }
    }

    fn person(&mut self, name: &str) -> &mut Person {
        self.persons.get_mut(name).unwrap()
    }

    fn write(&mut self, resource: &'static str, action: &Action, key: Option<u64>) -> Outcome {
        if let Some(written) = key.and_then(|key| self.ledger.get(&key)) {
            return Outcome::Repeated { id: written.id.clone() };
        }
        let Some((id, verb, after)) = self.decide(resource, action) else {
            return Outcome::Refused;
        };
        let is_changed = verb != Verb::Update || self.is_changed(resource, &id, after.as_ref());
        let (offset, outcome) = match is_changed {
            true => {
                let after = after.map(Arc::new);
                let offset = self.store(resource, &id, verb, after.clone());
                (offset, Outcome::Changed { id: id.clone(), offset, after })
            }
            false => (self.tables[resource].head(), Outcome::Unchanged { id: id.clone() }),
        };
        if let Some(key) = key {
            let written = Written { resource, id, offset, is_logged: is_changed };
            self.ledger.insert(key, written);
        }
        outcome
    }

    /// Returns the record that a write leaves; `None` if it is refused.
    fn decide(
        &self,
        resource: &'static str,
        action: &Action,
    ) -> Option<(Id, Verb, Option<Attributes>)> {
        let table = &self.tables[resource];
        let (id, set) = match action {
            Action::Create(set) => {
                let given = set.get("id").and_then(Id::from_json);
                (given.unwrap_or(Id::Integer(table.last_id + 1)), set)
            }
            Action::Update(id, set) | Action::Upsert(id, set) => (id.clone(), set),
            Action::Destroy(id) => {
                return table.records.contains_key(id).then(|| (id.clone(), Verb::Destroy, None));
            }
            Action::Detach(id) => {
                let record = self.with_dangling(resource, id)?;
                return self.dangles(id).then(|| (id.clone(), Verb::Update, Some(record)));
            }
            Action::Publish(_) => unreachable!("no history has one"),
        };
        let (verb, mut record) = match (action, self.with_dangling(resource, &id)) {
            (Action::Create(_), Some(_)) | (Action::Update(..), None) => return None,
            (_, Some(record)) => (Verb::Update, record),
            (_, None) => (Verb::Create, Attributes::new()),
        };
        record.extend(set.clone());
        record.insert("id".to_owned(), id.to_json());
        let tag = set.get("tag").filter(|tag| resource == "pet" && !tag.is_null());
        let is_taken = tag.is_some_and(|tag| {
            table.records.iter().any(|(other, (it, _))| *other != id && it.get("tag") == Some(tag))
        });
        (!is_taken).then_some((id, verb, Some(record)))
    }

    /// Returns a stored record in which a dangling owner is null.
    fn with_dangling(&self, resource: &str, id: &Id) -> Option<Attributes> {
        let (record, _) = self.tables[resource].records.get(id)?;
        let mut record = Attributes::clone(record);
        if resource == "pet" && self.dangles(id) {
            record.insert("owner".to_owned(), Value::Null);
        }
        Some(record)
    }

    /// Whether the owner of a pet was destroyed after the last change of the pet.
    fn dangles(&self, pet: &Id) -> bool {
        let Some((record, changed)) = self.tables["pet"].records.get(pet) else { return false };
        let owner = record.get("owner").and_then(Id::from_json);
        owner.and_then(|owner| self.cascades.get(&owner)).is_some_and(|until| changed <= until)
    }

    fn is_changed(&self, resource: &str, id: &Id, after: Option<&Attributes>) -> bool {
        let stored = self.tables[resource].records.get(id).map(|(record, _)| &**record);
        stored != after || (resource == "pet" && self.dangles(id))
    }

    fn store(
        &mut self,
        resource: &'static str,
        id: &Id,
        verb: Verb,
        after: Option<Arc<Attributes>>,
    ) -> u64 {
        if resource == "user" && verb == Verb::Destroy {
            self.begin_cascade(id);
        }
        let table = self.tables.get_mut(resource).unwrap();
        let before = table.records.get(id).map(|(record, _)| Arc::clone(record));
        let logged = Logged { verb, id: id.clone(), before, after: after.clone() };
        table.log.push(Arc::new(logged));
        let offset = table.head();
        match after {
            Some(after) => drop(table.records.insert(id.clone(), (after, offset))),
            None => drop(table.records.remove(id)),
        }
        if let (Verb::Create, Id::Integer(id)) = (verb, id) {
            table.last_id = table.last_id.max(*id);
        }
        offset
    }

    fn begin_cascade(&mut self, user: &Id) {
        let (pets, user_json) = (&self.tables["pet"], user.to_json());
        if pets.records.values().any(|(pet, _)| pet.get("owner") == Some(&user_json)) {
            self.cascades.insert(user.clone(), pets.head());
        }
    }

    /// Returns the records of a resource as a reader sees them.
    pub(crate) fn records(&self, resource: &str) -> BTreeMap<Id, Value> {
        let ids = self.tables[resource].records.keys();
        let record = |id: &Id| self.with_dangling(resource, id).map(Value::Object);
        ids.map(|id| (id.clone(), record(id).unwrap_or(json!(null)))).collect()
    }

    /// Returns the pets that still refer to a destroyed user.
    pub(crate) fn dangling_pets(&self) -> Vec<Id> {
        self.tables["pet"].records.keys().filter(|id| self.dangles(id)).cloned().collect()
    }

    /// Returns the numbers of the messages that wait for a device; `None` if it is not known.
    pub(crate) fn waiting(&self, (person, name): (&str, &str)) -> Option<Vec<u64>> {
        let person = &self.persons[person];
        person.devices.get(name)?;
        let waits =
            |(number, acked): (&u64, &BTreeSet<_>)| (!acked.contains(name)).then_some(*number);
        Some(person.messages.iter().filter_map(waits).collect())
    }
}

impl Table {
    /// Returns the offset of the last change.
    pub(crate) fn head(&self) -> u64 {
        self.log.len() as u64
    }

    /// Returns the ids of the stored records.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.records.keys().cloned().collect()
    }
}

impl Person {
    pub(crate) fn devices(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.devices.iter().copied()
    }

    /// Returns the numbers of the messages that a device has not acked, or that wait for the first
    /// device.
    pub(crate) fn messages(&self) -> impl Iterator<Item = u64> + '_ {
        self.messages.keys().copied()
    }

    fn connect(&mut self, name: &'static str) {
        if self.devices.insert(name) {
            // It gets what no other device has acked.
            let begun = self.messages.values_mut().filter(|acked| !acked.is_empty());
            for acked in begun {
                acked.insert(name);
            }
        }
    }

    fn ack(&mut self, name: &'static str, numbers: &[u64]) {
        if !self.devices.contains(name) {
            return;
        }
        for number in numbers {
            if let Some(acked) = self.messages.get_mut(number) {
                acked.insert(name);
            }
        }
        self.messages.retain(|_, acked| !acked.is_superset(&self.devices));
    }
}
