//! Reads a file as items.

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_records::change::Attributes;
use backwire_records::messages::flake::Flake;
use rusqlite::{Connection, Row};

use super::super::row::{Column, Json, get, unsigned};
use super::super::schema;
use crate::Error;
use crate::migration::item::{
    Item, StoredChange, StoredDelivery, StoredDevice, StoredLedgerEntry, StoredPerson, StoredRecord,
};
use crate::sqlite::queues;

type Emit<'e> = dyn FnMut(Item) -> Result<(), Error> + 'e;

/// Emits all items of a file.
pub(super) fn all(connection: &Connection, at: u64, emit: &mut Emit<'_>) -> Result<(), Error> {
    emit(Item::Secret(schema::secret(connection)?))?;
    emit(Item::LastDelivery(queues::last(connection)?.into()))?;
    each(connection, "SELECT number, epoch FROM epochs ORDER BY number", emit, |row| {
        Ok(Item::Epoch { number: unsigned(row, "number")?, epoch: unsigned(row, "epoch")? })
    })?;
    each(connection, "SELECT * FROM resources ORDER BY name", emit, |row| {
        Ok(Item::Resource {
            name: row.get("name")?,
            head: unsigned(row, "head")?,
            floor: unsigned(row, "floor")?,
            next_id: row.get("next_id")?,
            key: row.get("key_name")?,
        })
    })?;
    each(connection, "SELECT * FROM first_offsets", emit, |row| {
        Ok(Item::FirstOffset {
            resource: row.get("resource")?,
            number: unsigned(row, "number")?,
            first: unsigned(row, "first")?,
        })
    })?;
    each(connection, "SELECT * FROM records", emit, record)?;
    let log = "SELECT log.* FROM log JOIN resources ON name = resource WHERE offset > floor
               ORDER BY resource, offset";
    each(connection, log, emit, change)?;
    each(connection, "SELECT * FROM ledger ORDER BY n", emit, ledger_entry)?;
    each(connection, "SELECT * FROM cascades ORDER BY rowid", emit, |row| {
        Ok(Item::Cascade {
            resource: row.get("holder")?,
            attribute: row.get("attribute")?,
            id: get(row, "id")?,
            until: unsigned(row, "until")?,
            is_pair: row.get("is_pair")?,
            origin: row.get("origin")?,
        })
    })?;
    each(connection, "SELECT * FROM sessions", emit, session)?;
    each(connection, "SELECT * FROM messages WHERE event IS NOT NULL ORDER BY id", emit, |row| {
        Ok(Item::Message {
            id: get::<Flake>(row, "id")?.into(),
            event: row.get("event")?,
            args: row.get("args")?,
            resync: row.get("resync")?,
        })
    })?;
    persons(connection, at, emit)?;
    each(connection, "SELECT * FROM posts ORDER BY rowid", emit, |row| {
        Ok(Item::Post {
            site: row.get("site")?,
            hash: row.get("key")?,
            fingerprint: unsigned(row, "fingerprint")?,
            id: get::<Flake>(row, "id")?.into(),
            at: unsigned(row, "at")?,
        })
    })
}

fn each(
    connection: &Connection,
    sql: &str,
    emit: &mut Emit<'_>,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<Item>,
) -> Result<(), Error> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        emit(read(row)?)?;
    }
    Ok(())
}

fn record(row: &Row<'_>) -> rusqlite::Result<Item> {
    let (offset, json) = (unsigned(row, "offset")?, row.get::<_, Option<String>>("json")?);
    let changed = row.get::<_, Option<i64>>("changed")?.map(i64::cast_unsigned);
    Ok(Item::Record(StoredRecord {
        resource: row.get("resource")?,
        id: get(row, "id")?,
        offset,
        changed: changed.filter(|_| json.is_some()).unwrap_or(offset),
        json,
    }))
}

fn change(row: &Row<'_>) -> rusqlite::Result<Item> {
    Ok(Item::Change(StoredChange {
        resource: row.get("resource")?,
        offset: unsigned(row, "offset")?,
        previous: unsigned(row, "previous")?,
        verb: row.get("verb")?,
        id: get(row, "id")?,
        before: row.get("before")?,
        after: row.get("after")?,
        names: row.get("attributes")?,
        mark: unsigned(row, "mark")?,
        published: row.get("published")?,
        origin: row.get("origin")?,
        at: unsigned(row, "at")?,
    }))
}

