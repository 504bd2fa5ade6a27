//! A group: writes that are decided one after the other and committed in one round trip.
//!
//! A write is decided on its stored state if that was read, and otherwise on the record in the
//! cache of this node or, for a create, as if nothing were stored. Writes of the group before it
//! count, too. The script checks what each decision rests on. It stops at the first write that
//! fails the check; this write and those after it are decided again.
//!
//! Invariant: a write is only refused because of a state that was read, and that no earlier write
//! of the group may change.

use backwire_environment::{HashMap, HashSet};
use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Position, Resource, Verb};
use backwire_records::json_size::JsonSize;
use backwire_records::model;
use backwire_records::write::{Action, Decision, RecordCounts, StoredState, Write, WriteError};

use super::cache::Cache;
use super::encoding;
use super::handshake::Epoch;
use super::known::{Known, KnownResource};
use super::operation::{Expected, NextId, Operation, UniqueValue};
use super::state::{HeldValue, State};
use crate::counters::MAX_COUNTED_ID;
use crate::ledger::{KeyHash, Written};
use crate::{CommitOutcome, Error, Window};

/// A record that takes no more than this once it is parsed is only measured roughly.
const MAX_ROUGH_BYTES: usize = 8 << 10;

/// A decision on a write.
pub(super) enum Decided {
    /// It is committed with the group.
    Operation(Box<Operation>),
    /// It has this outcome.
    Final(Result<CommitOutcome, Error>),
    /// It is a repeat of this write.
    Repeated(Written),
    /// It cannot be decided before the group is committed and the state is read.
    Later,
}

/// A write that is to be decided.
pub(super) struct Candidate<'a> {
    pub(super) write: &'a Write,
    /// Its stored state, if it was read.
    pub(super) state: Option<&'a State>,
    /// Whether the id in the state was reserved.
    pub(super) is_reserved: bool,
    /// The first free id, if the counter has passed the ids that it counts.
    pub(super) free: Option<i64>,
    /// The bytes that a former attempt has claimed for the answer.
    pub(super) claimed: usize,
}

/// The group that is being made.
pub(super) struct Group<'a> {
    pub(super) epoch: Epoch,
    pub(super) window: &'a Window,
    pub(super) known: &'a Known,
    pub(super) cache: &'a mut Cache,
    /// The records that the group has written.
    records: HashMap<(Resource, Id), GroupRecord>,
    /// The resources whose records the group may change.
    touched: HashSet<Resource>,
    keys: HashSet<KeyHash>,
    /// The counters of ids after the group.
    next: HashMap<Resource, i64>,
    count: usize,
}

/// A record that the group has written.
#[derive(Debug, Clone)]
struct GroupRecord {
    operation: usize,
    record: Option<Arc<Attributes>>,
    changed: u64,
}

/// The state of a record that a decision depends on.
struct Basis {
    expected: Expected,
    record: Option<Arc<Attributes>>,
    changed: u64,
    /// The bytes of the record in memory.
    bytes: usize,
}

impl<'a> Group<'a> {
    pub(super) fn new(
        epoch: Epoch,
        window: &'a Window,
        known: &'a Known,
        cache: &'a mut Cache,
    ) -> Self {
        let (records, touched, keys, next) = Default::default();
        Self { epoch, window, known, cache, records, touched, keys, next, count: 0 }
    }

    /// Decides the next write.
    pub(super) fn decide(&mut self, ask: &Candidate<'_>) -> Result<Decided, Error> {
        if let Some(decided) = self.decide_by_key(ask) {
            return Ok(decided);
        }
        let is_final = ask.state.is_some() && !self.touched.contains(&ask.write.resource);
        match self.decide_by_state(ask) {
            Err(Error::Refused(_)) if !is_final => Ok(Decided::Later),
            Err(error @ (Error::Refused(_) | Error::OutOfMemory(_))) => {
                Ok(Decided::Final(Err(error)))
            }
            Ok(Decided::Final(_)) if !is_final => Ok(Decided::Later),
            decided => decided,
        }
    }

