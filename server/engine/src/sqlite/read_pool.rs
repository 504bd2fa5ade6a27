//! The pool of threads and connections that read.
//!
//! A list may take long, so lists leave one reader to short reads: those of one record, health
//! checks, sessions. The short reads of clients take turns. The lists of one client leave a reader
//! to the lists of others. If several clients wait, the one with the fewest readers comes first,
//! and of these the one that has waited longest since its last list began.
//!
//! A read whose future is dropped is taken out of the queue, or interrupted.
//!
//! Lists that overlap all the time keep SQLite from restarting the write-ahead log. So a checkpoint
//! can [pause](ReadPool::pause_lists) them.

mod short_reads;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backwire_environment::HashMap;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::{Connection, Transaction};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::control::ReadControl;
use super::disk_failure::keep_log;
use super::schema;
use crate::{Error, ReadOptions};
use short_reads::ShortReads;

/// The maximum number of concurrent lists. Most are short and from memory, so more of them would
/// only compete.
const MAX_LISTS: usize = 4;

/// The maximum number of concurrent lists of one client.
const MAX_LISTS_PER_CLIENT: usize = MAX_LISTS - 1;

/// The maximum number of concurrent reads.
const MAX_CONNECTIONS: usize = MAX_LISTS + 1;

/// After this many steps of a statement, SQLite calls the progress handler. One step may search a
/// text.
const PROGRESS_STEPS: i32 = 100;

/// The pool of readers.
#[derive(Debug, Clone)]
pub(super) struct ReadPool {
    path: PathBuf,
    deadline: Duration,
    queue: Arc<ReadQueue>,
    /// The runtime on which readers run.
    runtime: Handle,
}

/// The queue of reads. A reader that has begun continues until the queue is empty, because it is
/// expensive to wake a thread for each read.
#[derive(Debug, Default)]
struct ReadQueue {
    state: Mutex<State>,
    /// Notified when the last list ends while lists are paused.
    lists_ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of the next read.
    next: u64,
    short: ShortReads<Job>,
    /// By client, in the order of their arrival.
    lists: HashMap<Option<IpAddr>, BTreeMap<u64, Job>>,
    /// The last turn of each client that has lists. A client that waits always would otherwise come
    /// before one that has just arrived.
    turns: HashMap<Option<IpAddr>, u64>,
    /// The number of turns so far.
    turn: u64,
    reading: Vec<RunningList>,
    /// Whether lists are paused, see [`ReadPool::pause_lists`].
    are_lists_paused: bool,
    idle: Vec<Connection>,
    /// Whether the log stays when the connections are closed.
    keeps_log: bool,
    /// The number of readers that have begun.
    busy: usize,
}

/// A list that is being read.
struct RunningList {
    number: u64,
    client: Option<IpAddr>,
    /// Whether it began before lists were paused, so that the pause waits for it.
    is_awaited: bool,
}

/// A read, which sends its own answer.
type Job = Box<dyn FnOnce(Result<&mut Connection, Error>) + Send>;

/// The kind of a read, which decides how many may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A short read for a client, or for the server itself.
    Short(Option<IpAddr>),
    /// A list for a client, or for the server itself.
    List(Option<IpAddr>),
}

