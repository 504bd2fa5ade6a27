//! A page with live collections: the real client, the real queries, and a connection to a server.

use std::collections::{BTreeMap, VecDeque};

use backwire_protocol::live::Queries;
use backwire_protocol::packet::Packet;
use backwire_protocol::{Client, Instant, Output, Request, Token, Verb};
use serde_json::Value;

use crate::criteria::{Criteria, Record};
use crate::json::Json;
use crate::records::Records;
use crate::server::Server;

/// A collection or a model.
#[derive(Debug, Default)]
pub struct Target {
    /// Ids of all models, including those that the page has added itself.
    pub models: Vec<String>,
    /// Ids that the target shows because of its queries, with the position of their state.
    pub shown: BTreeMap<String, usize>,
    pub queries: Vec<(u32, Criteria)>,
    pub has_own_order: bool,
    /// The number of times that the target was stopped. Earlier reads are not applied.
    pub stops: usize,
}

/// The purpose of a request.
#[derive(Debug)]
pub enum Purpose {
    Read { target: u32, query: u32, criteria: Criteria, replaces: bool, stops: usize },
    Ask { query: u32 },
    Write { verb: u64, set: Record },
}

/// A page, its server, and the connection between them.
pub struct Page {
    pub server: Server,
    pub targets: BTreeMap<u32, Target>,
    pub asks: usize,
    pub client: Client<Json>,
    pub queries: Queries,
    pub requests: BTreeMap<Token, Purpose>,
    criteria: BTreeMap<u32, Criteria>,
    /// The position of the app in each room.
    pub places: BTreeMap<String, usize>,
    pub records: Records,
    next_query: u32,
    /// The number of requests so far.
    made: u32,
    up: VecDeque<String>,
    now: u64,
}

