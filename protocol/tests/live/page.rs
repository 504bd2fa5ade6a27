//! A page with live collections: the real client, the real queries, and what the shim does between
//! them and Backbone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backwire_protocol::live::{Answer, Change, Output as Step, Queries};
use backwire_protocol::packet::Packet;
use backwire_protocol::{Client, Instant, Output, Payload, Reply, Request, Token, Verb};
use serde_json::Value;

use crate::server::{Criteria, Record, Server};

/// JSON as the core wants to see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Json(pub Value);

impl Payload for Json {
    fn item(&self, index: u32) -> Option<Self> {
        self.0.get(index as usize).cloned().map(Self)
    }

    fn field(&self, name: &'static str) -> Option<Self> {
        self.0.get(name).filter(|value| !value.is_null()).cloned().map(Self)
    }

    fn number(&self) -> Option<u64> {
        self.0.as_u64()
    }

    fn text(&self) -> Option<String> {
        self.0.as_str().map(Into::into)
    }

    fn size(&self) -> u64 {
        0
    }

    fn id(&self) -> Option<String> {
        self.number().map(|number| number.to_string())
    }
}

/// A collection or a model.
#[derive(Debug, Default)]
pub struct Target {
    /// Ids, also of models that the page has added itself.
    pub models: Vec<String>,
    /// Those that it shows because of its queries, with the change as of which they are known.
    pub shown: BTreeMap<String, usize>,
    pub queries: Vec<(u32, Criteria)>,
    pub has_own_order: bool,
    /// How often it was stopped: a read that was begun before is not applied.
    stops: usize,
}

/// What a request is for.
#[derive(Debug)]
enum Purpose {
    Read { target: u32, query: u32, criteria: Criteria, replaces: bool, stops: usize },
    Ask { query: u32 },
    Write { verb: u64, set: Record },
}

/// The page, its server, and the line between them.
pub struct Page {
    pub server: Server,
    pub targets: BTreeMap<u32, Target>,
    pub asks: usize,
    client: Client<Json>,
    queries: Queries,
    requests: BTreeMap<Token, Purpose>,
    criteria: BTreeMap<u32, Criteria>,
    /// Where the app is in a room.
    places: BTreeMap<String, usize>,
    /// Each record, with the last change that it knows of.
    known: BTreeMap<String, (usize, Record)>,
    next_query: u32,
    up: VecDeque<String>,
    now: u64,
}

