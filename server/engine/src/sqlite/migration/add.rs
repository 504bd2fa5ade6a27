//! Adds items to an empty file.

use backwire_records::change::{Id, Resource};
use backwire_records::messages::flake::Flake;
use rusqlite::{Connection, Error, Result};
use serde_json::Value;

use super::super::queues;
use super::super::row::Column;
use crate::counters::CHANGE_BYTES;
use crate::ledger;
use crate::migration::item::{
    Item, StoredChange, StoredDelivery, StoredDevice, StoredLedgerEntry, StoredPerson, StoredRecord,
};

/// Adds an item.
pub(super) fn item(connection: &Connection, item: Item) -> Result<()> {
    match item {
        Item::Secret(secret) => execute(
            connection,
            "UPDATE meta SET value = ?1 WHERE name = 'session_secret'",
            [&secret[..]],
        ),
        Item::LastDelivery(id) => queues::store_last(connection, id.into()),
        Item::Epoch { number, epoch } => execute(
            connection,
            "INSERT INTO epochs (number, epoch) VALUES (?1, ?2)",
            (number.cast_signed(), epoch.cast_signed()),
        ),
        Item::Resource { name, head, floor, next_id, key } => execute(
            connection,
            "INSERT INTO resources (name, head, floor, next_id, moved, key_name)
             VALUES (?1, ?2, ?3, ?4, ?2, ?5)",
            (name, head.cast_signed(), floor.cast_signed(), next_id, key),
        ),
        Item::FirstOffset { resource, number, first } => execute(
            connection,
            "INSERT INTO first_offsets (resource, number, first) VALUES (?1, ?2, ?3)",
            (resource, number.cast_signed(), first.cast_signed()),
        ),
        Item::Record(record) => add_record(connection, record),
        Item::Change(change) => add_change(connection, change),
        Item::LedgerEntry(entry) => add_ledger_entry(connection, entry),
        Item::Cascade { resource, attribute, id, until, is_pair, origin } => execute(
            connection,
            "INSERT INTO cascades (holder, attribute, id, until, is_pair, origin)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (resource, attribute, Column(&id), until.cast_signed(), is_pair, origin),
        ),
        Item::Session { id, values, until } => {
            let values = values.into_iter().map(|(name, value)| {
                let value = serde_json::from_str::<Value>(&value);
                Ok((name, value.map_err(|error| Error::ToSqlConversionFailure(error.into()))?))
            });
            let json = Value::Object(values.collect::<Result<_>>()?).to_string();
            let until = until.map_or(i64::MAX, u64::cast_signed);
            let sql = "INSERT INTO sessions (id, json, until) VALUES (?1, ?2, ?3)";
            execute(connection, sql, (id, json, until))
        }
        Item::Message { id, event, args, resync } => execute(
            connection,
            "INSERT INTO messages (id, event, args, resync) VALUES (?1, ?2, ?3, ?4)",
            (Column(&Flake::from(id)), event, args, resync),
        ),
        Item::Person(person) => add_person(connection, person),
        Item::Post { site, hash, fingerprint, id, at } => execute(
            connection,
            "INSERT INTO posts (site, key, fingerprint, id, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            (site, hash, fingerprint.cast_signed(), Column(&Flake::from(id)), at.cast_signed()),
        ),
    }
}

/// Stores the counts and sizes of what was added.
pub(super) fn totals(connection: &Connection) -> Result<()> {
    execute(
        connection,
        "UPDATE resources SET
            records = (SELECT count(*) FROM records WHERE resource = name AND json IS NOT NULL),
            log_bytes = (SELECT ifnull(sum(?1 + octet_length(attributes) + ifnull(octet_length(before), 0)
                                           + ifnull(octet_length(after), 0)), 0)
                         FROM log WHERE resource = name AND offset > floor)",
        [CHANGE_BYTES.cast_signed()],
    )
}

fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<()> {
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

fn add_record(connection: &Connection, record: StoredRecord) -> Result<()> {
    let StoredRecord { resource, id, offset, changed, json } = record;
    let changed = (changed != offset).then_some(changed.cast_signed());
    execute(
        connection,
        "INSERT INTO records (resource, id, offset, json, changed) VALUES (?1, ?2, ?3, ?4, ?5)",
        (resource, Column(&id), offset.cast_signed(), json, changed),
    )
}

fn add_change(connection: &Connection, change: StoredChange) -> Result<()> {
    let StoredChange { resource, offset, previous, verb, id, before, after, .. } = change;
    let StoredChange { names, mark, published, origin, at, .. } = change;
    execute(
        connection,
        "INSERT INTO log (resource, offset, previous, verb, id, before, after, attributes, mark,
                          published, origin, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        (
            resource,
            offset.cast_signed(),
            previous.cast_signed(),
            verb,
            Column(&id),
            before,
            after,
            names,
            mark.cast_signed(),
            published,
            origin,
            at.cast_signed(),
        ),
    )
}

fn add_ledger_entry(connection: &Connection, entry: StoredLedgerEntry) -> Result<()> {
    let StoredLedgerEntry { hash, fingerprint, resource, id, offset, verb, kind, at } = entry;
    let bytes = ledger::bytes(&Resource::internal(&resource), &id);
    execute(
        connection,
        "INSERT INTO ledger (key, fingerprint, resource, id, offset, verb, kind, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            hash,
            fingerprint.cast_signed(),
            resource,
            Column::<&Id>(&id),
            offset.cast_signed(),
            verb,
            kind,
            at.cast_signed(),
        ),
    )?;
    execute(
        connection,
        "UPDATE meta SET value = value + ?1 WHERE name = 'ledger_bytes'",
        [bytes.cast_signed()],
    )
}

fn add_person(connection: &Connection, person: StoredPerson) -> Result<()> {
    let StoredPerson { site, name, deliveries, devices } = person;
    let person = connection
        .prepare_cached("INSERT INTO persons (site, name) VALUES (?1, ?2)")?
        .insert((site, name))?;
    for delivery in &deliveries {
        add_delivery(connection, person, delivery)?;
    }
    for device in devices {
        add_device(connection, person, &deliveries, &device)?;
    }
    Ok(())
}

fn add_delivery(connection: &Connection, person: i64, delivery: &StoredDelivery) -> Result<()> {
    let StoredDelivery { id, acked, until, event } = delivery;
    let id = Flake::from(*id);
    if event.is_none() {
        let sql = "INSERT OR IGNORE INTO messages (id, resync) VALUES (?1, FALSE)";
        execute(connection, sql, [Column(&id)])?;
    }
    let until = until.map(|until| i64::try_from(until).unwrap_or(i64::MAX));
    execute(
        connection,
        "INSERT INTO inbox (person, id, event, begun, until) VALUES (?1, ?2, ?3, ?4, ?5)",
        (person, Column(&id), event.as_ref().map(|(event, _)| event), acked, until),
    )
}

fn add_device(
    connection: &Connection,
    person: i64,
    deliveries: &[StoredDelivery],
    device: &StoredDevice,
) -> Result<()> {
    let StoredDevice { name, ttl, left, queue } = device;
    // The device is done with all deliveries before the first that waits for it.
    let floor = match queue.first() {
        Some(first) => first.saturating_sub(1),
        None => deliveries.last().map_or(0, |last| last.id),
    };
    let ttl = match ttl {
        0 => i64::MAX / 2,
        ttl => i64::try_from(ttl.saturating_mul(1000)).unwrap_or(i64::MAX).min(i64::MAX / 2),
    };
    let until = left.cast_signed().saturating_add(ttl);
    let device = connection
        .prepare_cached(
            "INSERT INTO devices (person, name, sockets, ttl, until, floor) VALUES (?1, ?2, 0, ?3, ?4, ?5)",
        )?
        .insert((person, name, ttl, until, Column(&Flake::from(floor))))?;
    let done = deliveries.iter().filter(|it| it.id > floor && queue.binary_search(&it.id).is_err());
    for delivery in done {
        let sql = "INSERT INTO acks (device, id) VALUES (?1, ?2)";
        execute(connection, sql, (device, Column(&Flake::from(delivery.id))))?;
    }
    Ok(())
}
