//! A client that reads the log of a resource, as every client can: it reads the resource once, and
//! resumes it later from the position of that read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant as Time};

use backwire_protocol::packet::Packet;
use backwire_protocol::wire::{ChangeVerb, header};
use backwire_protocol::{Client, Instant, Output, Payload, Reply, Request, Resumed, Token, Verb};
use backwire_records::change::{Change, Id, Position, Resource, Verb as Operation};
use backwire_records::counted::counted;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::json::Json;
use crate::view::{Kind, Record};
use crate::world::{Incoming, Line, World};

/// A client that follows a resource and shows nothing.
pub struct Recorder<W: World> {
    network: Arc<W>,
    name: String,
    kind: Kind,
    client: Client<Json>,
    line: Option<W::Line>,
    /// The number of the open connection.
    lines: u64,
    to_self: mpsc::UnboundedSender<(u64, Incoming)>,
    arrivals: mpsc::UnboundedReceiver<(u64, Incoming)>,
    last_token: u32,
    begin: Time,
    records: BTreeMap<Id, Arc<Record>>,
    changes: Vec<Arc<Change>>,
    /// The offset of the first read.
    base: u64,
    /// The server has refused to resume, because its log does not reach back that far.
    has_gap: bool,
}

/// The outcome of a step of the client.
enum Step {
    Answered(Reply<Json>),
    Resumed(Resumed),
    Refused(String),
}

impl<W: World> Recorder<W> {
    /// Connects as a person and reads the resource, which must be empty. Then it disconnects.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the read, does not answer within `limit`, or has records.
    pub async fn begin(
        network: &Arc<W>,
        name: &str,
        person: &str,
        kind: Kind,
        limit: Duration,
    ) -> Result<Self, String> {
        let environment = &network.environment;
        let (to_self, arrivals) = mpsc::unbounded_channel();
        let session = format!("{name}-{:x}", environment.random_u64());
        let auth = network.auth(person, name);
        let mut recorder = Self {
            network: Arc::clone(network),
            name: name.to_owned(),
            kind,
            client: Client::new(Some(&auth), session, environment.random_u64()),
            line: None,
            lines: 0,
            to_self,
            arrivals,
            last_token: 0,
            begin: environment.now(),
            records: BTreeMap::new(),
            changes: Vec::new(),
            base: 0,
            has_gap: false,
        };
        recorder.client.connect(recorder.instant());
        recorder.read(limit).await?;
        recorder.client.disconnect(recorder.instant());
        recorder.carry_out();
        Ok(recorder)
    }

    /// Creates a record, destroys it, and begins again after that. A server that is killed before
    /// its first write knows nothing of the positions that it has given to clients before.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses that, or does not answer within `limit`.
    pub async fn touch(&mut self, limit: Duration) -> Result<(), String> {
        self.client.connect(self.instant());
        let url = format!("/{}", self.resource());
        let body = json!({"stamp": 0, "done": false, "rank": 0});
        let reply = self.request(Verb::Post, &url, Some(body), limit).await?;
        let id = reply.body.and_then(|Json(body)| Id::from_json(&body["id"]));
        let id = id.ok_or("the answer to a create has no id")?;
        self.request(Verb::Delete, &format!("{url}/{id}"), None, limit).await?;
        self.read(limit).await?;
        self.client.disconnect(self.instant());
        self.carry_out();
        self.records.clear();
        self.changes.clear();
        Ok(())
    }

    /// Reads the resource, which must be empty, and takes the position as the begin of the log.
    async fn read(&mut self, limit: Duration) -> Result<(), String> {
        let name = self.resource().to_owned();
        let reply = self.request(Verb::Get, &format!("/{name}"), None, limit).await?;
        let count = reply.body.as_ref().and_then(|Json(body)| body.as_array()).map(Vec::len);
        if count != Some(0) {
            let count = count.map_or_else(|| "no list".to_owned(), |it| counted(it, "record"));
            return Err(format!("the resource {name} has {count}, and must be empty"));
        }
        let position = reply.headers.as_ref().and_then(|headers| headers.field(header::POSITION));
        let position = position.and_then(|position| position.text());
        let offset = position.and_then(|text| text.split_once(':')?.1.parse().ok());
        self.base = offset.ok_or("the answer to a read has no position")?;
        Ok(())
    }

    /// Returns the name of the resource.
    fn resource(&self) -> &str {
        self.network.history.names().of(self.kind)
    }

    /// Returns the offset at which the log begins.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Returns the changes so far, or `None` if the server no longer had all of them.
    pub fn changes(&self) -> Option<&[Arc<Change>]> {
        (!self.has_gap).then_some(&*self.changes)
    }

    /// Connects, gets all changes since the last time, and disconnects.
    ///
    /// # Errors
    ///
    /// Fails if the server does not answer within `limit`.
    pub async fn catch_up(&mut self, limit: Duration) -> Result<(), String> {
        self.client.connect(self.instant());
        let end = self.network.environment.now() + limit;
        loop {
            match self.step(end).await? {
                Step::Resumed(Resumed { recovered, .. }) => {
                    self.has_gap |= !recovered;
                    self.client.disconnect(self.instant());
                    self.carry_out();
                    return Ok(());
                }
                Step::Answered(_) => {}
                Step::Refused(message) => return Err(message),
            }
        }
    }

