//! The tail: one task per node follows the logs of all resources with a blocking connection of its
//! own, and sends the changes of all nodes to the channel.
//! Changes of resources that nobody at this node follows are left out, and are not decoded. It also
//! follows the streams of events and of answers.
//!
//! Invariant: each change is sent once and in order, whatever happens to the connection: the task
//! continues after the last offset that it has sent. If the log has dropped the next change, or
//! Redis has lost changes, it reports [`MissedChanges`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backwire_records::change::{Position, Resource};
use redis::{Value, cmd};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tracing::{error, info, warn};

use super::connection::{Commands, Connection};
use super::delivery::Delivery;
use super::events::Events;
use super::handshake::Epoch;
use super::known_id::KnownId;
use super::link::Link;
use super::log_ends::LogEnds;
use super::questions::Questions;
use super::reply::{Reply, text};
use super::runtime::{self, Moment, Task, pause};
use super::script::{self, Call};
use super::stored::LogEntry;
use super::streams::{self, BLOCK, LargestEntry, Stream, StreamPosition};
use super::tail_filter::TailFilter;
use crate::{Error, MissedChanges, StoreEvent, Tail};

/// If the time since the last read was longer than [`BLOCK`] and this, because the channel was full
/// or the process was paused, the streams may have many new entries, and are read in pages.
const MAX_DELAY: Duration = Duration::from_millis(100);

/// The id before the first entry of a stream.
const BEGINNING: &str = "0-0";

/// The time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

/// How often the log says that there is no connection.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The receivers of the changes that the follower reads, and its shared state.
pub(super) struct Outputs {
    pub(super) delivery: Arc<Delivery>,
    pub(super) tail: Tail,
    pub(super) missed: UnboundedSender<MissedChanges>,
    pub(super) ends: Arc<LogEnds>,
    pub(super) filter: Arc<TailFilter>,
    pub(super) questions: Arc<Questions>,
    /// Whether this node has to restore its devices, see [`Lease`](super::lease::Lease).
    pub(super) has_lapsed: Arc<AtomicBool>,
    /// Whether the tail has a connection now.
    pub(super) is_connected: Arc<AtomicBool>,
    pub(super) known_id: Arc<KnownId>,
}

/// A follower of all logs.
pub(super) struct Follower {
    link: Arc<Link>,
    outputs: Outputs,
    /// When the log last said that there is no connection. `None` if there is one.
    warned: Option<Moment>,
    /// Connections that are probably broken if this one is.
    others: [Arc<Commands>; 2],
    epoch: Epoch,
    /// The last entry of the stream of resources that was read.
    last_resource: String,
    /// The last offset of each resource that was sent.
    offsets: BTreeMap<Resource, u64>,
    events: Events,
    /// The last answer that was read.
    last_answer: String,
    /// The streams that may have many entries which were not read.
    behind: BTreeSet<Stream>,
    largest: LargestEntry,
}

impl Follower {
    /// Begins after all changes so far.
    pub(super) async fn begin(
        link: Arc<Link>,
        connection: &Connection,
        outputs: Outputs,
        others: [Arc<Commands>; 2],
    ) -> Result<(Self, Receiver<StoreEvent>), Error> {
        let heads = Heads::read(&link, connection, connection.epoch).await?;
        let mut offsets = BTreeMap::new();
        for Head { resource, head, .. } in heads.resources {
            let position = Position { epoch: connection.epoch.epoch, offset: head };
            outputs.delivery.delivered(&resource, position);
            offsets.insert(resource, head);
        }
        let (epoch, last_resource) = (connection.epoch, heads.last_resource);
        let (token, known_id) = (outputs.questions.token.clone(), Arc::clone(&outputs.known_id));
        let (events, receiver) = Events::begin(heads.last_event, token, known_id);
        let (last_answer, behind, largest) =
            (BEGINNING.to_owned(), BTreeSet::new(), LargestEntry::default());
        let follower = Self {
            link,
            outputs,
            warned: None,
            others,
            epoch,
            last_resource,
            offsets,
            events,
            last_answer,
            behind,
            largest,
        };
        Ok((follower, receiver))
    }