impl Page {
    pub fn new(seed: u64, is_orderly: bool) -> Self {
        let mut page = Self {
            server: Server::new(is_orderly),
            targets: BTreeMap::new(),
            asks: 0,
            client: Client::new("s".into(), seed),
            queries: Queries::new(),
            requests: BTreeMap::new(),
            criteria: BTreeMap::new(),
            places: BTreeMap::new(),
            known: BTreeMap::new(),
            next_query: 1,
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

    // What the page does
    // ------------------

    /// Fetches. The same request is the same query.
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

    /// Adds a model that is not of any query.
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
        let request = Request {
            verb: method,
            url,
            body: Some(Json(Value::Object(set.clone()))),
            timeout: None,
        };
        let token = self.client.request(self.instant(), request);
        self.requests.insert(token, Purpose::Write { verb, set: set.clone() });
        self.carry_out();
    }

    fn request(&mut self, verb: Verb, purpose: Purpose, query: u32) {
        let request = Request { verb, url: self.criteria[&query].url(), body: None, timeout: None };
        let token = self.client.request(self.instant(), request);
        self.requests.insert(token, purpose);
        self.carry_out();
    }

    // What the line does
    // ------------------

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

    /// A frame reaches the server.
    pub fn step_up(&mut self) -> bool {
        let frame = self.up.pop_front();
        frame.map(|frame| self.server.received(&frame)).is_some()
    }

    /// A frame reaches the client: the first in its channel.
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

    /// The client reports a change of a part when it has asked what was missed. In order, it is
    /// reported at once.
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

    fn carry_out(&mut self) {
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
                Output::Finish(token, result) => self.finish(token, &result.expect("an answer")),
                Output::Deliver(delivery) => self.deliver(&delivery.room, &delivery.changes),
                Output::Refresh(room) => self.queries.refresh(&room),
                Output::Status(_) => {}
                Output::Refused(message) => panic!("refused: {message}"),
            }
            self.follow();
        }
    }

    // What the shim does
    // ------------------

    fn deliver(&mut self, room: &str, changes: &[Json]) {
        for Json(change) in changes {
            let kind = Change::from_verb(change[1].as_u64().expect("a verb") as u32);
            let id = change[2].to_string();
            let offset = change[0].as_u64().expect("an offset") as usize;
            let set = change[3].as_object().cloned().unwrap_or_default();
            self.queries.changed(room, kind.expect("a verb"), &id, &names_of(&set));
            self.places.insert(room.into(), offset);
            self.know(&id, offset, &set);
        }
    }

    /// Remembers a record, unless something later is known of it, and returns what differs.
    fn know(&mut self, id: &str, offset: usize, set: &Record) -> Option<Vec<String>> {
        let (known_at, known) = self.known.entry(id.into()).or_default();
        if *known_at > offset {
            return None;
        }
        *known_at = offset;
        let differs = |(name, value): &(&String, &Value)| known.get(*name) != Some(value);
        let changed = set.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        known.extend(set.clone());
        Some(changed)
    }

    fn finish(&mut self, token: Token, reply: &Reply<Json>) {
        let reading = Reading::of(reply);
        match (self.requests.remove(&token).expect("each is answered once"), reading) {
            (Purpose::Write { verb, set }, _) => self.wrote(verb, &set, reply),
            (Purpose::Read { target, stops, .. }, Some(mut reading))
                if self.targets[&target].stops != stops =>
            {
                self.learn(&mut reading);
                reading.tell(|answer| self.queries.answered(u32::MAX, answer));
                self.report_others(&reading);
            }
            (Purpose::Read { target, query, criteria, replaces, stops }, reading) => {
                if let Some(mut reading) = reading {
                    self.learn(&mut reading);
                    self.read(target, query, &criteria, replaces, &reading);
                    self.report_others(&reading);
                }
                if self.targets[&target].stops == stops {
                    self.queries.end_read(target);
                }
            }
            (Purpose::Ask { query }, Some(mut reading)) => {
                self.learn(&mut reading);
                reading.tell(|answer| self.queries.answered(query, answer));
                self.report_others(&reading);
            }
            (Purpose::Ask { query }, None) => self.failed(query, reply.status == 404),
        }
    }

    /// Remembers what was read, and what is new in it.
    fn learn(&mut self, reading: &mut Reading) {
        self.places.insert(reading.room.clone(), reading.position);
        for (id, record) in reading.ids.iter().zip(&reading.records) {
            let changed = self.know(id, reading.position, record);
            reading.is_outdated |= changed.is_none();
            reading.changed.extend(changed.unwrap_or_default());
        }
    }

    /// An answer is news of the class room, too: the core does not deliver there what the read of a
    /// single record has shown, and not in the rooms of single records what was read as a whole.
    fn report_others(&mut self, reading: &Reading) {
        if reading.room.starts_with("todo/") && !reading.is_outdated {
            self.queries.changed("todo", Change::Updated, &reading.ids[0], "");
        }
        let singles =
            self.places.keys().filter_map(|room| Some(room.strip_prefix("todo/")?.to_owned()));
        for id in singles.filter(|_| reading.room == "todo").collect::<Vec<_>>() {
            if !reading.ids.contains(&id) {
                self.places.remove(&format!("todo/{id}"));
                self.report(&id, reading.position, Change::Destroyed, &Record::new());
            }
        }
    }

    fn wrote(&mut self, verb: u64, set: &Record, reply: &Reply<Json>) {
        let (Some(Json(id)), Some(Json(headers))) = (&reply.body, &reply.headers) else { return };
        let change = Change::from_verb(verb as u32).expect("a verb");
        self.report(&id.to_string(), position_of(headers).expect("a position"), change, set);
    }

    /// News of the class room that is no push, unless something later is known of the record.
    fn report(&mut self, id: &str, position: usize, change: Change, set: &Record) {
        if self.know(id, position, set).is_some() {
            self.queries.changed("todo", change, id, &names_of(set));
        }
    }

    /// What Backbone does, then what the queries hear of it.
    fn read(
        &mut self,
        id: u32,
        query: u32,
        criteria: &Criteria,
        replaces: bool,
        reading: &Reading,
    ) {
        let target = self.targets.get_mut(&id).expect("it was read");
        if replaces {
            target.queries.retain(|(other, _)| *other == query);
            target.models.clear();
            target.shown.clear();
        }
        if !target.queries.iter().any(|(other, _)| *other == query) {
            target.queries.push((query, criteria.clone()));
        }
        for id in &reading.ids {
            if !target.models.contains(id) {
                target.models.push(id.clone());
            }
            target.shown.entry(id.clone()).or_insert(reading.position);
        }
        let own = target.has_own_order;
        reading.tell(|answer| self.queries.read(query, id, replaces, own, answer));
    }

    fn failed(&mut self, query: u32, is_gone: bool) {
        for target in self.targets.values_mut().filter(|_| is_gone) {
            target.queries.retain(|(other, _)| *other != query);
        }
        self.queries.failed(query, is_gone);
    }

    fn follow(&mut self) {
        while let Some(step) = self.queries.poll() {
            match step {
                Step::Ask(query) => {
                    self.asks += 1;
                    self.request(Verb::Get, Purpose::Ask { query }, query);
                }
                Step::Leave(room) => {
                    assert!(!self.queries.is_followed(&room), "{room} is left and followed");
                    self.client.unsubscribe(&room);
                    self.places.remove(&room);
                    self.carry_out();
                    self.refresh_singles(&room);
                }
                Step::Show { target, added, removed, order } => {
                    self.show(target, &items(&added), &items(&removed), order.map(|o| items(&o)));
                }
            }
        }
    }

    /// A push of the class room that is in flight has the changes of single records, and the core no
    /// longer takes it.
    fn refresh_singles(&mut self, left: &str) {
        for room in self.places.keys().filter(|room| left == "todo" && room.starts_with("todo/")) {
            self.queries.refresh(room);
        }
    }

    fn show(&mut self, id: u32, added: &[String], removed: &[String], order: Option<Vec<String>>) {
        for gone in removed {
            assert!(self.targets[&id].shown.contains_key(gone), "{gone} is removed, but not shown");
            self.check_removal(id, gone);
        }
        let known_at = self.known_at(id);
        let target = self.targets.get_mut(&id).expect("a target that is not stopped");
        target.models.retain(|model| !removed.contains(model));
        target.shown.retain(|shown, _| !removed.contains(shown));
        let is_removed =
            |one: &Criteria| removed.iter().any(|id| one.room() == format!("todo/{id}"));
        target.queries.retain(|(_, criteria)| !is_removed(criteria));
        for new in added {
            let is_new = target.shown.insert(new.clone(), known_at).is_none();
            assert!(is_new, "{new} is added, but shown");
            target.models.push(new.clone());
        }
        if let Some(order) = order {
            assert!(!target.has_own_order, "the page orders it");
            let shown: BTreeSet<_> = target.shown.keys().collect();
            assert_eq!(order.iter().collect::<BTreeSet<_>>(), shown, "an order is one of all");
            assert_eq!(order.len(), shown.len());
            let own: Vec<_> =
                target.models.iter().filter(|id| id.starts_with("own")).cloned().collect();
            target.models = order.into_iter().chain(own).collect();
        }
    }

    /// The change as of which everything is known that a target shows.
    fn known_at(&self, id: u32) -> usize {
        let rooms = self.targets[&id].queries.iter().map(|(_, criteria)| criteria.room());
        rooms.map(|room| self.places.get(&room).copied().unwrap_or(0)).min().unwrap_or(0)
    }

    /// A record is removed only if it was in no result at some time since it was shown. Lists with a
    /// filter each report a record that moves between them one after the other, so they are exempt,
    /// as is all that comes out of order.
    fn check_removal(&self, id: u32, gone: &str) {
        let target = &self.targets[&id];
        let criteria: Vec<_> = target.queries.iter().map(|(_, criteria)| criteria).collect();
        let is_atomic = criteria.len() == 1 || criteria.iter().all(|criteria| criteria.is_part());
        if !self.server.is_orderly || !is_atomic {
            return;
        }
        let states = &self.server.states[target.shown[gone]..];
        let is_in = |state| criteria.iter().any(|c| c.evaluate(state).iter().any(|id| id == gone));
        assert!(!states.iter().all(is_in), "{gone} flickers in {criteria:?}");
    }
}