    /// Decides a write whose key is known, or is in the group.
    fn decide_by_key(&self, Candidate { write, state, .. }: &Candidate<'_>) -> Option<Decided> {
        let key = write.key.as_ref()?;
        if self.keys.contains(&KeyHash::from(key)) {
            return Some(Decided::Later);
        }
        let entry = state.and_then(|state| state.entry.clone());
        let entry = entry.filter(|it| it.outcome.at >= self.window.ledger_cutoff(write.at))?;
        Some(match entry.answer(key) {
            Ok(written) => Decided::Repeated(written),
            Err(error) => Decided::Final(Err(error.into())),
        })
    }

    fn decide_by_state(&mut self, ask: &Candidate<'_>) -> Result<Decided, Error> {
        let Candidate { write, state, .. } = *ask;
        let known = match state {
            Some(state) => state.known.clone(),
            None => self.known.of(&write.resource, self.epoch),
        };
        let (id, next) = match write.id()? {
            Some(id) => (id, None),
            None => match self.next_id(ask)? {
                Some((id, next)) => (Id::Integer(id), Some(next)),
                None => return Ok(Decided::Later),
            },
        };
        let Some(basis) = self.basis(write, &id, state)? else { return Ok(Decided::Later) };
        let Some((taken, unique)) = taken(write, &id, &basis, &known, state) else {
            return Ok(Decided::Later);
        };
        write.memory.add(basis.bytes.saturating_sub(ask.claimed))?;
        let stored_state = self.stored_state(&id, &basis, &known, state, taken);
        let (change, is_unchanged) = match write.clone().apply(stored_state)? {
            Decision::Changed(change) => (change, false),
            Decision::Unchanged(change) if write.key.is_some() => (change, true),
            Decision::Unchanged(change) => {
                return Ok(Decided::Final(Ok(CommitOutcome::unchanged(change))));
            }
        };
        let operation = Operation {
            is_unchanged,
            key: write.key.clone(),
            limits: write.limits,
            references: write.references.clone(),
            primary_key: write.model.key.clone(),
            expected: basis.expected,
            indexed: basis.record.clone(),
            next,
            unique,
            known,
            bytes: basis.bytes,
            change,
        };
        self.add(&operation, &basis);
        Ok(Decided::Operation(Box::new(operation)))
    }

    fn stored_state(
        &self,
        id: &Id,
        basis: &Basis,
        known: &KnownResource,
        state: Option<&State>,
        taken: Option<String>,
    ) -> StoredState {
        let dangling = basis.record.as_ref().map(|record| known.dangling(record, basis.changed));
        let offset = state.map_or(0, |state| state.head) + 1;
        StoredState {
            record: basis.record.clone(),
            dangling: dangling.unwrap_or_default(),
            // The script sets it, unless the write changes nothing.
            previous: match basis.expected {
                Expected::Offset(offset) => offset,
                _ => 0,
            },
            position: Position { epoch: self.epoch.epoch, offset },
            taken,
            next_id: match id {
                Id::Integer(id) => *id,
                Id::Text(_) => 0,
            },
            // The script compares the limits.
            records: RecordCounts::default(),
        }
    }

    /// Returns the id of a record without an id; `None` if it has to be read.
    fn next_id(&self, ask: &Candidate<'_>) -> Result<Option<(i64, NextId)>, WriteError> {
        let resource = &ask.write.resource;
        let read = ask.state.map(|state| state.next);
        if let Some(next) = read.filter(|next| ask.is_reserved && *next <= MAX_COUNTED_ID) {
            return Ok(Some((next, NextId::Reserved)));
        }
        let of_group = self.next.get(resource).copied();
        let Some(next) = of_group.or(read).or_else(|| self.cache.next(resource)) else {
            return Ok(None);
        };
        if next <= MAX_COUNTED_ID {
            return Ok(Some((next, NextId::Counter(next))));
        }
        if of_group.is_some() || read.is_none() {
            return Ok(None);
        }
        let free = ask.free.ok_or_else(|| WriteError::NoIdLeft { resource: resource.clone() })?;
        Ok(Some((free, NextId::Counter(next))))
    }