    /// Starts the task, which ends with its engine.
    pub(super) fn spawn(self) -> Task {
        runtime::spawn(self.run())
    }

    async fn run(mut self) {
        loop {
            if let Err(error) = self.follow().await {
                self.warn(&error);
            }
            self.outputs.is_connected.store(false, Ordering::Relaxed);
            self.others.iter().for_each(|other| other.suspect());
            pause(RETRY).await;
        }
    }

    /// Logs that there is no connection, but not at each attempt to connect.
    fn warn(&mut self, error: &Error) {
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL) {
            warn!(
                "changes of other servers do not arrive, and the server connects to Redis again: {error}"
            );
            self.warned = Some(Moment::now());
        }
    }

    /// Follows the logs until the connection fails.
    async fn follow(&mut self) -> Result<(), Error> {
        let mut connection = Connection::open(&self.link, BLOCK).await?;
        if connection.epoch != self.epoch {
            self.compare(&connection).await?;
        }
        self.behind = self.streams().collect();
        self.outputs.is_connected.store(true, Ordering::Relaxed);
        if self.warned.take().is_some() {
            info!("the server is connected to Redis again");
        }
        let mut checked = Moment::now();
        loop {
            if self.outputs.has_lapsed.swap(false, Ordering::Relaxed) {
                self.events.miss();
            }
            self.events.report_missed();
            if checked.elapsed() >= BLOCK {
                self.check_epoch(&mut connection).await?;
                checked = Moment::now();
            }
            self.read(&mut connection).await?;
        }
    }

    /// Reads the next entries of all streams: pages of those that are behind, and the newest of the
    /// others. If none is behind, it waits for new ones.
    async fn read(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let (behind, current): (Vec<_>, Vec<_>) =
            self.positions().partition(|position| self.behind.contains(&position.stream));
        self.behind.clear();
        let (prefix, mut commands) = (&self.link.prefix, redis::pipe());
        let (begin, max) = (Moment::now(), self.largest.max_new());
        if !current.is_empty() {
            commands.add_command(streams::new_entries(prefix, &current, max, behind.is_empty()));
        }
        if !behind.is_empty() {
            let is_needed = |stream: &Stream| match stream {
                Stream::Log(resource) => self.outputs.filter.includes(resource),
                _ => true,
            };
            commands.add_command(streams::page(prefix, &behind, is_needed));
        }
        let replies: Result<Vec<Value>, _> = commands.query_async(&mut connection.redis).await;
        let replies = replies.map_err(|error| self.link.error(&error))?;
        let (received, mut replies) = (Moment::now(), replies.into_iter());
        if !current.is_empty() {
            self.receive_new(Reply::list(replies.next().unwrap_or(Value::Nil))?, max).await?;
        }
        self.receive_page(Reply::list(replies.next().unwrap_or(Value::Nil))?).await?;
        if received.elapsed() > MAX_DELAY || begin.elapsed() > BLOCK + MAX_DELAY {
            self.behind = self.streams().collect();
        }
        Ok(())
    }

    /// Returns all streams.
    fn streams(&self) -> impl Iterator<Item = Stream> {
        self.positions().map(|position| position.stream)
    }

    fn positions(&self) -> impl Iterator<Item = StreamPosition> {
        let answers = Stream::Answers(self.outputs.questions.token.clone());
        let others = [
            (Stream::Resources, self.last_resource.clone()),
            (Stream::Events, format!("{}-0", self.events.last)),
            (answers, self.last_answer.clone()),
        ];
        let logs = self.offsets.iter();
        let logs =
            logs.map(|(resource, last)| (Stream::Log(resource.clone()), format!("{last}-0")));
        others.into_iter().chain(logs).map(|(stream, last)| StreamPosition { stream, last })
    }

    /// Fails if the data are of another epoch, because somebody has emptied Redis.
    async fn check_epoch(&self, connection: &mut Connection) -> Result<(), Error> {
        let mut get = cmd("HGET");
        get.arg(format!("{}:meta", self.link.prefix)).arg("epoch");
        let epoch: Option<u64> = get
            .query_async(&mut connection.redis)
            .await
            .map_err(|error| self.link.error(&error))?;
        match epoch == Some(self.epoch.epoch) {
            true => Ok(()),
            false => Err(Error::Unavailable("the data were replaced".to_owned())),
        }
    }

    /// Receives the reply of `XREAD`.
    async fn receive_new(&mut self, streams: Reply, max: usize) -> Result<(), Error> {
        let (prefix, mut largest) = (format!("{}:", self.link.prefix), 0);
        for stream in streams {
            let mut stream = Reply::list(stream)?;
            let (key, entries) = (stream.text()?, stream.next_list()?);
            let stream = Stream::of(key.strip_prefix(&prefix).unwrap_or(&key));
            if entries.len() >= max {
                self.behind.insert(stream.clone());
            }
            largest = largest.max(entries.largest(streams::bytes_of));
            self.receive(stream, entries).await?;
        }
        self.largest.record(largest);
        Ok(())
    }

    /// Receives the reply of `tail.lua`.
    async fn receive_page(&mut self, streams: Reply) -> Result<(), Error> {
        for part in streams {
            let mut part = Reply::list(part)?;
            let (stream, entries) = (Stream::of(&part.text()?), part.next_list()?);
            let (last, has_more) = (part.bytes()?, part.number::<u8>()? == 1);
            if has_more {
                self.behind.insert(stream.clone());
            }
            match &stream {
                Stream::Log(resource) if !last.is_empty() => {
                    self.leave_out(resource, LogEntry::offset_of_id(&last)?);
                }
                _ => self.receive(stream, entries).await?,
            }
        }
        Ok(())
    }

    /// Receives the new entries of a stream.
    async fn receive(&mut self, stream: Stream, entries: Reply) -> Result<(), Error> {
        match stream {
            Stream::Resources => self.receive_resources(entries),
            Stream::Events => self.events.receive(entries),
            Stream::Answers(_) => {
                let last = self.outputs.questions.receive(entries)?;
                self.last_answer = last.unwrap_or_else(|| std::mem::take(&mut self.last_answer));
                Ok(())
            }
            Stream::Log(resource) => self.receive_changes(&resource, entries).await,
        }
    }

    /// Leaves all changes up to an offset out, unless somebody has begun to follow the resource
    /// after Redis was asked.
    fn leave_out(&mut self, resource: &Resource, last: u64) {
        // First the end, and then the filter: see `log_ends`.
        self.outputs.ends.passed(resource, self.position(last));
        if self.outputs.filter.includes(resource) {
            self.behind.insert(Stream::Log(resource.clone()));
            return;
        }
        self.offsets.insert(resource.clone(), last);
        self.outputs.delivery.delivered(resource, self.position(last));
    }

    async fn receive_changes(&mut self, resource: &Resource, entries: Reply) -> Result<(), Error> {
        let Some(last) = entries.peek_last() else { return Ok(()) };
        let last = LogEntry::offset_of(last)?;
        // First the end, and then the filter: see `log_ends`.
        self.outputs.ends.passed(resource, self.position(last));
        if !self.outputs.filter.includes(resource) {
            return self.skip(resource, entries);
        }
        for entry in entries {
            self.send(resource, LogEntry::read(Reply::list(entry)?)?).await;
        }
        Ok(())
    }

    /// Leaves changes out.
    fn skip(&mut self, resource: &Resource, entries: Reply) -> Result<(), Error> {
        for entry in entries {
            let offset = LogEntry::offset_of(&entry)?;
            self.advance(resource, offset);
            self.outputs.delivery.delivered(resource, self.position(offset));
        }
        Ok(())
    }

    /// Follows the logs of new resources, too, from their beginning.
    fn receive_resources(&mut self, entries: Reply) -> Result<(), Error> {
        for entry in entries {
            let mut entry = Reply::list(entry)?;
            self.last_resource = entry.text()?;
            let name = entry.next_list()?.nth(1);
            if let Some(Value::BulkString(name)) = name {
                self.offsets.entry(Resource::internal(&text(name)?)).or_default();
            }
        }
        Ok(())
    }

    /// Continues after a change. Returns the offset of the one before it.
    fn advance(&mut self, resource: &Resource, offset: u64) -> u64 {
        let last = self.offsets.insert(resource.clone(), offset).unwrap_or_default();
        if offset != last + 1 {
            self.report(resource, last, offset - 1);
        }
        last
    }

    /// Sends a change.
    async fn send(&mut self, resource: &Resource, entry: LogEntry) {
        let offset = entry.offset;
        let last = self.advance(resource, offset);
        match entry.decode(resource, self.epoch.epoch) {
            // It fails if the server is closing.
            Ok(change) => drop(self.outputs.tail.send(Arc::new(change)).await),
            Err(error) => {
                error!("change {offset} of {resource} is not readable: {error}");
                self.report(resource, last, offset);
            }
        }
        self.outputs.delivery.delivered(resource, self.position(offset));
    }

    fn position(&self, offset: u64) -> Position {
        Position { epoch: self.epoch.epoch, offset }
    }

    fn report(&self, resource: &Resource, after: u64, upto: u64) {
        let upto = self.position(upto);
        warn!("changes of {resource} after {after} up to {} did not reach this node", upto.offset);
        // It fails if nobody receives them.
        let _ = self.outputs.missed.send(MissedChanges { resource: resource.clone(), after, upto });
    }

    /// Compares the logs with what was sent, in another run of Redis: it may have lost changes.
    /// There may have been further runs in between.
    async fn compare(&mut self, connection: &Connection) -> Result<(), Error> {
        let heads = Heads::read(&self.link, connection, self.epoch).await?;
        let (mut lost, followed) = (self.offsets.clone(), self.epoch.epoch);
        self.epoch = connection.epoch;
        // The stream of resources is read again: it may be another one, too.
        self.last_resource = BEGINNING.to_owned();
        self.last_answer = BEGINNING.to_owned();
        self.events.restart(heads.last_event);
        for Head { resource, head, first } in heads.resources {
            let last = lost.remove(&resource);
            let common = first.map_or(head, |first| first - 1);
            self.restart(&resource, (followed, last), common);
        }
        for (resource, last) in lost {
            self.restart(&resource, (followed, Some(last)), 0);
        }
        Ok(())
    }

    /// Continues with the common part of two logs, or after it. Clients may have read what the tail
    /// does not have yet, so these are reported as well if they are lost.
    fn restart(&mut self, resource: &Resource, (followed, last): (u64, Option<u64>), common: u64) {
        self.outputs.delivery.restart(resource, self.position(common));
        let seen = last.unwrap_or_default().max(self.outputs.ends.highest_read(resource, followed));
        if let Some(last) = last {
            let last = last.min(common);
            self.offsets.insert(resource.clone(), last);
            self.outputs.delivery.delivered(resource, self.position(last));
        }
        if common < seen {
            self.report(resource, seen, common);
        }
    }
}

/// The heads of all logs.
struct Heads {
    last_resource: String,
    last_event: u64,
    resources: Vec<Head>,
}

struct Head {
    resource: Resource,
    head: u64,
    /// The first offset of an epoch after the one that was followed, if there is one.
    first: Option<u64>,
}

impl Heads {
    /// Reads the heads for somebody who has followed the logs in an epoch.
    async fn read(link: &Link, connection: &Connection, followed: Epoch) -> Result<Self, Error> {
        let Epoch { epoch, number } = followed;
        let call = Call::new(&script::HEADS).with(epoch).with(number).with(connection.epoch.number);
        let heads = call.command(&link.prefix).query_async(&mut connection.redis.clone()).await;
        let mut heads = Reply::list(heads.map_err(|error| link.error(&error))?)?;
        let (last_resource, last_event) = (heads.text()?, heads.number()?);
        let list = heads.next_list()?;
        let mut resources = Vec::new();
        for head in list {
            let mut head = Reply::list(head)?;
            let (name, offset, first) = (head.text()?, head.number()?, head.text()?);
            let first = first.parse().ok();
            resources.push(Head { resource: Resource::internal(&name), head: offset, first });
        }
        Ok(Self { last_resource, last_event, resources })
    }
}
