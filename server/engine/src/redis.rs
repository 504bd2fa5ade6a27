//! The engine in Redis, which several servers can share. Each is a node: nodes are equal, and keep
//! nothing that others need.
//!
//! A node decides a write on the state that it has read or knows. A script commits it if what the
//! decision rests on is still there, and otherwise the node decides again. So a write takes one
//! round trip if its record is known to the node, and two if not. Writes that are queued at the
//! same time share them.
//!
//! The log of a resource is a stream. A task of each node follows all of them and sends the changes
//! of all nodes to the tail.
//!
//! # Keys
//!
//! All keys begin with a prefix, by default `backwire:{main}`. Its part in braces is the hash tag,
//! so all keys are in one slot.
//!
//! | key | type | content |
//! | --- | --- | --- |
//! | `meta` | hash | schema, secret, the current epoch, counts, the last delivery and event |
//! | `epochs` | sorted set | epochs by their number |
//! | `resources` | stream | the names of all resources |
//! | `resource:R` | hash | head, floor, next id, sizes and versions of a resource |
//! | `records:R` | hash | by id: `offset changed json`; `offset` if it is only in the log |
//! | `ids:R` | sorted set | the ids of all records, in their order |
//! | `log:R` | stream | changes; the id of an entry is `offset-0` |
//! | `firsts:R` | sorted set | the first offset of each epoch, by the epoch's number |
//! | `indexes:R`, `index:R:A` | hash, sorted set | the indexed attributes; values with ids |
//! | `cascades`, `cascades:R` | sorted set, hash | unfinished cascades |
//! | `ledger`, `ledger-ages` | hash, list | idempotency keys |
//! | `inbox:P`, `items:P` | sorted set, hash | the deliveries of a person |
//! | `devices:P`, `waiting-ends:P` | hash, sorted set | devices; what expires without a device |
//! | `queue:D`, `message:M` | sorted set, hash | the queue of a device; a message |
//! | `events` | stream | messages, changed sessions, announcements; 1,000 and 8 MiB at most |
//! | `connected:N` | set | the devices with sockets at a node |
//! | `corrections` | hash | the last correction of the sockets at each node |
//! | `nodes` | hash | the leases of the nodes' numbers, or of a migration: `token end` |
//! | `answers:T` | stream | the answers to the questions of the server with this token |
//! | `person-ends` | sorted set | when something of a person expires next |
//! | `posts:S`, `posts-ages:S` | hash, list | idempotency keys of messages |
//! | `session:S` | hash | a session |
//! | `sessions`, `sessions-anonymous` | sorted sets | when sessions expire |

mod address;
mod cache;
mod cascades;
mod connection;
mod deadline;
mod delivery;
mod encoding;
mod events;
mod find;
mod free_id;
mod group;
mod handshake;
mod indexes;
mod job;
mod known;
mod known_id;
mod lease;
mod link;
mod log;
mod log_ends;
mod matches;
mod migration;
mod operation;
mod part;
mod plan;
mod questions;
mod queues;
mod repeats;
mod reply;
mod requests;
mod runtime;
mod scan;
mod script;
mod sessions;
mod sockets;
mod state;
mod states;
mod steps;
mod stored;
mod stored_message;
mod streams;
mod tail;
mod tail_filter;
mod web_service;
mod writer;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::criteria::Criteria;
use backwire_records::messages::flake::Node;
use backwire_records::model::Models;
use backwire_records::write::Write;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use super::{
    Answers, Cascades, ChangesSince, CommitOutcome, DEFAULT_READ_DEADLINE, Engine, Error, Gauge,
    KeyLookup, LedgerEntry, MissedChanges, Question, Queues, ReadOptions, Record, ResourceFilter,
    Sessions, Snapshot, StoreEvent, Tail, Window,
};
use cache::Cache;
use connection::Commands;
use deadline::ReadClock;
use delivery::Delivery;
use find::ListRead;
use known::Known;
use known_id::KnownId;
use lease::Lease;
use link::Link;
use log_ends::LogEnds;
use questions::Questions;
use reply::Reply;
use requests::{Request, Requests};
use runtime::{Moment, Task};
use script::Call;
use sockets::Sockets;
use steps::{Steps, within};
use tail::{Follower, Outputs};
use tail_filter::TailFilter;
use writer::Writer;

pub use address::RedisUrl;
pub(super) use migration::MigrationStore;
pub(super) use web_service::WebService;

/// The time between two attempts to open a store in a Redis that loads its data.
const LOADING_INTERVAL: Duration = Duration::from_millis(250);

