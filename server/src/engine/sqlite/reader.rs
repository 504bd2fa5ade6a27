//! Reading: a few connections, each read in one transaction.
//!
//! Invariant: what a read returns and the position it returns are of the same snapshot.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension, Statement, Transaction};
use tokio::sync::Semaphore;
use tokio::task;

use super::prefilter::Prefilter;
use super::{list, row, schema};
use crate::change::{Attributes, Change, Id, Position, Resource, Room};
use crate::engine::{Error, Since, Snapshot};
use crate::lock::lock;

/// Reads at a time. They are short and from memory mostly; more would only take turns.
const CONNECTIONS: usize = 4;

/// The connections that are open for reading.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// None is opened before it is needed.
    pub(super) fn new(path: &Path) -> Self {
        let turns = Arc::new(Semaphore::new(CONNECTIONS));
        Self { path: path.to_owned(), turns, idle: Arc::default() }
    }

    /// Reads in a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let reading = task::spawn_blocking(move || {
            let waiting = lock(&idle).pop();
            let mut connection = match waiting {
                Some(connection) => connection,
                None => schema::open_reader(&path)?,
            };
            let value = connection.transaction().and_then(|snapshot| read(&snapshot));
            lock(&idle).push(connection);
            // Given up here and not by the caller, who may not wait for us.
            drop(turn);
            Ok(value?)
        });
        reading.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }
}

/// How long a statement may be to be kept for the next who needs it. There is no end of different ones, and
/// those that are long take room.
const KEPT: usize = 2048;

/// Does something with a statement.
pub(super) fn prepared<T>(
    snapshot: &Transaction<'_>,
    sql: &str,
    run: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    match sql.len() {
        ..=KEPT => run(&mut *snapshot.prepare_cached(sql)?),
        _ => run(&mut snapshot.prepare(sql)?),
    }
}

/// The records of a resource that the criteria pick.
pub(super) fn find(
    snapshot: &Transaction<'_>,
    epoch: u64,
    prefilter: Prefilter<'_>,
) -> rusqlite::Result<Snapshot<Vec<Arc<Attributes>>>> {
    let position = row::counters(snapshot, prefilter.resource)?.position(epoch);
    Ok(Snapshot { value: list::read(snapshot, prefilter)?, position })
}

fn unwrap(row::Json(record): row::Json<Arc<Attributes>>) -> Arc<Attributes> {
    record
}

/// One record.
pub(super) fn find_one(
    snapshot: &Transaction<'_>,
    epoch: u64,
    resource: &Resource,
    id: &Id,
) -> rusqlite::Result<Snapshot<Option<Arc<Attributes>>>> {
    let position = row::counters(snapshot, resource)?.position(epoch);
    let mut statement = snapshot.prepare_cached(
        "SELECT json FROM records WHERE resource = ?1 AND id = ?2 AND json IS NOT NULL",
    )?;
    let record = statement.query_row((resource, id), |row| row.get("json").map(unwrap));
    Ok(Snapshot { value: record.optional()?, position })
}

/// What happened in a room.
pub(super) fn since(
    snapshot: &Transaction<'_>,
    epoch: u64,
    room: &Room,
    position: Position,
) -> rusqlite::Result<Since> {
    let resource = &room.resource;
    let counters = row::counters(snapshot, resource)?;
    if !counters.reaches(epoch, position) {
        return Ok(Since::OutOfReach);
    }
    let changes = match &room.id {
        None => class_since(snapshot, resource, position)?,
        Some(id) => instance_since(snapshot, resource, id, position)?,
    };
    Ok(Since::Changes { changes, head: counters.position(epoch) })
}

fn class_since(
    snapshot: &Transaction<'_>,
    resource: &Resource,
    position: Position,
) -> rusqlite::Result<Vec<Arc<Change>>> {
    snapshot
        .prepare_cached("SELECT * FROM log WHERE resource = ?1 AND offset > ?2 ORDER BY offset")?
        .query_and_then((resource, position.offset.cast_signed()), |row| {
            row::change(row, position.epoch, resource)
        })?
        .collect()
}

/// Goes back from the record's last change, from each to the one before it.
fn instance_since(
    snapshot: &Transaction<'_>,
    resource: &Resource,
    id: &Id,
    position: Position,
) -> rusqlite::Result<Vec<Arc<Change>>> {
    let last: Option<i64> = snapshot
        .prepare_cached("SELECT offset FROM records WHERE resource = ?1 AND id = ?2")?
        .query_row((resource, id), |row| row.get("offset"))
        .optional()?;
    let mut statement =
        snapshot.prepare_cached("SELECT * FROM log WHERE resource = ?1 AND offset = ?2")?;
    let mut changes = VecDeque::new();
    let mut offset = last.map_or(0, i64::cast_unsigned);
    while offset > position.offset {
        let change = statement.query_row((resource, offset.cast_signed()), |row| {
            row::change(row, position.epoch, resource)
        })?;
        offset = change.previous;
        changes.push_front(change);
    }
    Ok(changes.into())
}