impl ReadPool {
    /// Returns a pool. It opens connections when they are first needed. `deadline` limits each
    /// read. It needs a tokio runtime.
    pub(super) fn new(path: &Path, deadline: Duration) -> Self {
        let runtime = Handle::current();
        Self { path: path.to_owned(), deadline, queue: Arc::default(), runtime }
    }

    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Does a short read of the server itself, in a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.read_for(None, read).await
    }

    /// The same for a client.
    pub(super) async fn read_for<T: Send + 'static>(
        &self,
        client: Option<IpAddr>,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let options = &ReadOptions::default();
        self.run(Kind::Short(client), self.deadline, options, |snapshot, _| read(snapshot)).await
    }

    /// Does a read of the server itself, which has no deadline.
    pub(super) async fn read_all<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (kind, options) = (Kind::List(None), &ReadOptions::default());
        self.run(kind, Duration::MAX, options, |snapshot, _| read(snapshot)).await
    }

    /// Does a read that may be long.
    pub(super) async fn read_list<T: Send + 'static>(
        &self,
        options: &ReadOptions,
        read: impl FnOnce(&Transaction<'_>, &ReadControl) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(Kind::List(options.client), self.deadline, options, read).await
    }

    async fn run<T: Send + 'static>(
        &self,
        kind: Kind,
        deadline: Duration,
        options: &ReadOptions,
        read: impl FnOnce(&Transaction<'_>, &ReadControl) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, outcome) = oneshot::channel();
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (options, flag) = (options.clone(), Arc::clone(&is_cancelled));
        let job: Job = Box::new(move |connection| {
            let control = Arc::new(ReadControl::begin(deadline, &options, flag));
            let value = connection.and_then(|connection| run_read(connection, &control, read));
            options.time.spend(control.finish());
            // They may hold a claim of memory, which the caller expects to have back.
            drop((control, options));
            // The caller may have stopped waiting.
            let _ = answer.send(value);
        });
        let (number, is_room) = self.queue.push(kind, job);
        let _waiting = Waiting { queue: &self.queue, kind, number, is_cancelled };
        if is_room {
            self.spawn_reader();
        }
        let failed = |_| Error::Unavailable("a reader has failed".to_owned());
        outcome.await.map_err(failed)?
    }

    /// Starts a reader that `busy` counts already.
    fn spawn_reader(&self) {
        let (path, queue) = (self.path.clone(), Arc::clone(&self.queue));
        drop(self.runtime.spawn_blocking(move || queue.work(&path)));
    }

    /// Lets the log stay when the connections are closed.
    pub(super) fn keep_log(&self) {
        let mut state = self.queue.state();
        state.keeps_log = true;
        state.idle.iter().for_each(keep_log);
    }

    /// Pauses lists until the result is dropped. Clients whose lists are being read begin no
    /// others. When those lists have ended, no client begins one. So other clients do not wait for
    /// the long lists of one client.
    pub(super) fn pause_lists(&self) -> PausedLists<'_> {
        let mut state = self.queue.state();
        state.are_lists_paused = true;
        state.reading.iter_mut().for_each(|list| list.is_awaited = true);
        PausedLists(self)
    }
}

#[cfg(test)]
impl ReadPool {
    /// Whether a checkpoint has paused lists.
    pub(super) fn are_lists_paused(&self) -> bool {
        self.queue.state().are_lists_paused
    }
}

/// A pause of lists, which ends when this is dropped.
pub(super) struct PausedLists<'p>(&'p ReadPool);

impl PausedLists<'_> {
    /// Waits until no list is being read. Returns `false` if one still is after this time.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let queue = &self.0.queue;
        let are_read = |state: &mut State| !state.reading.is_empty();
        !queue.lists_ended.wait_while_for(&mut queue.state(), are_read, at_most).timed_out()
    }
}

impl Drop for PausedLists<'_> {
    fn drop(&mut self) {
        let mut state = self.0.queue.state();
        state.are_lists_paused = false;
        let waiting: usize = state.lists.values().map(BTreeMap::len).sum();
        let new = waiting.min(MAX_LISTS).min(MAX_CONNECTIONS - state.busy);
        state.busy += new;
        drop(state);
        (0..new).for_each(|_| self.0.spawn_reader());
    }
}

/// Runs a read, which its control may interrupt.
fn run_read<T>(
    connection: &mut Connection,
    control: &Arc<ReadControl>,
    read: impl FnOnce(&Transaction<'_>, &ReadControl) -> rusqlite::Result<T>,
) -> Result<T, Error> {
    let watch = Arc::clone(control);
    connection.progress_handler(PROGRESS_STEPS, Some(move || watch.is_over()))?;
    let value = connection.transaction().and_then(|snapshot| {
        control.check()?;
        let value = read(&snapshot, control);
        control.finish();
        value
    });
    connection.progress_handler(0, None::<fn() -> bool>)?;
    value.map_err(|error| control.reason(error))
}

/// The future of a read. When it is dropped, the read is cancelled.
struct Waiting<'q> {
    queue: &'q ReadQueue,
    kind: Kind,
    number: u64,
    is_cancelled: Arc<AtomicBool>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        let job = self.queue.state().take(self.kind, self.number);
        // The job is dropped after the lock is released.
        drop(job);
    }
}

