//! The stored state that writes are decided on, and how it is read.

use std::sync::Arc;

use backwire_records::change::{Attributes, Id, Resource};
use backwire_records::write::{Key, Write};
use serde_json::Value;

use super::connection::{Commands, Connection};
use super::encoding;
use super::known::{Known, KnownResource};
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::{self, StoredRecord};
use crate::Error;
use crate::counters::MAX_COUNTED_ID;
use crate::ledger::{Entry, KeyHash, Written};

/// A question about the state for a write.
pub(super) struct StateQuery {
    pub(super) resource: Resource,
    pub(super) id: Option<Id>,
    /// Whether to reserve an id.
    pub(super) reserves: bool,
    pub(super) key: Option<Key>,
    /// The unique values whose holders are needed.
    pub(super) values: Vec<(String, Value)>,
}

/// The state for a write.
#[derive(Debug)]
pub(super) struct State {
    pub(super) known: KnownResource,
    pub(super) head: u64,
    /// The counter of ids, or the id that was reserved.
    pub(super) next: i64,
    pub(super) record: Option<StoredRecord>,
    pub(super) entry: Option<Entry<Written>>,
    /// The holders of each unique value.
    pub(super) values: Vec<HeldValue>,
}

/// A unique value, and the records that may have it.
#[derive(Debug)]
pub(super) struct HeldValue {
    pub(super) attribute: String,
    pub(super) value: Value,
    pub(super) holders: Vec<Holder>,
}

/// A record that may have a unique value.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) id: Vec<u8>,
    pub(super) offset: u64,
    pub(super) changed: u64,
    pub(super) record: Option<Arc<Attributes>>,
}

impl StateQuery {
    pub(super) fn of(write: &Write, id: Option<Id>, reserves: bool) -> Self {
        let (resource, key) = (write.resource.clone(), write.key.clone());
        Self { resource, id, reserves, key, values: write.unique_values(None) }
    }
}

/// Reads states in one round trip.
pub(super) async fn read(
    commands: &Commands,
    connection: &Connection,
    known: &Known,
    queries: Vec<StateQuery>,
) -> Result<Vec<State>, Error> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let epoch = connection.epoch;
    let mut call = Call::new(&script::STATE).with(MAX_COUNTED_ID).with(queries.len());
    let used: Vec<_> = queries.iter().map(|query| known.of(&query.resource, epoch)).collect();
    for (query, known) in queries.iter().zip(&used) {
        let hash = query.key.as_ref().map(KeyHash::from);
        call.add(query.resource.as_str())
            .add(query.id.as_ref().map(encoding::id).unwrap_or_default())
            .add(u8::from(query.reserves))
            .add(hash.as_ref().map_or(&[][..], KeyHash::as_bytes))
            .add(known.indexes_version())
            .add(known.cascades_version())
            .add(query.values.len());
        for (attribute, value) in &query.values {
            call.add(attribute).add(encoding::value(value));
        }
    }
    let mut states = Reply::list(commands.run_on(connection, &call).await?)?;
    let mut read = Vec::new();
    for (query, used) in queries.into_iter().zip(used) {
        let mut state = states.next_list()?;
        let (head, next) = (state.number()?, state.number()?);
        let indexes = known.read_indexes(&query.resource, epoch, &used, &mut state)?;
        let cascades = known.read_cascades(&query.resource, epoch, &used, &mut state)?;
        let known = KnownResource { indexes, cascades };
        let record = state.optional_bytes()?.map(StoredRecord::read).transpose()?;
        let entry = state.optional_bytes()?;
        let entry = entry.map(|entry| stored::ledger_entry(&entry)).transpose()?;
        let values = read_values(query.values, state.next_list()?)?;
        read.push(State { known, head, next, record, entry, values });
    }
    Ok(read)
}

fn read_values(values: Vec<(String, Value)>, mut reply: Reply) -> Result<Vec<HeldValue>, Error> {
    let mut held = Vec::new();
    for (attribute, value) in values {
        let mut holders = Vec::new();
        for holder in reply.next_list()? {
            let mut holder = Reply::list(holder)?;
            let (id, record) = (holder.bytes()?, StoredRecord::read(holder.bytes()?)?);
            let StoredRecord { offset, changed, .. } = record;
            holders.push(Holder { id, offset, changed, record: record.parse()? });
        }
        held.push(HeldValue { attribute, value, holders });
    }
    Ok(held)
}

impl HeldValue {
    /// Returns the holders as the commit script writes them.
    pub(super) fn holders_text(&self, own: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        for Holder { id, offset, .. } in self.holders.iter().filter(|holder| holder.id != own) {
            text.extend(format!("{}:", id.len()).bytes().chain(id.iter().copied()));
            text.extend(format!("{offset};").bytes());
        }
        text
    }
}

/// Reads what is to be known of a resource.
pub(super) async fn read_known(
    commands: &Commands,
    known: &Known,
    resource: &Resource,
) -> Result<KnownResource, Error> {
    let (resource, values) = (resource.clone(), Vec::new());
    let query = StateQuery { resource, id: None, reserves: false, key: None, values };
    let connection = commands.connection().await?;
    let mut states = read(commands, &connection, known, vec![query]).await?;
    Ok(states.pop().map(|state| state.known).unwrap_or_default())
}
