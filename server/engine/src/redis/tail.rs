//! The tail: one task per node follows the logs of all resources with a blocking connection of its
//! own, and sends the changes of all nodes to the channel. It follows the stream of events as well.
//! Changes of resources that nobody at this node follows are left out, and are not decoded.
//!
//! Invariant: each change is sent once and in order, whatever happens to the connection: the task
//! continues after the last offset that it has sent. If the log has dropped the next change, or
//! Redis has lost changes, it reports a [`Gap`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backwire_records::change::{Position, Resource};
use redis::{Value, cmd};
use tokio::sync::mpsc::{Receiver, UnboundedSender};
use tracing::{error, warn};

use super::connection::{Commands, Connection};
use super::delivery::Delivery;
use super::events::Events;
use super::handshake::Epoch;
use super::interests::Interests;
use super::link::Link;
use super::log_ends::LogEnds;
use super::reply::{Reply, text};
use super::runtime::{self, Moment, Task, pause};
use super::script::{self, Call};
use super::stored::LogEntry;
use crate::{Error, Gap, StoreEvent, Tail};

/// How long Redis waits for changes in one command.
const BLOCK: Duration = Duration::from_secs(1);

/// The maximum number of changes of each resource in one reply.
const MAX_CHANGES: usize = 64;

/// The time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

/// What the follower reports changes to.
pub(super) struct Outputs {
    pub(super) delivery: Arc<Delivery>,
    pub(super) tail: Tail,
    pub(super) gaps: UnboundedSender<Gap>,
    pub(super) ends: Arc<LogEnds>,
    pub(super) interests: Arc<Interests>,
}

/// A follower of all logs.
pub(super) struct Follower {
    link: Arc<Link>,
    outputs: Outputs,
    /// Connections that are probably broken if this one is.
    others: [Arc<Commands>; 2],
    epoch: Epoch,
    /// The last entry of the stream of resources that was read.
    last_resource: String,
    /// The last offset of each resource that was sent.
    offsets: BTreeMap<Resource, u64>,
    events: Events,
}

impl Follower {
    /// Begins after all changes so far.
    pub(super) async fn begin(
        link: Arc<Link>,
        connection: &Connection,
        outputs: Outputs,
        others: [Arc<Commands>; 2],
    ) -> Result<(Self, Receiver<StoreEvent>), Error> {
        let heads = Heads::read(&link, connection).await?;
        let mut offsets = BTreeMap::new();
        for Head { resource, head, .. } in heads.resources {
            let position = Position { epoch: connection.epoch.epoch, offset: head };
            outputs.delivery.delivered(&resource, position);
            offsets.insert(resource, head);
        }
        let (epoch, last_resource) = (connection.epoch, heads.last_resource);
        let (events, receiver) = Events::begin(heads.last_event);
        let follower = Self { link, outputs, others, epoch, last_resource, offsets, events };
        Ok((follower, receiver))
    }

    /// Starts the task, which ends with its engine.
    pub(super) fn spawn(self) -> Task {
        runtime::spawn(self.run())
    }

    async fn run(mut self) {
        loop {
            if let Err(error) = self.follow().await {
                warn!("the tail reconnects: {error}");
            }
            self.others.iter().for_each(|other| other.suspect());
            pause(RETRY).await;
        }
    }

    /// Follows the logs until the connection fails.
    async fn follow(&mut self) -> Result<(), Error> {
        let mut connection = Connection::open(&self.link, BLOCK).await?;
        if connection.epoch != self.epoch {
            self.compare(&connection).await?;
        }
        let mut checked = Moment::now();
        loop {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(MAX_CHANGES).arg("BLOCK").arg(BLOCK.as_millis().to_string());
            read.arg("STREAMS").arg(format!("{}:resources", self.link.prefix));
            read.arg(self.events_key());
            for resource in self.offsets.keys() {
                read.arg(self.log(resource));
            }
            read.arg(&self.last_resource).arg(format!("{}-0", self.events.last));
            for offset in self.offsets.values() {
                read.arg(format!("{offset}-0"));
            }
            self.events.report_missed();
            if checked.elapsed() >= BLOCK {
                self.check_epoch(&mut connection).await?;
                checked = Moment::now();
            }
            let streams: Result<Value, _> = read.query_async(&mut connection.redis).await;
            let streams = streams.map_err(|error| self.link.error(&error))?;
            for stream in Reply::list(streams)? {
                self.receive(Reply::list(stream)?).await?;
            }
        }
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

    fn log(&self, resource: &Resource) -> String {
        format!("{}:log:{resource}", self.link.prefix)
    }

    fn events_key(&self) -> String {
        format!("{}:events", self.link.prefix)
    }

    /// Receives the new entries of a stream.
    async fn receive(&mut self, mut stream: Reply) -> Result<(), Error> {
        let (name, entries) = (stream.text()?, stream.next_list()?);
        if name == self.events_key() {
            return self.events.receive(entries);
        }
        let Some(resource) = name.strip_prefix(&format!("{}:log:", self.link.prefix)) else {
            return self.receive_resources(entries);
        };
        self.receive_changes(&Resource::internal(resource), entries).await
    }

    async fn receive_changes(&mut self, resource: &Resource, entries: Reply) -> Result<(), Error> {
        let Some(last) = entries.peek_last() else { return Ok(()) };
        let last = LogEntry::offset_of(last)?;
        // First the end, and then the interest: see `log_ends`.
        self.outputs.ends.passed(resource, self.position(last));
        if !self.outputs.interests.include(resource) {
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
        // It fails if nobody asks for gaps.
        let _ = self.outputs.gaps.send(Gap { resource: resource.clone(), after, upto });
    }

    /// Compares the logs with what was sent, in another run of Redis: it may have lost changes.
    async fn compare(&mut self, connection: &Connection) -> Result<(), Error> {
        let heads = Heads::read(&self.link, connection).await?;
        let mut lost = self.offsets.clone();
        self.epoch = connection.epoch;
        // The stream of resources is read again: it may be another one, too.
        self.last_resource = "0-0".to_owned();
        self.events.restart(heads.last_event);
        for Head { resource, head, first } in heads.resources {
            let Some(last) = lost.remove(&resource) else { continue };
            let common = first.map_or(head, |first| first - 1);
            match common < last {
                true => self.restart(&resource, last, common),
                false => self.outputs.delivery.delivered(&resource, self.position(last)),
            }
        }
        for (resource, last) in lost.into_iter().filter(|(_, last)| *last > 0) {
            self.restart(&resource, last, 0);
        }
        Ok(())
    }

    /// Continues after the common part of two logs.
    fn restart(&mut self, resource: &Resource, last: u64, common: u64) {
        self.offsets.insert(resource.clone(), common);
        self.outputs.delivery.restart(resource, self.position(common));
        self.report(resource, last, common);
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
    /// The first offset in the epoch of the connection, if there is one.
    first: Option<u64>,
}

impl Heads {
    async fn read(link: &Link, connection: &Connection) -> Result<Self, Error> {
        let call = Call::new(&script::HEADS).with(connection.epoch.number);
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
