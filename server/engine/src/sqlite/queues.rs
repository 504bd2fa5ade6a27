//! Queues in the file.
//!
//! A message is one row, and the delivery to each person is one row in `inbox`. A device adds rows
//! only where it differs from the others: it has acked all deliveries up to its `floor`, and `acks`
//! has the later ones that it has acked. A row of the inbox is deleted with the last device that
//! waits for it, and a message with its last row: triggers count them.

mod person;
mod waiting;

use std::collections::BTreeSet;
use std::sync::Arc;

use backwire_records::messages::flake::{Flake, Node};
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Ttl;
use backwire_records::write::Key;
use rusqlite::{Connection, OptionalExtension, Result};

use super::row::{self, Json};
use crate::ledger::{Entry, KeyHash};
use crate::queues::{Ack, AckOutcome, Device, Enqueue, Enqueued, MAX_EXPIRED_PER_STEP};
use crate::sqlite::row::{Column, get};
use crate::{Error, Window};
use person::Person;

pub(super) use waiting::waiting;

/// A step of the queues.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Begin(Node),
    Enqueue(Enqueue),
    Connect(Device, Ttl, usize),
    Disconnect(Device),
    Ack(Device, Ack),
}

/// The outcome of a step.
#[derive(Debug)]
pub(super) enum StepOutcome {
    Begun,
    Enqueued(Enqueued),
    Connected(Option<Flake>),
    Disconnected,
    Acked(AckOutcome),
}

/// Runs a step. `last` is the last id that was created, and is changed by steps that create one.
pub(super) fn run_step(
    connection: &Connection,
    step: Step,
    at: u64,
    last: &mut Flake,
    window: &Window,
) -> Result<StepOutcome, Error> {
    Ok(match step {
        Step::Begin(node) => {
            *last = last.next_by(node, at);
            person::disconnect_all(connection, at)?;
            StepOutcome::Begun
        }
        Step::Enqueue(post) => StepOutcome::Enqueued(enqueue(connection, &post, last, window)?),
        Step::Connect(device, ttl, max_devices) => {
            let person = Person::find_or_create(connection, &device.site, &device.person, at)?;
            let has_room = person.connect(&device.name, ttl, max_devices, *last)?;
            if !has_room {
                // The person may have been created for nothing.
                person.forget(at)?;
            }
            StepOutcome::Connected(has_room.then_some(*last))
        }
        Step::Disconnect(device) => {
            if let Some(person) = Person::find(connection, &device.site, &device.person, at)? {
                person.disconnect(&device.name, at)?;
            }
            StepOutcome::Disconnected
        }
        Step::Ack(device, acked) => StepOutcome::Acked(ack(connection, &device, acked, at, last)?),
    })
}

/// Drops some expired devices and deliveries, after this many steps.
pub(super) fn forget(connection: &Connection, steps: u32, at: u64) -> Result<()> {
    let due = steps * MAX_EXPIRED_PER_STEP;
    for table in ["devices", "inbox"] {
        let sql = format!("SELECT person FROM {table} WHERE until <= ?1 ORDER BY until LIMIT ?2");
        let persons: Vec<i64> = connection
            .prepare_cached(&sql)?
            .query_map((at.cast_signed(), due), |row| row.get("person"))?
            .collect::<Result<_>>()?;
        for id in BTreeSet::from_iter(persons) {
            Person { connection, id }.forget(at)?;
        }
    }
    Ok(())
}

/// Returns the last id that was created.
pub(super) fn last(connection: &Connection) -> Result<Flake> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM meta WHERE name = 'last_flake'")?;
    Ok(statement.query_row([], |row| get(row, "value")).optional()?.unwrap_or_default())
}

pub(super) fn store_last(connection: &Connection, last: Flake) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES ('last_flake', ?1)
             ON CONFLICT (name) DO UPDATE SET value = ?1",
        )?
        .execute([Column(&last)])?;
    Ok(())
}