impl Page {
    pub fn new(seed: u64, is_orderly: bool) -> Self {
        let mut page = Self {
            server: Server::new(is_orderly),
            targets: BTreeMap::new(),
            asks: 0,
            client: Client::new(Some(""), "s".into(), seed),
            queries: Queries::new(),
            requests: BTreeMap::new(),
            criteria: BTreeMap::new(),
            places: BTreeMap::new(),
            records: Records::default(),
            next_query: 1,
            made: 0,
            up: VecDeque::new(),
            now: 0,
        };
        page.client.connect(page.instant());
        page.carry_out();
        page
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    // Actions of the page
    // -------------------

    /// Sends a fetch. An equal request belongs to the same query.
    pub fn fetch(&mut self, id: u32, criteria: &Criteria, replaces: bool) {
        let target = self.targets.entry(id).or_default();
        let same = target.queries.iter().find(|(_, other)| other == criteria);
        let query = same.map_or(self.next_query, |(query, _)| *query);
        self.next_query += 1;
        self.criteria.insert(query, criteria.clone());
        let stops = target.stops;
        self.queries.begin_read(id);
        let criteria = criteria.clone();
        let purpose = Purpose::Read { target: id, query, criteria, replaces, stops };
        self.request(Verb::Get, purpose, query);
    }

    pub fn stop(&mut self, id: u32) {
        if let Some(target) = self.targets.get_mut(&id) {
            *target = Target { stops: target.stops + 1, ..Target::default() };
            self.queries.stop(id);
            self.follow();
        }
    }

    pub fn set_order(&mut self, id: u32, has_own_order: bool) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.has_own_order = has_own_order;
            self.queries.reorder(id, has_own_order);
            self.follow();
        }
    }

    /// Adds a model that belongs to no query.
    pub fn add_own(&mut self, id: u32) {
        if let Some(target) = self.targets.get_mut(&id) {
            target.models.push(format!("own{}", target.models.len()));
        }
    }

    pub fn is_followed(&mut self, room: &str) -> bool {
        self.queries.is_followed(room)
    }

    pub fn retry(&mut self) {
        self.queries.retry();
        self.follow();
    }

    pub fn write(&mut self, verb: u64, id: Option<u64>, set: &Record) {
        let method = [Verb::Post, Verb::Patch, Verb::Delete][verb as usize - 1];
        let url = id.map_or("/todo".into(), |id| format!("/todo/{id}"));
        let body = Some(Json(Value::Object(set.clone())));
        let request = Request { body, ..Request::new(method, url) };
        self.ask(request, Purpose::Write { verb, set: set.clone() });
    }

    fn ask(&mut self, request: Request<Json>, purpose: Purpose) {
        self.made += 1;
        let token = Token(self.made);
        self.requests.insert(token, purpose);
        self.client.request(self.instant(), token, request);
        self.carry_out();
    }

    pub fn request(&mut self, verb: Verb, purpose: Purpose, query: u32) {
        self.ask(Request::new(verb, self.criteria[&query].url()), purpose);
    }

    // Actions of the line
    // -------------------

    pub fn break_line(&mut self) {
        self.server.disconnected();
        self.up.clear();
        self.client.closed(self.instant());
        self.carry_out();
        while let Some(deadline) = self.client.deadline() {
            self.now += self.instant().until(deadline).as_millis() as u64;
            self.client.tick(self.instant());
            self.carry_out();
            if !self.server.down.is_empty() {
                break;
            }
        }
    }

    /// Moves a frame to the server.
    pub fn step_up(&mut self) -> bool {
        let frame = self.up.pop_front();
        frame.map(|frame| self.server.received(&frame)).is_some()
    }

    /// Moves a frame to the client: the first one of a channel.
    pub fn step_down(&mut self, at: usize) -> bool {
        let Some(chosen) = self.server.down.get(at % self.server.down.len().max(1)) else {
            return false;
        };
        let first = self.server.down.iter().position(|(channel, _)| *channel == chosen.0);
        let (_, frame) = self.server.down.remove(first.expect("itself")).expect("it is there");
        let packet = Packet::decode(&frame).expect("the server sends packets");
        let packet = packet.try_map(|at| serde_json::from_str(&frame[at..]).map(Json));
        let packet = packet.expect("the server sends JSON");
        self.announce(packet.data.as_ref());
        self.client.received(self.instant(), packet);
        self.carry_out();
        true
    }

    /// Reports a change of a part at once if pushes keep their order. Otherwise the client reports
    /// it after it has resumed the room.
    fn announce(&mut self, data: Option<&Json>) {
        let Some(Json(data)) =
            data.filter(|Json(data)| self.server.is_orderly && data[0] == "push")
        else {
            return;
        };
        let room = data[1].as_str().expect("a room");
        let place = self.places.get(room).copied().unwrap_or(0);
        let is_empty = data[4].as_array().is_some_and(Vec::is_empty);
        if is_empty && data[3].as_u64() > Some(place as u64) {
            self.queries.announced(room);
            self.follow();
        }
    }

    pub fn carry_out(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Open => {
                    let hello = r#"0{"sid":"e","upgrades":[],"pingInterval":9000000,"pingTimeout":9000000,"maxPayload":4000}"#;
                    self.server.down.push_back(("connect".into(), hello.into()));
                }
                Output::Close => self.server.disconnected(),
                Output::Send(frame) => {
                    let body = frame.body.map(|Json(body)| body.to_string()).unwrap_or_default();
                    self.up.push_back(format!("{}{body}{}", frame.head, frame.tail));
                }
                Output::Finish { token, result, .. } => {
                    self.finish(token, &result.expect("an answer"));
                }
                Output::Deliver(delivery) => self.deliver(&delivery.room, &delivery.changes),
                Output::Refresh(room) => self.queries.refresh(&room),
                Output::Status(_)
                | Output::Resumed(_)
                | Output::Http(_)
                | Output::Unauthorized
                | Output::Authenticate => {}
                Output::Refused(message) => panic!("refused: {message}"),
            }
            self.follow();
        }
    }
}