fn ledger_entry(row: &Row<'_>) -> rusqlite::Result<Item> {
    Ok(Item::LedgerEntry(StoredLedgerEntry {
        hash: row.get("key")?,
        fingerprint: unsigned(row, "fingerprint")?,
        resource: row.get("resource")?,
        id: get(row, "id")?,
        offset: unsigned(row, "offset")?,
        verb: row.get("verb")?,
        kind: row.get("kind")?,
        at: unsigned(row, "at")?,
    }))
}

fn session(row: &Row<'_>) -> rusqlite::Result<Item> {
    let Json(values): Json<Arc<Attributes>> = row.get("json")?;
    let values: BTreeMap<_, _> =
        values.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    let until = row.get::<_, i64>("until")?;
    let until = (until < i64::MAX).then_some(until.cast_unsigned());
    Ok(Item::Session { id: row.get("id")?, values, until })
}

fn persons(connection: &Connection, at: u64, emit: &mut Emit<'_>) -> Result<(), Error> {
    let mut persons = connection.prepare("SELECT id, site, name FROM persons ORDER BY id")?;
    let mut rows = persons.query(())?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get("id")?;
        let person = StoredPerson {
            site: row.get("site")?,
            name: row.get("name")?,
            deliveries: deliveries(connection, id)?,
            devices: devices(connection, id, at)?,
        };
        if !person.deliveries.is_empty() || !person.devices.is_empty() {
            emit(Item::Person(person))?;
        }
    }
    Ok(())
}

fn deliveries(connection: &Connection, person: i64) -> rusqlite::Result<Vec<StoredDelivery>> {
    let mut statement = connection.prepare_cached(
        "SELECT i.id, i.begun, i.until, i.event, m.resync FROM inbox i JOIN messages m ON m.id = i.id
         WHERE i.person = ?1 ORDER BY i.id",
    )?;
    let read = |row: &Row<'_>| {
        let until = row.get::<_, Option<i64>>("until")?;
        let event: Option<String> = row.get("event")?;
        let resync: bool = row.get("resync")?;
        Ok(StoredDelivery {
            id: get::<Flake>(row, "id")?.into(),
            acked: row.get("begun")?,
            until: until
                .map(|until| if until == i64::MAX { u64::MAX } else { until.cast_unsigned() }),
            event: event.map(|event| (event, resync)),
        })
    };
    statement.query_map([person], read)?.collect()
}

fn devices(connection: &Connection, person: i64, at: u64) -> rusqlite::Result<Vec<StoredDevice>> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM devices WHERE person = ?1 ORDER BY id")?;
    let mut queue = connection.prepare_cached(
        "SELECT i.id FROM inbox i, devices d WHERE i.person = ?1 AND d.id = ?2 AND i.id > d.floor
         AND NOT EXISTS (SELECT 1 FROM acks WHERE acks.device = d.id AND acks.id = i.id)
         ORDER BY i.id",
    )?;
    let mut devices = Vec::new();
    let mut rows = statement.query([person])?;
    while let Some(row) = rows.next()? {
        let (id, ttl): (i64, i64) = (row.get("id")?, row.get("ttl")?);
        let until = row.get::<_, Option<i64>>("until")?;
        let queue = queue.query_map((person, id), |row| row.get(0))?;
        let queue: Vec<Column<Flake>> = queue.collect::<rusqlite::Result<_>>()?;
        devices.push(StoredDevice {
            name: row.get("name")?,
            // A longer one is forever, see `milliseconds` in `queues/person.rs`.
            ttl: if ttl >= i64::MAX / 2 { 0 } else { ttl.cast_unsigned() / 1000 },
            left: until.map_or(at, |until| (until - ttl).cast_unsigned()),
            queue: queue.into_iter().map(|Column(id)| id.into()).collect(),
        });
    }
    Ok(devices)
}
