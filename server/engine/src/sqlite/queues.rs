//! Queues in the file.
//!
//! A message is one row, and so is each person's part in it, in `inbox`. A device adds rows only where it
//! differs from the others: all that is up to its `floor` it is done with, and `acks` are what it is done
//! with beyond. A row of the inbox goes with the last device that waits for it and a message with the last
//! row: triggers count.

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
use crate::ledger::Entry;
use crate::queues::{Acked, Device, FORGOTTEN_PER_STEP, Outcome, Post, Posted};
use crate::sqlite::row::{Column, get};
use crate::{Error, Window};
use person::Person;

pub(super) use waiting::waiting;

/// Something that happens to queues.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Begin(Node),
    Post(Post),
    Connect(Device, Ttl, usize),
    Disconnect(Device),
    Ack(Device, Acked),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Begun,
    Posted(Posted),
    Connected(Option<Flake>),
    Disconnected,
    Acked(Outcome),
}

/// Does a step. The last id that was drawn is changed by those who draw one.
pub(super) fn take(
    connection: &Connection,
    step: Step,
    at: u64,
    last: &mut Flake,
    window: &Window,
) -> Result<Done, Error> {
    Ok(match step {
        Step::Begin(node) => {
            *last = last.next_by(node, at);
            person::everybody_leaves(connection, at)?;
            Done::Begun
        }
        Step::Post(post) => Done::Posted(self::post(connection, &post, last, window)?),
        Step::Connect(device, ttl, most) => {
            let person = Person::met(connection, &device.site, &device.person, at)?;
            let has_room = person.connect(&device.name, ttl, most, *last)?;
            if !has_room {
                // It may have been met for nothing.
                person.forget(at)?;
            }
            Done::Connected(has_room.then_some(*last))
        }
        Step::Disconnect(device) => {
            if let Some(person) = Person::known(connection, &device.site, &device.person, at)? {
                person.disconnect(&device.name, at)?;
            }
            Done::Disconnected
        }
        Step::Ack(device, acked) => Done::Acked(ack(connection, &device, acked, at, last)?),
    })
}

/// Forgets some of what is due, after so many steps.
pub(super) fn forget(connection: &Connection, steps: u32, at: u64) -> Result<()> {
    let due = steps * FORGOTTEN_PER_STEP;
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

/// The last id that was drawn.
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

fn post(
    connection: &Connection,
    post: &Post,
    last: &mut Flake,
    window: &Window,
) -> Result<Posted, Error> {
    let cutoff = window.ledger_cutoff(post.at);
    if let Some(key) = &post.key
        && let Some(entry) = recall(connection, &post.site, key, cutoff)?
    {
        return Ok(Posted { id: entry.answer(key)?, repeated: true });
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
        let person = Person::met(connection, &post.site, name, post.at)?;
        person.add(id, Some(&post.message.event), post.ttl.end(post.at))?;
        persons.push(person);
    }
    // Not before all have it: the message would go with the only person who had it until then.
    for person in persons {
        if person.waiting()? > post.cap {
            drop_furthest_behind(&person, post, last)?;
        }
    }
    Ok(Posted { id, repeated: false })
}

fn drop_furthest_behind(person: &Person<'_>, post: &Post, last: &mut Flake) -> Result<()> {
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
    person.tell_to_start_over(&behind, *last)
}

fn ack(
    connection: &Connection,
    device: &Device,
    acked: Acked,
    at: u64,
    last: &mut Flake,
) -> Result<Outcome> {
    let Some(person) = Person::known(connection, &device.site, &device.person, at)? else {
        return Ok(Outcome::Removed);
    };
    let Some(device) = person.device(&device.name)? else { return Ok(Outcome::Removed) };
    let id = match acked {
        Acked::One(id) => id,
        Acked::Batch(ids) => {
            person.leave_queue(device, &ids)?;
            return Ok(Outcome::Removed);
        }
    };
    let Some(lost) = person.lost_by(device, id)? else {
        person.leave_queue(device, &[id])?;
        return Ok(Outcome::Removed);
    };
    person.leave_queue(device, &lost)?;
    *last = last.next(at);
    store_message(connection, *last, None)?;
    person.tell_to_start_over(&[device], *last)?;
    Ok(Outcome::Resync(*last))
}

/// Stores what is said: by a message, or that something was dropped unread.
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
        .prepare_cached(
            "SELECT * FROM posts WHERE site = ?1 AND identity = ?2 AND key = ?3 AND at >= ?4",
        )?
        .query_row((site, &key.identity, &key.key, cutoff.cast_signed()), |row| {
            Ok(Entry { fingerprint: row::unsigned(row, "fingerprint")?, outcome: get(row, "id")? })
        })
        .optional()
}

/// Replaces an entry that was forgotten but not dropped yet.
fn remember(connection: &Connection, post: &Post, key: &Key, id: Flake, cutoff: u64) -> Result<()> {
    super::forget::post(connection, cutoff)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO posts (site, identity, key, fingerprint, id, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            &post.site,
            &key.identity,
            &key.key,
            key.fingerprint.cast_signed(),
            Column(&id),
            post.at.cast_signed(),
        ))?;
    Ok(())
}
