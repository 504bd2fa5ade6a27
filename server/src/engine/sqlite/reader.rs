//! Reading: a few connections, each read in one transaction.
//!
//! Invariant: what a read returns and the position it returns are of the same snapshot.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, Statement, Transaction};
use tokio::sync::oneshot;
use tokio::task;

use super::prefilter::Prefilter;
use super::{cascades, epochs, list, row, schema};
use crate::change::{Attributes, Change, Id, Position, Resource, Room};
use crate::engine::{Error, Since, Snapshot};
use crate::lock::lock;

/// Reads at a time. They are short and from memory mostly; more would only take turns.
const CONNECTIONS: usize = 4;

/// The connections that are open for reading.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    desk: Arc<Desk>,
}

/// Where readers get their work. One that has begun goes on until there is none: a thread that is asleep is
/// expensive to wake, and so is who waits for its turn.
#[derive(Debug, Default)]
struct Desk(Mutex<Papers>);

#[derive(Default)]
struct Papers {
    waiting: VecDeque<Job>,
    idle: Vec<Connection>,
    /// Readers that have begun.
    busy: usize,
}

/// Something to read, which answers by itself.
type Job = Box<dyn FnOnce(Result<&mut Connection, Error>) + Send>;

impl Readers {
    /// None is opened before it is needed.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), desk: Arc::default() }
    }

    /// Reads in a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let value = connection.and_then(|connection| {
                Ok(connection.transaction().and_then(|snapshot| read(&snapshot))?)
            });
            // Whoever asked may not wait for it any more.
            let _ = answer.send(value);
        });
        if self.desk.leaves_to_a_new_reader(job) {
            let (path, desk) = (self.path.clone(), Arc::clone(&self.desk));
            task::spawn_blocking(move || desk.work(&path));
        }
        let failed = |_| Error::Unavailable("a reader has failed".to_owned());
        outcome.await.map_err(failed)?
    }
}

impl Desk {
    /// Whether there may be one reader more to do it.
    fn leaves_to_a_new_reader(&self, job: Job) -> bool {
        let mut papers = self.papers();
        papers.waiting.push_back(job);
        let is_room = papers.busy < CONNECTIONS;
        papers.busy += usize::from(is_room);
        is_room
    }

    /// Does what there is to do.
    fn work(&self, path: &Path) {
        let mut own = None;
        while let Some(job) = self.next(&mut own) {
            let opened = own.take().map_or_else(|| schema::open_reader(path), Ok);
            let read = AssertUnwindSafe(|| match opened {
                Ok(mut connection) => {
                    job(Ok(&mut connection));
                    Some(connection)
                }
                Err(error) => {
                    job(Err(error.into()));
                    None
                }
            });
            // A connection whose reader panicked is gone, and its asker told by the answer that is, too.
            own = catch_unwind(read).ok().flatten();
        }
    }

    /// What is to be done next. Where there is nothing the reader ends, and leaves its connection here.
    fn next(&self, own: &mut Option<Connection>) -> Option<Job> {
        let mut papers = self.papers();
        let job = papers.waiting.pop_front();
        match job {
            Some(_) if own.is_none() => *own = papers.idle.pop(),
            Some(_) => {}
            None => {
                papers.idle.extend(own.take());
                papers.busy -= 1;
            }
        }
        job
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        lock(&self.0)
    }
}

impl fmt::Debug for Papers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, busy) = (self.waiting.len(), self.busy);
        f.debug_struct("Papers").field("waiting", &waiting).field("busy", &busy).finish()
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
    let cascades = cascades::of(snapshot, prefilter.resource)?;
    Ok(Snapshot { value: list::resolved(snapshot, prefilter, &cascades)?, position })
}

fn unwrap(row::Json(record): row::Json<Arc<Attributes>>) -> Arc<Attributes> {
    record
}

/// The name of the primary key, by resource. Resources without any written record are left out.
pub(super) fn keys(snapshot: &Transaction<'_>) -> rusqlite::Result<HashMap<Resource, String>> {
    let mut statement = snapshot
        .prepare_cached("SELECT name, key_name FROM resources WHERE key_name IS NOT NULL")?;
    let keys = statement.query_map((), |row| Ok((row.get("name")?, row.get("key_name")?)))?;
    keys.collect()
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
        "SELECT json, coalesce(changed, offset) AS changed FROM records
         WHERE resource = ?1 AND id = ?2 AND json IS NOT NULL",
    )?;
    let record = statement.query_row((resource, id), |row| {
        Ok((unwrap(row.get("json")?), row::unsigned(row, "changed")?))
    });
    let cascades = cascades::of(snapshot, resource)?;
    let value = record.optional()?.and_then(|(record, changed)| cascades.resolve(record, changed));
    Ok(Snapshot { value, position })
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
    let is_reached =
        counters.reaches(position.offset) && epochs::is_valid(snapshot, resource, position, epoch)?;
    if !is_reached {
        return Ok(Since::OutOfReach);
    }
    let position = Position { epoch, ..position };
    let changes = match &room.id {
        None => class_since(snapshot, resource, position)?,
        Some(id) => instance_since(snapshot, resource, id, position)?,
    };
    Ok(Since::Changes { changes, head: counters.position(epoch) })
}

/// Whether the log has everything after each of these positions.
pub(super) fn reaches(
    snapshot: &Transaction<'_>,
    epoch: u64,
    resource: &Resource,
    positions: &[Position],
) -> rusqlite::Result<Vec<bool>> {
    let counters = row::counters(snapshot, resource)?;
    let is_reached = |position: &Position| {
        Ok(counters.reaches(position.offset)
            && epochs::is_valid(snapshot, resource, *position, epoch)?)
    };
    positions.iter().map(is_reached).collect()
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

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_that_panics_takes_nobody_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backwire.db");
        Connection::open(&path).unwrap();
        let readers = Arc::new(Readers::new(&path));
        let reads = (0..100).map(|n: i64| {
            let readers = Arc::clone(&readers);
            tokio::spawn(async move {
                let read = move |snapshot: &Transaction<'_>| {
                    assert_ne!(n % 10, 7, "a mistake");
                    snapshot.query_row("SELECT ?1", [n], |row| row.get::<_, i64>(0))
                };
                (n, readers.read(read).await)
            })
        });
        for read in reads.collect::<Vec<_>>() {
            match read.await.unwrap() {
                (n, Ok(value)) => assert!(value == n && n % 10 != 7),
                (n, Err(_)) => assert_eq!(n % 10, 7),
            }
        }
        assert!(readers.desk.papers().idle.len() <= CONNECTIONS);
    }

    #[tokio::test]
    async fn a_file_that_can_not_be_opened_is_unavailable_each_time() {
        let readers = Readers::new(Path::new("/nowhere/backwire.db"));
        for _ in 0..2 * CONNECTIONS {
            assert!(matches!(readers.read(|_| Ok(())).await, Err(Error::Unavailable(_))));
        }
    }
}