/// The options of a store in Redis.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisOptions {
    /// The address, see [`RedisUrl`].
    pub url: String,
    /// The prefix of all keys. Its part in braces decides the slot of a cluster.
    pub prefix: String,
    /// How long one command may take. A write is answered within twice that.
    pub deadline: Duration,
    /// How long the reads of one request may take together.
    pub read_deadline: Duration,
    /// The maximum number of records that one list reads without an index.
    pub scan_limit: usize,
    /// How long [`Redis::open`] waits for a Redis that loads its data.
    pub loading_deadline: Duration,
}

impl RedisOptions {
    /// Returns the defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "backwire:{main}".to_owned(),
            deadline: Duration::from_secs(3),
            read_deadline: DEFAULT_READ_DEADLINE,
            scan_limit: 100_000,
            loading_deadline: Duration::from_secs(600),
        }
    }
}

/// A store in Redis, as one node sees it.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    /// The connection for reads.
    reads: Arc<Commands>,
    known: Arc<Known>,
    ends: Arc<LogEnds>,
    filter: Arc<TailFilter>,
    /// The queue of the writer, which ends when this is dropped.
    writes: Requests,
    steps: Arc<Steps>,
    sockets: Sockets,
    /// The node that creates the ids of deliveries.
    node: Mutex<Node>,
    known_id: Arc<KnownId>,
    /// The claim of its number.
    lease: Lease,
    questions: Arc<Questions>,
    window: Window,
    missed: Mutex<Option<mpsc::UnboundedReceiver<MissedChanges>>>,
    events: Mutex<Option<mpsc::Receiver<StoreEvent>>>,
    /// Whether the tail has a connection now.
    is_connected: Arc<AtomicBool>,
    _tail: Task,
}

impl Redis {
    /// Opens a store, or creates it. It fails if Redis is not reachable or too old, or if the data
    /// have another schema, within a few times the deadline of one command. While Redis loads its
    /// data after a start, this waits, for `loading_deadline` at most.
    pub async fn open(options: RedisOptions, window: Window, tail: Tail) -> Result<Self, Error> {
        let (begin, mut is_reported) = (Moment::now(), false);
        loop {
            let opened = Self::open_once(options.clone(), window, tail.clone()).await;
            let is_waiting = begin.elapsed() < options.loading_deadline;
            match opened {
                Err(error) if is_waiting && link::is_loading(&error) => {
                    if !mem::replace(&mut is_reported, true) {
                        let limit = options.loading_deadline;
                        info!("{error}: the server starts after that, within {limit:?}");
                    }
                    runtime::pause(LOADING_INTERVAL).await;
                }
                opened => return opened,
            }
        }
    }

    async fn open_once(options: RedisOptions, window: Window, tail: Tail) -> Result<Self, Error> {
        let deadline = 4 * options.deadline;
        let opened = runtime::within(deadline, Self::connect(options, window, tail)).await;
        let late = || Error::Unavailable(format!("Redis did not answer within {deadline:?}"));
        opened.unwrap_or_else(|| Err(late()))
    }

    async fn connect(options: RedisOptions, window: Window, tail: Tail) -> Result<Self, Error> {
        let RedisOptions { url, prefix, deadline, .. } = &options;
        let link = Arc::new(Link::new(url, prefix.clone(), *deadline)?);
        let reads = Arc::new(Commands::for_reads(Arc::clone(&link)));
        let writes = Arc::new(Commands::for_writes(Arc::clone(&link)));
        let connection = reads.connection().await?;
        handshake::warn_of_eviction(&link, &mut connection.redis.clone()).await;
        let (delivery, known) = (Arc::<Delivery>::default(), Arc::<Known>::default());
        let lease = Lease::new(Arc::clone(&writes));
        let questions = Questions::new(lease.token.clone());
        let (missed_sender, missed) = mpsc::unbounded_channel();
        let outputs = Outputs {
            delivery: Arc::clone(&delivery),
            tail,
            missed: missed_sender,
            ends: Arc::default(),
            filter: Arc::default(),
            questions: Arc::clone(&questions),
            has_lapsed: Arc::clone(&lease.has_lapsed),
            is_connected: Arc::default(),
            known_id: Arc::default(),
        };
        let is_connected = Arc::clone(&outputs.is_connected);
        let known_id = Arc::clone(&outputs.known_id);
        let (ends, filter) = (Arc::clone(&outputs.ends), Arc::clone(&outputs.filter));
        let others = [Arc::clone(&reads), Arc::clone(&writes)];
        let (follower, events) = Follower::begin(link, &connection, outputs, others).await?;
        let (cache, steps) = (Cache::new(), Arc::new(Steps::spawn(Arc::clone(&writes))));
        let writer =
            Writer { commands: writes, known: Arc::clone(&known), delivery, window, cache };
        Ok(Self {
            options,
            reads,
            known,
            ends,
            filter,
            writes: writer.spawn(),
            sockets: Sockets::new(Arc::clone(&steps)),
            steps,
            node: Mutex::default(),
            known_id,
            lease,
            questions,
            window,
            missed: Mutex::new(Some(missed)),
            events: Mutex::new(Some(events)),
            is_connected,
            _tail: follower.spawn(),
        })
    }