fn enqueue(
    connection: &Connection,
    post: &Enqueue,
    last: &mut Flake,
    window: &Window,
) -> Result<Enqueued, Error> {
    let cutoff = window.ledger_cutoff(post.at);
    if let Some(key) = &post.key
        && let Some(entry) = recall(connection, &post.site, key, cutoff)?
    {
        return Ok(Enqueued { id: entry.answer(key)?, repeated: true });
    }
    *last = last.next(post.at);
    let id = *last;
    if let Some(key) = &post.key {
        remember(connection, post, key, id, cutoff)?;
    }
    if !post.persons.is_empty() {
        store_message(connection, id, Some(&post.message))?;
    }
    let mut persons = Vec::with_capacity(post.persons.len());
    for name in BTreeSet::from_iter(&post.persons) {
        let person = Person::find_or_create(connection, &post.site, name, post.at)?;
        person.add(id, Some(&post.message.event), post.ttl.end(post.at))?;
        persons.push(person);
    }
    // Only after all have it: otherwise the message would be deleted with the only person who has
    // it.
    for person in persons {
        if person.waiting()? > post.cap {
            drop_furthest_behind(&person, post, last)?;
        }
    }
    Ok(Enqueued { id, repeated: false })
}

fn drop_furthest_behind(person: &Person<'_>, post: &Enqueue, last: &mut Flake) -> Result<()> {
    *last = last.next(post.at);
    store_message(person.connection, *last, None)?;
    if !person.is_known()? {
        person.clear()?;
        return person.add(*last, None, post.ttl.end(post.at));
    }
    let behind = person.furthest_behind()?;
    for device in &behind {
        person.clear_queue(*device)?;
    }
    person.drop_unawaited()?;
    person.add_resync(&behind, *last)
}

fn ack(
    connection: &Connection,
    device: &Device,
    acked: Ack,
    at: u64,
    last: &mut Flake,
) -> Result<AckOutcome> {
    let Some(person) = Person::find(connection, &device.site, &device.person, at)? else {
        return Ok(AckOutcome::Removed);
    };
    let Some(device) = person.device(&device.name)? else { return Ok(AckOutcome::Removed) };
    let id = match acked {
        Ack::One(id) => id,
        Ack::Batch(ids) => {
            person.remove_from_queue(device, &ids)?;
            return Ok(AckOutcome::Removed);
        }
    };
    let Some(lost) = person.lost_by(device, id)? else {
        person.remove_from_queue(device, &[id])?;
        return Ok(AckOutcome::Removed);
    };
    person.remove_from_queue(device, &lost)?;
    *last = last.next(at);
    store_message(connection, *last, None)?;
    person.add_resync(&[device], *last)?;
    Ok(AckOutcome::Resync(*last))
}

/// Stores a message; `None` is a resync.
fn store_message(connection: &Connection, id: Flake, message: Option<&Arc<Message>>) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO messages (id, event, args, resync) VALUES (?1, ?2, ?3, ?4)")?
        .execute((
            Column(&id),
            message.map(|message| &message.event),
            message.map(|message| Json(&message.args)),
            message.is_some_and(|message| message.resync),
        ))?;
    Ok(())
}

fn recall(
    connection: &Connection,
    site: &str,
    key: &Key,
    cutoff: u64,
) -> Result<Option<Entry<Flake>>> {
    connection
        .prepare_cached("SELECT * FROM posts WHERE site = ?1 AND key = ?2 AND at >= ?3")?
        .query_row((site, KeyHash::from(key), cutoff.cast_signed()), |row| {
            Ok(Entry { fingerprint: row::unsigned(row, "fingerprint")?, outcome: get(row, "id")? })
        })
        .optional()
}

/// Stores a key. Replaces an expired entry that is not dropped yet.
fn remember(
    connection: &Connection,
    post: &Enqueue,
    key: &Key,
    id: Flake,
    cutoff: u64,
) -> Result<()> {
    super::forget::post(connection, cutoff)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO posts (site, key, fingerprint, id, at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((
            &post.site,
            KeyHash::from(key),
            key.fingerprint.cast_signed(),
            Column(&id),
            post.at.cast_signed(),
        ))?;
    Ok(())
}
