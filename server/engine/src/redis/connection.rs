//! Connections to Redis. A connection belongs to one run of the Redis process, and so does an
//! [`Epoch`]: it is determined when the connection is made. A connection that fails in any way is
//! dropped, and the next command makes another.
//!
//! Invariant: no caller waits longer than twice the deadline of a command, however many wait. All
//! that wait while a connection is made share its failure, and it is made to the end although its
//! caller has gone away.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value};
use tokio::sync::{Mutex, oneshot};

use super::handshake::{self, Epoch};
use super::link::{Link, same_error};
use super::runtime::{self, Moment};
use super::script::{self, Call};
use crate::Error;

/// A connection to one run of Redis.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    pub(super) epoch: Epoch,
    number: u64,
}

impl Connection {
    /// Connects, loads the scripts and determines the epoch.
    pub(super) async fn open(link: &Link, timeout: Duration) -> Result<Self, Error> {
        let mut redis = Self::connect(link, timeout).await?;
        let epoch = handshake::begin(link, &mut redis).await?;
        link.last_epoch.store(epoch.epoch, Ordering::Relaxed);
        Ok(Self::new(redis, epoch))
    }

    /// The same for a connection that belongs to no server: no epoch begins, and the schema of the
    /// data is not checked.
    async fn open_without_epoch(link: &Link) -> Result<Self, Error> {
        let mut redis = Self::connect(link, Duration::ZERO).await?;
        handshake::check(link, &mut redis).await?;
        Ok(Self::new(redis, Epoch { epoch: 0, number: 0 }))
    }

    fn new(redis: MultiplexedConnection, epoch: Epoch) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { redis, epoch, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    async fn connect(link: &Link, timeout: Duration) -> Result<MultiplexedConnection, Error> {
        let mut redis = link.connect(timeout).await?;
        let mut loading = redis::pipe();
        for script in script::all() {
            loading.add_command(script.load());
        }
        let loaded = loading.query_async::<Vec<String>>(&mut redis).await;
        loaded.map_err(|error| link.error(&error))?;
        Ok(redis)
    }
}

/// A connection that is made again when it fails.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) link: Arc<Link>,
    current: Arc<Mutex<Current>>,
    /// Whether the connection may be broken, because another one is.
    is_suspect: AtomicBool,
    /// Whether commands on a broken connection are sent again: they only read.
    repeats: bool,
    /// Whether connections belong to a server, which has an epoch.
    has_epoch: bool,
}

/// The connection, and the last failure to make one.
#[derive(Debug, Default)]
struct Current {
    connection: Option<Connection>,
    failure: Option<(Moment, Error)>,
}

/// The replies to some commands, and the epoch of the Redis that they come from.
pub(super) struct Replies {
    pub(super) values: Vec<Result<Value, Error>>,
    pub(super) epoch: Epoch,
}

impl Commands {
    /// Returns the connection for writes. The outcome of a write on a broken connection is unknown.
    pub(super) fn for_writes(link: Arc<Link>) -> Self {
        let (current, is_suspect) = (Arc::default(), AtomicBool::new(false));
        Self { link, current, is_suspect, repeats: false, has_epoch: true }
    }

    /// Returns the connection for a migration. Its commands are not repeated.
    pub(super) fn without_epoch(link: Arc<Link>) -> Self {
        Self { has_epoch: false, ..Self::for_writes(link) }
    }

    /// Returns the connection for commands that have no effect if they are repeated.
    pub(super) fn for_reads(link: Arc<Link>) -> Self {
        Self { repeats: true, ..Self::for_writes(link) }
    }

    /// Returns the connection, or makes one.
    pub(super) async fn connection(&self) -> Result<Connection, Error> {
        let deadline = 2 * self.link.deadline;
        let connection = runtime::within(deadline, self.current_connection()).await;
        connection.unwrap_or_else(|| Err(self.link.late(deadline)))
    }

    async fn current_connection(&self) -> Result<Connection, Error> {
        let begin = Moment::now();
        let mut current = Arc::clone(&self.current).lock_owned().await;
        if let Some(connection) = &current.connection
            && !self.is_suspect.swap(false, Ordering::Relaxed)
        {
            return Ok(connection.clone());
        }
        if let Some((at, error)) = &current.failure
            && begin < *at
        {
            return Err(same_error(error));
        }
        let (link, (sender, opened)) = (Arc::clone(&self.link), oneshot::channel());
        let has_epoch = self.has_epoch;
        runtime::spawn_detached(async move {
            let opened = match has_epoch {
                true => Connection::open(&link, Duration::ZERO).await,
                false => Connection::open_without_epoch(&link).await,
            };
            current.connection = opened.as_ref().ok().cloned();
            current.failure = opened.as_ref().err().map(|error| (Moment::now(), same_error(error)));
            drop(current);
            // The caller may have gone away.
            let _ = sender.send(opened);
        });
        opened.await.unwrap_or_else(|_| Err(self.link.late(self.link.deadline)))
    }