/// The answer to a read.
#[derive(Debug)]
struct Reading {
    room: String,
    description: String,
    ids: Vec<String>,
    records: Vec<Record>,
    position: usize,
    /// Attributes that differ from what was known.
    changed: Vec<String>,
    /// Something later is known of one of the records.
    is_outdated: bool,
}

impl Reading {
    fn of(reply: &Reply<Json>) -> Option<Self> {
        let (Some(Json(body)), Some(Json(headers))) = (&reply.body, &reply.headers) else {
            return None;
        };
        let records = body.as_array()?;
        Some(Self {
            room: headers["backwire-room"].as_str()?.into(),
            description: headers["backwire-query"].as_str()?.into(),
            ids: records.iter().filter_map(|record| Some(record[0].as_str()?.into())).collect(),
            records: records.iter().filter_map(|record| record[1].as_object().cloned()).collect(),
            position: position_of(headers)?,
            changed: Vec::new(),
            is_outdated: false,
        })
    }

    fn tell(&self, queries: impl FnOnce(Answer<'_>)) {
        let (ids, changed) = (&self.ids.join("\0"), &self.changed.join("\0"));
        queries(Answer { room: &self.room, description: &self.description, ids, changed });
    }
}

fn items(joined: &str) -> Vec<String> {
    joined.split('\0').filter(|item| !item.is_empty()).map(Into::into).collect()
}

fn names_of(set: &Record) -> String {
    set.keys().map(String::as_str).collect::<Vec<_>>().join("\0")
}

fn position_of(headers: &Value) -> Option<usize> {
    headers["backwire-position"].as_str()?.strip_prefix("7:")?.parse().ok()
}