impl ReadQueue {
    /// Queues a read. Returns its number, and whether one more reader may begin.
    fn push(&self, kind: Kind, job: Job) -> (u64, bool) {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        match kind {
            Kind::Short(client) => state.short.push(client, number, job),
            Kind::List(client) => {
                state.lists.entry(client).or_default().insert(number, job);
            }
        }
        let is_room = state.busy < MAX_CONNECTIONS && state.may_begin(kind);
        state.busy += usize::from(is_room);
        (number, is_room)
    }

    /// Does reads until the queue has none that may begin.
    fn work(&self, path: &Path) {
        let (mut own, mut done) = (None, None);
        while let Some((number, job)) = self.next(done, &mut own) {
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
            // If a read panics, its connection and its answer are dropped, and the caller gets an
            // error.
            own = catch_unwind(read).ok().flatten();
            done = Some(number);
        }
    }

    /// Returns the next read, after a read is done. If there is none, the reader ends, and its
    /// connection becomes idle.
    fn next(&self, done: Option<u64>, own: &mut Option<Connection>) -> Option<(u64, Job)> {
        let mut state = self.state();
        if let Some(at) = state.reading.iter().position(|list| Some(list.number) == done) {
            let client = state.reading.swap_remove(at).client;
            state.forget_turn(client);
        }
        let job = state.begin();
        match job {
            Some(_) if own.is_none() => *own = state.idle.pop(),
            Some(_) => {}
            None => {
                own.as_ref().filter(|_| state.keeps_log).into_iter().for_each(keep_log);
                state.idle.extend(own.take());
                state.busy -= 1;
            }
        }
        if state.are_lists_paused && state.reading.is_empty() {
            self.lists_ended.notify_all();
        }
        job
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Whether a read of this kind may begin now.
    fn may_begin(&self, kind: Kind) -> bool {
        let Kind::List(client) = kind else { return true };
        let limit = if client.is_some() { MAX_LISTS_PER_CLIENT } else { MAX_LISTS };
        let is_paused = self.are_lists_paused && !self.may_begin_in_pause(client);
        !is_paused && self.read_by(client) < limit && self.reading.len() < MAX_LISTS
    }

    fn may_begin_in_pause(&self, client: Option<IpAddr>) -> bool {
        let mut awaited = self.reading.iter().filter(|list| list.is_awaited).peekable();
        awaited.peek().is_some() && awaited.all(|list| list.client != client)
    }

    /// Returns the number of lists of a client that are being read.
    fn read_by(&self, client: Option<IpAddr>) -> usize {
        self.reading.iter().filter(|list| list.client == client).count()
    }

    /// Takes out the next read that may begin.
    fn begin(&mut self) -> Option<(u64, Job)> {
        if let Some(short) = self.short.pop() {
            return Some(short);
        }
        let waiting = self.lists.iter().filter(|(client, _)| self.may_begin(Kind::List(**client)));
        let next = waiting.min_by_key(|(client, jobs)| {
            let turn = self.turns.get(*client).copied();
            (self.read_by(**client), turn, jobs.keys().next().copied())
        });
        let client = *next?.0;
        let number = *self.lists.get(&client)?.keys().next()?;
        let job = self.take(Kind::List(client), number)?;
        self.turn += 1;
        self.turns.insert(client, self.turn);
        self.reading.push(RunningList { number, client, is_awaited: false });
        Some((number, job))
    }

    /// Takes out a read that has not begun.
    fn take(&mut self, kind: Kind, number: u64) -> Option<Job> {
        let client = match kind {
            Kind::Short(client) => return self.short.remove(client, number),
            Kind::List(client) => client,
        };
        let jobs = self.lists.get_mut(&client)?;
        let job = jobs.remove(&number);
        if jobs.is_empty() {
            self.lists.remove(&client);
            self.forget_turn(client);
        }
        job
    }

    /// Forgets the last turn of a client that has no list any more.
    fn forget_turn(&mut self, client: Option<IpAddr>) {
        if !self.lists.contains_key(&client) && self.read_by(client) == 0 {
            self.turns.remove(&client);
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists.values().map(BTreeMap::len).sum::<usize>();
        let (waiting, busy) = (self.short.len() + lists, self.busy);
        f.debug_struct("State").field("waiting", &waiting).field("busy", &busy).finish()
    }
}

#[cfg(test)]
mod tests;
