//! A page: the core of the client and its live queries, with what the shim does in JavaScript.
//!
//! `records` has the records that the page knows, `answers` reads answers, `show` carries out what
//! the live queries decide, and `writes` keeps writes until they are answered.

mod answers;
mod records;
mod show;
mod storage;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_environment::Environment;
use backwire_protocol::live::Queries;
use backwire_protocol::packet::Packet;
use backwire_protocol::{Client, Connection, Instant, Output, Request, Token, Verb};
use backwire_records::change::Id;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::history::History;
use crate::json::Json;
use crate::log_position::LogPosition;
use crate::view::{Kind, Person, Record, View};
use crate::world::{Incoming, Line, LineFault, World};
use records::Records;

pub use storage::{Pick, Storage, WriteKind};

/// A collection or a model.
#[derive(Debug, Default)]
pub struct Target {
    /// The ids that it shows, in order.
    pub shown: Vec<Id>,
    /// The queries that it consists of, in the order of their first reads.
    pub queries: Vec<(u32, View)>,
    /// The queries of destroyed records. A record exists again if its destroy is lost.
    ended: Vec<(u32, View)>,
}

/// The purpose of a request in flight.
#[derive(Debug)]
enum Purpose {
    /// The page has called `fetch`.
    Read { target: u32, query: u32, view: View, replaces: bool },
    /// A live query is read again.
    Ask { query: u32, view: View },
    /// The write with this number.
    Write(u64),
}

/// A request in flight, and the newest place that any client had been answered with before.
struct Pending {
    purpose: Purpose,
    not_before: LogPosition,
    /// See [`Writes::next`](crate::writes::Writes::next).
    number: u64,
}

/// A page, from its load to its unload.
pub struct Page<W: World> {
    /// The device: the tab and its person.
    pub name: String,
    tab: String,
    pub person: String,
    environment: Environment,
    network: Arc<W>,
    history: Arc<History>,
    client: Client<Json>,
    queries: Queries,
    pub targets: BTreeMap<u32, Target>,
    /// The query that each request to read again stands for.
    views: BTreeMap<u32, View>,
    records: Records,
    requests: BTreeMap<Token, Pending>,
    /// The position of the page in each room.
    places: BTreeMap<String, u64>,
    pub storage: Storage,
    /// The id of the last message for the person that this page has handled.
    last_message: u64,
    line: Option<W::Line>,
    /// The number of the open connection.
    lines: u64,
    /// The number of the last connection that was admitted.
    admitted_line: u64,
    /// When the open connection was opened, by the clock of the world.
    line_opened: u64,
    to_self: mpsc::UnboundedSender<(u64, Incoming)>,
    last_token: u32,
    last_query: u32,
    has_failed_queries: bool,
    begin: std::time::Instant,
}

impl<W: World> Page<W> {
    /// Loads a page. It restores the writes of former pages and connects.
    pub fn load(
        network: &Arc<W>,
        tab: &str,
        storage: Storage,
        to_self: mpsc::UnboundedSender<(u64, Incoming)>,
    ) -> Self {
        let environment = network.environment.clone();
        let person = storage.person.clone();
        let name = format!("{tab}-{person}");
        network.messages.loaded(&name, &person);
        let auth = network.auth(&person, &name);
        let session = format!("{name}-{:x}", environment.random_u64());
        let seed = environment.random_u64();
        let mut page = Self {
            name,
            tab: tab.to_owned(),
            person,
            history: Arc::clone(&network.history),
            network: Arc::clone(network),
            client: Client::new(Some(&auth), session, seed),
            queries: Queries::new(),
            targets: BTreeMap::new(),
            views: BTreeMap::new(),
            records: Records::default(),
            requests: BTreeMap::new(),
            places: BTreeMap::new(),
            storage,
            last_message: 0,
            line: None,
            lines: 0,
            admitted_line: 0,
            line_opened: 0,
            to_self,
            last_token: 0,
            last_query: 0,
            has_failed_queries: false,
            begin: environment.now(),
            environment,
        };
        page.restore_writes();
        page.client.connect(page.instant());
        page.carry_out();
        page
    }

    fn instant(&self) -> Instant {
        let passed = self.environment.now() - self.begin;
        Instant::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns when [`tick`](Self::tick) has to be called.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        let deadline = self.client.deadline()?;
        Some(self.environment.now() + self.instant().until(deadline))
    }

    pub fn tick(&mut self) {
        self.client.tick(self.instant());
        self.carry_out();
    }

    /// Handles what has arrived on a connection. Former connections are forgotten.
    pub fn arrived(&mut self, line: u64, incoming: Incoming) {
        if self.line.is_none() || line != self.lines {
            return;
        }
        match incoming {
            Incoming::Closed => {
                self.line = None;
                self.client.closed(self.instant());
            }
            Incoming::Packet(text) => self.received(&text),
        }
        self.carry_out();
    }

    fn received(&mut self, text: &str) {
        let json = |at: usize| serde_json::from_str::<Value>(&text[at..]).map(Json::from);
        let packet = Packet::decode(text).ok().and_then(|packet| packet.try_map(json).ok());
        match packet {
            Some(packet) => self.client.received(self.instant(), packet),
            None => self.history.violated(format!("{}: malformed packet {text}", self.name)),
        }
    }

    pub fn wake(&mut self) {
        self.client.wake(self.instant());
        self.carry_out();
    }

    pub fn park(&mut self) {
        self.client.park(self.instant());
        self.carry_out();
    }

    /// Injects a fault into the connection, if there is one.
    pub fn fault(&self, fault: LineFault) {
        if let Some(line) = &self.line {
            line.inject(fault);
        }
    }