    /// Makes another connection at the next use. The process that this one leads to may have been a
    /// replica in between, or somebody may have emptied it: then its data are of another epoch.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
    }

    /// Drops a connection: the next command makes another.
    pub(super) async fn drop_connection(&self, connection: &Connection) {
        let mut current = self.current.lock().await;
        current.connection.take_if(|current| current.number == connection.number);
    }

    /// Runs a script.
    pub(super) async fn run(&self, call: &Call) -> Result<(Value, Epoch), Error> {
        let Replies { mut values, epoch } = self.run_all(slice::from_ref(call)).await?;
        let value = values.pop().unwrap_or(Ok(Value::Nil))?;
        Ok((value, epoch))
    }

    /// Runs scripts in one round trip. An error concerns one of them, or all.
    pub(super) async fn run_all(&self, calls: &[Call]) -> Result<Replies, Error> {
        let commands = calls.iter().map(|call| call.command(&self.link.prefix));
        self.send(pipeline(commands)).await
    }

    /// The same on this connection.
    pub(super) async fn run_on(
        &self,
        connection: &Connection,
        call: &Call,
    ) -> Result<Value, Error> {
        let pipeline = pipeline([call.command(&self.link.prefix)]);
        let sent = self.send_on(connection, &pipeline).await;
        let mut replies = sent.map_err(|error| self.link.error(&error))?;
        replies.values.pop().unwrap_or(Ok(Value::Nil))
    }

    /// Sends commands in one round trip, and returns their replies.
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<T>, Error> {
        let pipeline = pipeline(commands);
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.send(pipeline).await?;
        let read =
            |value| T::from_redis_value(value).map_err(|error| self.link.error(&error.into()));
        replies.values.into_iter().map(|value| value.and_then(read)).collect()
    }

    async fn send(&self, pipeline: Pipeline) -> Result<Replies, Error> {
        let deadline = 2 * self.link.deadline;
        let sent = runtime::within(deadline, self.send_again(&pipeline)).await;
        sent.unwrap_or_else(|| Err(self.link.late(deadline)))
    }

    /// Sends commands, and again if they only read and their connection breaks. It is also sent
    /// again if the reply is of a former run of Redis: this node may have compared that run with
    /// the next one before the reply has arrived.
    async fn send_again(&self, pipeline: &Pipeline) -> Result<Replies, Error> {
        let connection = self.connection().await?;
        match self.send_on(&connection, pipeline).await {
            Ok(_) if self.repeats && self.is_replaced(&connection) => {
                self.drop_connection(&connection).await;
                let connection = self.connection().await?;
                self.send_on(&connection, pipeline).await
            }
            Err(error) if self.repeats && !error.is_timeout() => {
                let connection = self.connection().await?;
                self.send_on(&connection, pipeline).await
            }
            sent => sent,
        }
        .map_err(|error| self.link.error(&error))
    }

    /// Whether a connection of another epoch was made meanwhile.
    fn is_replaced(&self, connection: &Connection) -> bool {
        self.has_epoch && self.link.last_epoch.load(Ordering::Relaxed) != connection.epoch.epoch
    }

    async fn send_on(
        &self,
        connection: &Connection,
        pipeline: &Pipeline,
    ) -> Result<Replies, RedisError> {
        let mut redis = connection.redis.clone();
        match pipeline.query_async::<Vec<Result<Value, RedisError>>>(&mut redis).await {
            Ok(values) => {
                if values.iter().any(|value| value.as_ref().is_err_and(is_of_connection)) {
                    self.drop_connection(connection).await;
                }
                let values = values.into_iter();
                let values = values.map(|value| value.map_err(|error| self.link.error(&error)));
                Ok(Replies { values: values.collect(), epoch: connection.epoch })
            }
            Err(error) => {
                self.drop_connection(connection).await;
                Err(error)
            }
        }
    }
}

fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// Whether another connection may succeed: this one has no scripts, or leads to a replica or to
/// another node of a cluster.
fn is_of_connection(error: &RedisError) -> bool {
    let of_connection = ["NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN", "MOVED", "CLUSTERDOWN"];
    error.code().is_some_and(|code| of_connection.contains(&code))
}