    /// Returns the record that the write is decided on, if it is known or need not be.
    fn basis(&self, write: &Write, id: &Id, state: Option<&State>) -> Result<Option<Basis>, Error> {
        if let Some(GroupRecord { operation, record, changed }) =
            self.records.get(&(write.resource.clone(), id.clone()))
        {
            let (expected, record) = (Expected::Operation(*operation), record.clone());
            return Ok(Some(Basis { expected, record, changed: *changed, bytes: 0 }));
        }
        if let Some(state) = state {
            let stored = state.record.as_ref();
            let bytes = stored.and_then(|stored| stored.json.as_deref()).map_or(0, parsed_bytes);
            return Ok(Some(Basis {
                expected: stored.map_or(Expected::Nothing, |it| Expected::Offset(it.offset)),
                record: stored.map(|stored| stored.parse()).transpose()?.flatten(),
                changed: stored.map_or(0, |stored| stored.changed),
                bytes,
            }));
        }
        let absent = |expected| Basis { expected, record: None, changed: 0, bytes: 0 };
        Ok(match &write.action {
            Action::Publish(_) => Some(absent(Expected::Any)),
            Action::Create(_) => Some(absent(Expected::Nothing)),
            _ => self.cache.record(&write.resource, id).map(|cached| Basis {
                expected: Expected::Offset(cached.offset),
                record: Some(Arc::clone(&cached.record)),
                changed: cached.changed,
                bytes: cached.bytes,
            }),
        })
    }

    fn add(&mut self, operation: &Operation, basis: &Basis) {
        self.count += 1;
        let Change { resource, id, verb, after, published, .. } = &operation.change;
        if let Some(key) = &operation.key {
            self.keys.insert(KeyHash::from(key));
        }
        if operation.is_unchanged {
            return;
        }
        self.touched.insert(resource.clone());
        self.touched.extend(operation.references.iter().map(|it| it.resource.clone()));
        let written = match published {
            // The record itself is as before, and may not be known.
            true if basis.expected == Expected::Any => None,
            true => Some((basis.record.clone(), basis.changed)),
            // It is after all cascades so far.
            false => Some((after.clone(), u64::MAX)),
        };
        let place = (resource.clone(), id.clone());
        match written {
            Some((record, changed)) => {
                let operation = self.count;
                self.records.insert(place, GroupRecord { operation, record, changed });
            }
            None => self.cache.forget(resource, id),
        }
        self.count_id(operation, *verb, id);
    }

    /// Follows the counter of ids, as the script does.
    fn count_id(&mut self, operation: &Operation, verb: Verb, id: &Id) {
        let (Verb::Create, Id::Integer(id)) = (verb, id) else { return };
        let resource = &operation.change.resource;
        match operation.next {
            Some(NextId::Counter(_)) => drop(self.next.insert(resource.clone(), id + 1)),
            // The counter may be another now.
            _ => {
                self.next.remove(resource);
                self.cache.forget_next(resource);
            }
        }
    }
}

/// Returns the first unique value that another record has, and what that rests on; `None` if it has
/// to be read.
fn taken(
    write: &Write,
    id: &Id,
    basis: &Basis,
    known: &KnownResource,
    state: Option<&State>,
) -> Option<(Option<String>, Vec<UniqueValue>)> {
    let own = basis.record.as_deref();
    let own_id = encoding::id(id);
    let (mut taken, mut unique) = (None, Vec::new());
    for (attribute, value) in write.unique_values(own) {
        let is_held = |held: &&HeldValue| held.attribute == attribute && held.value == value;
        let held = state.and_then(|state| state.values.iter().find(is_held));
        let is_new = matches!(write.action, Action::Create(_)) && state.is_none();
        if !known.has_index(&attribute) || (held.is_none() && !is_new) {
            return None;
        }
        let is_taken = |held: &HeldValue| {
            let others = held.holders.iter().filter(|other| other.id != own_id);
            let others = others.filter_map(|other| {
                let record = other.record.clone()?;
                known.dangling(&record, other.changed).resolve(record)
            });
            let mut rivals = others.filter(|other| write.conflicts_with(other, own));
            rivals.any(|other| other.get(&attribute).is_some_and(|it| model::is_same(it, &value)))
        };
        if taken.is_none() && held.is_some_and(is_taken) {
            taken = Some(attribute.clone());
        }
        let holders = held.map(|held| held.holders_text(&own_id)).unwrap_or_default();
        unique.push(UniqueValue { value: encoding::value(&value), attribute, holders });
    }
    Some((taken, unique))
}

/// Returns the bytes that a record takes once it is parsed.
pub(super) fn parsed_bytes(json: &str) -> usize {
    JsonSize::rough(json, MAX_ROUGH_BYTES, usize::MAX).parsed_bytes()
}