    /// Whether nothing is in flight and the connection is up.
    pub fn is_quiet(&self) -> bool {
        self.requests.is_empty()
            && !self.has_failed_queries
            && self.client.status().state == Connection::Online
    }

    /// Reads a view into a target. Without `replaces`, the records are added to those that it has.
    pub fn read(&mut self, target: u32, view: View, replaces: bool) {
        let entry = self.targets.entry(target).or_default();
        let same = entry.queries.iter().find(|(_, other)| *other == view);
        let query = same.map_or_else(
            || {
                self.last_query += 1;
                self.last_query
            },
            |(query, _)| *query,
        );
        self.views.insert(query, view.clone());
        self.queries.begin_read(target);
        let request = Request::new(Verb::Get, view.url(self.history.names()));
        self.send(request, Purpose::Read { target, query, view, replaces });
    }

    /// Returns the id of one of the known records of a resource, or of any record that exists.
    pub fn pick(&self, kind: Kind, pick: Pick) -> Option<Id> {
        let (ids, pick) = match pick {
            Pick::Known(pick) => (self.records.ids(kind), pick),
            Pick::Guessed(pick) => {
                let all = self.history.records_at(kind, self.history.head(kind));
                (all.into_keys().collect(), pick)
            }
        };
        ids.get(pick % ids.len().max(1)).cloned()
    }

    /// Returns the records that live targets show.
    pub fn shown_records(&self) -> Vec<(Kind, Id, Option<Record>)> {
        let shown = self.targets.values().flat_map(|target| {
            let kind = target.queries.first().map(|(_, view)| view.kind);
            target.shown.iter().filter_map(move |id| Some((kind?, id.clone())))
        });
        let record = |(kind, id): (Kind, Id)| {
            let record = self.records.get(kind, &id).and_then(|known| known.record.clone());
            (kind, id, record)
        };
        shown.map(record).collect()
    }

    /// Ends the live queries of a target.
    pub fn stop(&mut self, target: u32) {
        let is_reading = self
            .requests
            .values()
            .any(|it| matches!(it.purpose, Purpose::Read { target: other, .. } if other == target));
        if !is_reading && self.targets.remove(&target).is_some() {
            self.queries.stop(target);
            self.follow();
        }
    }

    /// Reads failed queries again, as the shim does after a while.
    pub fn retry(&mut self) {
        if std::mem::take(&mut self.has_failed_queries) {
            self.queries.retry();
            self.follow();
        }
    }

    fn send(&mut self, request: Request<Json>, purpose: Purpose) {
        let kind = self.history.names().of_room(request.url.trim_start_matches('/'));
        let not_before = kind.map_or_else(LogPosition::default, |kind| self.history.answered(kind));
        self.send_not_before(request, purpose, not_before);
    }

    fn send_not_before(
        &mut self,
        request: Request<Json>,
        purpose: Purpose,
        not_before: LogPosition,
    ) {
        self.last_token += 1;
        let token = Token(self.last_token);
        let number = self.network.writes.next();
        self.requests.insert(token, Pending { purpose, not_before, number });
        self.client.request(self.instant(), token, request);
        self.carry_out();
    }

    /// Returns the identities that the page may have had since its connection was opened.
    fn identities(&self) -> Vec<Person> {
        self.network.people.since(&self.person, self.line_opened)
    }

    /// Checks that the page may see a record that it has received.
    fn check_access(&self, kind: Kind, record: &Record) {
        if !self.identities().iter().any(|person| person.may_read(kind, record)) {
            self.history.violated(format!(
                "{} ({}) received a record that it may not read: {}",
                self.name,
                self.person,
                Value::Object(record.clone())
            ));
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Open => self.open(),
                Output::Close => self.line = None,
                Output::Send(frame) => {
                    let body = frame.body.map(|Json(body)| body.to_string()).unwrap_or_default();
                    if let Some(line) = &self.line {
                        line.send(format!("{}{body}{}", frame.head, frame.tail));
                    }
                }
                Output::Finish { token, result, .. } => self.finish(token, result),
                Output::Deliver(delivery) if delivery.room.is_empty() => {
                    delivery.changes.iter().for_each(|change| self.handle_message(change));
                }
                Output::Deliver(delivery) => self.deliver(&delivery.room, &delivery.changes),
                Output::Refresh(room) => self.queries.refresh(&room),
                // The status also says how many writes wait.
                Output::Status(status)
                    if status.state == Connection::Online && self.admitted_line != self.lines =>
                {
                    self.admitted_line = self.lines;
                    self.network.messages.connected(&self.name);
                }
                // The shell has no HTTP: requests wait for the connection.
                Output::Http(_)
                | Output::Status(_)
                | Output::Resumed(_)
                | Output::Unauthorized
                | Output::Authenticate => {}
                Output::Refused(message) => {
                    self.network.log(&self.name, "refused", &message);
                }
            }
            self.follow();
        }
    }

    fn open(&mut self) {
        self.lines += 1;
        self.line_opened = self.network.now();
        let to_page = (self.lines, self.to_self.clone());
        self.line = Some(self.network.open(&self.name, to_page));
    }

    /// Handles a message for the person: once, and in the order of the ids.
    fn handle_message(&mut self, Json(change): &Json) {
        let Some(id) = change[2].as_str() else { return };
        let number: u64 = id.parse().unwrap_or(0);
        if number > self.last_message {
            self.last_message = number;
            let number = change[3][1].as_u64();
            self.network.messages.received(&self.name, number);
        }
        self.client.delivered(id);
    }
}