    /// Destroys all records of the resource. Returns how many there were.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses that, or does not answer within `limit`.
    pub async fn clean_up(&mut self, limit: Duration) -> Result<usize, String> {
        self.client.connect(self.instant());
        let url = format!("/{}", self.resource());
        let mut count = 0;
        loop {
            let reply = self.request(Verb::Get, &format!("{url}?limit=100"), None, limit).await?;
            let records = reply.body.as_ref().and_then(|Json(body)| body.as_array().cloned());
            let ids: Vec<_> =
                records.iter().flatten().filter_map(|it| Id::from_json(&it["id"])).collect();
            if ids.is_empty() {
                return Ok(count);
            }
            for id in ids {
                self.request(Verb::Delete, &format!("{url}/{id}"), None, limit).await?;
                count += 1;
            }
        }
    }

    /// Sends a request, and returns the answer if it is a 2xx, or the record to destroy is gone.
    async fn request(
        &mut self,
        verb: Verb,
        url: &str,
        body: Option<Value>,
        limit: Duration,
    ) -> Result<Reply<Json>, String> {
        self.last_token += 1;
        let request = Request { body: body.map(Json::from), ..Request::new(verb, url) };
        self.client.request(self.instant(), Token(self.last_token), request);
        let end = self.network.environment.now() + limit;
        loop {
            match self.step(end).await? {
                Step::Answered(reply) => {
                    let is_gone = verb == Verb::Delete && reply.status == 404;
                    if matches!(reply.status, 200..300) || is_gone {
                        return Ok(reply);
                    }
                    let body = reply.body.map(|Json(body)| body.to_string()).unwrap_or_default();
                    return Err(format!("{url} was answered with {} {body}", reply.status));
                }
                Step::Resumed(Resumed { recovered, .. }) => self.has_gap |= !recovered,
                Step::Refused(message) => return Err(message),
            }
        }
    }

    fn instant(&self) -> Instant {
        let passed = self.network.environment.now() - self.begin;
        Instant::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Runs the client until something has happened.
    async fn step(&mut self, end: Time) -> Result<Step, String> {
        let environment = self.network.environment.clone();
        loop {
            if let Some(step) = self.carry_out() {
                return Ok(step);
            }
            let deadline =
                self.client.deadline().map(|it| environment.now() + self.instant().until(it));
            let timer = environment.sleep_until(deadline.unwrap_or(end).min(end));
            tokio::select! {
                biased;
                Some((line, incoming)) = self.arrivals.recv() => self.arrived(line, incoming),
                () = timer => {
                    if environment.now() >= end {
                        return Err(format!("{}: the server has not answered in time", self.name));
                    }
                    self.client.tick(self.instant());
                }
            }
        }
    }

    fn arrived(&mut self, line: u64, incoming: Incoming) {
        if self.line.is_none() || line != self.lines {
            return;
        }
        match incoming {
            Incoming::Closed => {
                self.line = None;
                self.client.closed(self.instant());
            }
            Incoming::Packet(text) => {
                let json = |at: usize| serde_json::from_str::<Value>(&text[at..]).map(Json::from);
                let packet =
                    Packet::decode(&text).ok().and_then(|packet| packet.try_map(json).ok());
                match packet {
                    Some(packet) => self.client.received(self.instant(), packet),
                    None => self.client.malformed(self.instant()),
                }
            }
        }
    }

    fn carry_out(&mut self) -> Option<Step> {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Open => {
                    self.lines += 1;
                    let to_self = (self.lines, self.to_self.clone());
                    self.line = Some(self.network.open_directly(&self.name, to_self));
                }
                Output::Close => self.line = None,
                Output::Send(frame) => {
                    let body = frame.body.map(|Json(body)| body.to_string()).unwrap_or_default();
                    if let Some(line) = &self.line {
                        line.send(format!("{}{body}{}", frame.head, frame.tail));
                    }
                }
                Output::Finish { result, .. } => {
                    let failed = |_| Reply { status: 0, body: None, headers: None };
                    return Some(Step::Answered(result.unwrap_or_else(failed)));
                }
                Output::Deliver(delivery) if delivery.room == self.resource() => {
                    delivery.changes.iter().for_each(|change| self.record(change));
                }
                Output::Refresh(_) => self.has_gap = true,
                Output::Resumed(resumed) => return Some(Step::Resumed(resumed)),
                Output::Refused(message) => return Some(Step::Refused(message)),
                Output::Deliver(_)
                | Output::Http(_)
                | Output::Status(_)
                | Output::Unauthorized
                | Output::Authenticate => {}
            }
        }
        None
    }

    /// Adds a change of the log, with the states of its record before and after.
    fn record(&mut self, Json(change): &Json) {
        let parsed =
            (change[0].as_u64(), Id::from_json(&change[2]), Resource::parse(self.resource()));
        let (Some(offset), Some(id), Some(resource)) = parsed else { return };
        let verb = change[1].as_u64().and_then(|verb| u32::try_from(verb).ok());
        let set = change[3].as_object().cloned().unwrap_or_default();
        let before = self.records.get(&id).cloned();
        let verb = match verb.and_then(ChangeVerb::from_number) {
            Some(ChangeVerb::Created) => Operation::Create,
            Some(ChangeVerb::Updated) => Operation::Update,
            _ => Operation::Destroy,
        };
        let after = (verb != Operation::Destroy).then(|| {
            let mut record = before.as_deref().cloned().unwrap_or_default();
            record.extend(set.clone());
            Arc::new(record)
        });
        match &after {
            Some(after) => self.records.insert(id.clone(), Arc::clone(after)),
            None => self.records.remove(&id),
        };
        let mark = change[4].as_u64().unwrap_or(0);
        self.changes.push(Arc::new(Change {
            resource,
            position: Position { epoch: 0, offset },
            previous: 0,
            verb,
            id,
            before,
            after,
            set,
            mark,
            published: false,
            origin: None,
            new_members: None,
            at: 0,
        }));
    }
}