    /// Has the writer handle a request. It is queued when the future is polled first.
    async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (answer, outcome) = oneshot::channel();
        self.writes.push(request(answer));
        within(2 * self.options.deadline, outcome).await
    }
}

#[async_trait]
impl Engine for Redis {
    async fn declare(&self, models: &Models) -> Result<(), Error> {
        for (resource, model) in models.stored() {
            for attribute in model.indexed() {
                indexes::ensure(&self.reads, &self.known, resource, attribute).await?;
            }
        }
        Ok(())
    }

    async fn commit(&self, write: Write) -> Result<CommitOutcome, Error> {
        self.request(|answer| Request::Write(Box::new(write), answer)).await
    }

    async fn ledger_entry(&self, lookup: KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        self.request(|answer| Request::Lookup(lookup, answer)).await
    }

    async fn find_for(
        &self,
        resource: &Resource,
        criteria: &Criteria,
        options: &ReadOptions,
    ) -> Result<Snapshot<Vec<Record>>, Error> {
        let clock = ReadClock::begin(self.options.read_deadline, options);
        let asked = (resource, criteria);
        let limit = self.options.scan_limit;
        let read = ListRead::new(&self.reads, &self.known, asked, (options, clock), limit);
        let found = read.run().await?;
        self.ends.returned(resource, found.position);
        Ok(found)
    }

    async fn find_one(
        &self,
        resource: &Resource,
        id: &Id,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        let options = ReadOptions::default();
        self.find_one_for(resource, id, &options).await
    }

    async fn find_one_for(
        &self,
        resource: &Resource,
        id: &Id,
        options: &ReadOptions,
    ) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
        let found = log::find_one(&self.reads, &self.known, resource, id, &options.memory).await?;
        self.ends.returned(resource, found.position);
        Ok(found)
    }

    async fn head(&self, resource: &Resource) -> Result<Position, Error> {
        let head = log::head(&self.reads, resource).await?;
        self.ends.returned(resource, head);
        Ok(head)
    }

    async fn changes_since_for(
        &self,
        room: &Room,
        position: Position,
        options: &ReadOptions,
    ) -> Result<ChangesSince, Error> {
        log::since((&self.reads, &self.ends), room, position, options).await
    }

    async fn reaches(&self, of: &Resource, positions: &[Position]) -> Result<Vec<bool>, Error> {
        log::reaches((&self.reads, &self.ends), of, positions).await
    }

    async fn keys(&self) -> Result<BTreeMap<Resource, String>, Error> {
        let (reply, _) = self.reads.run(&Call::new(&script::KEYS)).await?;
        let mut keys = BTreeMap::new();
        for pair in Reply::list(reply)? {
            let mut pair = Reply::list(pair)?;
            keys.insert(Resource::internal(&pair.text()?), pair.text()?);
        }
        Ok(keys)
    }

    fn missed_changes(&self) -> Option<mpsc::UnboundedReceiver<MissedChanges>> {
        self.missed.lock().take()
    }

    fn set_resource_filter(&self, filter: ResourceFilter) {
        self.filter.set(filter);
    }

    fn events(&self) -> Option<mpsc::Receiver<StoreEvent>> {
        self.events.lock().take()
    }

    async fn announce(&self, text: &str) -> Result<(), Error> {
        let call = Call::new(&script::ANNOUNCE).with(events::MAX_EVENTS).with(text);
        self.steps.run(call).await.map(drop)
    }

    async fn ask(&self, text: &str) -> Result<Answers, Error> {
        self.questions.ask(&self.steps, text).await
    }

    async fn answer(&self, question: &Question, text: &str) -> Result<(), Error> {
        self.questions.answer(&self.steps, question, text).await
    }

    fn gauges(&self) -> Vec<Gauge> {
        vec![Gauge {
            name: "backwire_redis_connected",
            help: "1 while this server receives the changes of all servers from Redis.",
            value: self.is_connected.load(Ordering::Relaxed).into(),
        }]
    }

    async fn close(&self) {
        self.lease.release().await;
    }

    fn cascades(&self) -> &dyn Cascades {
        self
    }

    fn sessions(&self) -> &dyn Sessions {
        self
    }

    fn queues(&self) -> &dyn Queues {
        self
    }
}
