//! A server for live queries, as docs/reference/wire-protocol.md describes it. It keeps every state
//! of its records, so that it can evaluate a query as of any change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backwire_protocol::packet::{Kind, Packet};
use serde_json::{Value, json};

use crate::criteria::{Criteria, Record, State};

const CREATED: u64 = 1;
const UPDATED: u64 = 2;
const DESTROYED: u64 = 3;
const LEFT: u64 = 4;

#[derive(Debug)]
struct Entry {
    verb: u64,
    id: u64,
    set: Record,
    mark: u64,
}

/// An unanswered read.
#[derive(Debug)]
struct Pending {
    ack: u64,
    criteria: Criteria,
    /// The position of its snapshot, once it is taken.
    snapshot: Option<usize>,
}

#[derive(Debug)]
pub struct Server {
    /// The state before the first change, and the state after each change.
    pub states: Vec<State>,
    log: Vec<Entry>,
    floor: usize,
    joined: BTreeMap<String, Criteria>,
    /// All rooms that were ever joined.
    known: BTreeMap<String, Criteria>,
    /// Rooms that the server has closed for the connection.
    closed: BTreeSet<String>,
    /// Rooms of missing records. The server does not send their names.
    pub refused: BTreeSet<String>,
    pending: Vec<Pending>,
    /// The number of changes that were pushed.
    pushed: usize,
    ledger: BTreeMap<String, Value>,
    /// The number of next reads that the server answers with 500.
    pub failures: usize,
    /// Frames in flight to the client, each in a channel. Only frames of one channel keep their
    /// order.
    pub down: VecDeque<(String, String)>,
    /// There is one channel, pushes are sent with their commit, and reads are answered one by one.
    pub is_orderly: bool,
}

impl Server {
    pub fn new(is_orderly: bool) -> Self {
        Self {
            states: vec![State::new()],
            log: Vec::new(),
            floor: 0,
            joined: BTreeMap::new(),
            known: BTreeMap::new(),
            closed: BTreeSet::new(),
            refused: BTreeSet::new(),
            pending: Vec::new(),
            pushed: 0,
            ledger: BTreeMap::new(),
            failures: 0,
            down: VecDeque::new(),
            is_orderly,
        }
    }

    pub fn head(&self) -> usize {
        self.log.len()
    }

    pub fn state(&self) -> &State {
        &self.states[self.head()]
    }

    pub fn rooms(&self) -> BTreeSet<String> {
        self.joined.keys().cloned().collect()
    }

    /// Ends the connection.
    pub fn disconnected(&mut self) {
        self.joined.clear();
        self.pending.clear();
        self.down.clear();
        self.pushed = self.head();
    }

    pub fn truncate(&mut self) {
        self.floor = self.head();
    }

    /// Closes a room for the connection, unless a read is in flight. Such a read may have joined
    /// the room before, and the core would believe that it is in the room again.
    pub fn close(&mut self, at: usize) {
        let is_reading = self.down.iter().any(|(_, frame)| frame.starts_with("43"));
        if is_reading || !self.pending.is_empty() {
            return;
        }
        let Some(room) = self.joined.keys().nth(at).cloned() else { return };
        self.joined.remove(&room);
        self.closed.insert(room.clone());
        self.send(&room, format!("42{}", json!(["push", room, 0, 0, []])));
    }

    fn send(&mut self, channel: &str, frame: String) {
        let channel = if self.is_orderly { "" } else { channel };
        self.down.push_back((channel.into(), frame));
    }

    fn acknowledge(&mut self, ack: u64, answer: &Value) {
        self.send(&format!("ack {ack}"), format!("43{ack}[{answer}]"));
    }

    pub fn write(&mut self, verb: u64, id: Option<u64>, set: &Record) -> Option<u64> {
        self.commit(verb, id, set, 0)
    }

    fn commit(&mut self, verb: u64, id: Option<u64>, set: &Record, mark: u64) -> Option<u64> {
        let id = id.unwrap_or_else(|| self.log.iter().map(|entry| entry.id).max().unwrap_or(0) + 1);
        let mut state = self.state().clone();
        match verb {
            CREATED => drop(state.insert(id, set.clone())),
            UPDATED => state.get_mut(&id)?.extend(set.clone()),
            _ => drop(state.remove(&id)?),
        }
        self.states.push(state);
        self.log.push(Entry { verb, id, set: set.clone(), mark });
        Some(id)
    }

    /// Handles a frame of the client. Pushes follow the answer.
    pub fn received(&mut self, frame: &str) {
        let packet = Packet::decode(frame).expect("the client sends packets");
        let packet = packet.try_map(|at| serde_json::from_str::<Value>(&frame[at..]));
        let packet = packet.expect("the client sends JSON");
        match (packet.kind, packet.data) {
            (Kind::Connect, _) => self.send("connect", "40{\"sid\":\"x\"}".into()),
            (Kind::Event, Some(data)) => self.event(packet.ack, &data),
            unexpected => panic!("unexpected {unexpected:?}"),
        }
    }

    fn event(&mut self, ack: Option<u64>, data: &Value) {
        match data[0].as_str().expect("an event has a name") {
            "unsubscribe" => drop(self.joined.remove(data[1].as_str().expect("a room"))),
            "resume" => {
                let rooms = data[1].as_array().expect("rooms");
                let answer = rooms.iter().map(|room| self.resume(room)).collect();
                self.acknowledge(ack.expect("an ack"), &Value::Array(answer));
            }
            "get" => self.get(ack.expect("an ack"), data[1]["url"].as_str().expect("a url")),
            verb => {
                let answer = self.write_of_client(verb, &data[1]);
                self.acknowledge(ack.expect("an ack"), &answer);
            }
        }
    }

    fn join(&mut self, room: &str, criteria: &Criteria) {
        self.joined.insert(room.into(), criteria.clone());
        self.known.insert(room.into(), criteria.clone());
    }

    fn get(&mut self, ack: u64, url: &str) {
        if self.failures > 0 {
            self.failures -= 1;
            return self.acknowledge(ack, &json!({"statusCode": 500}));
        }
        let criteria = Criteria::parse(url);
        self.closed.remove(&criteria.room());
        self.join(&criteria.room(), &criteria);
        self.pending.push(Pending { ack, criteria, snapshot: None });
    }

    /// Takes the snapshot of a read, or sends the answer if the snapshot is taken.
    pub fn answer(&mut self, at: usize) -> bool {
        let head = self.head();
        let at = if self.is_orderly { 0 } else { at % self.pending.len().max(1) };
        let is_orderly = self.is_orderly;
        let Some(pending) = self.pending.get_mut(at) else { return false };
        if !is_orderly && pending.snapshot.is_none() {
            pending.snapshot = Some(head);
            return true;
        }
        let Pending { ack, criteria, snapshot } = self.pending.remove(at);
        let answer = self.read(&criteria, snapshot.unwrap_or(head));
        self.acknowledge(ack, &answer);
        true
    }

    fn read(&mut self, criteria: &Criteria, snapshot: usize) -> Value {
        let room = criteria.room();
        let ids = criteria.evaluate(&self.states[snapshot]);
        let is_missing = matches!(criteria, Criteria::One(_)) && ids.is_empty();
        if is_missing {
            self.refused.insert(room);
            return json!({"statusCode": 404});
        }
        let record = |id: &String| json!([id, self.states[snapshot][&id.parse().expect("an id")]]);
        let records: Vec<_> = ids.iter().map(record).collect();
        json!({"statusCode": 200, "body": records, "headers": {
            "backwire-position": format!("7:{snapshot}"),
            "backwire-room": room,
            "backwire-query": criteria.description(),
        }})
    }

    fn write_of_client(&mut self, verb: &str, request: &Value) -> Value {
        let key = request["headers"]["idempotency-key"].as_str().expect("a key").to_owned();
        if let Some(stored) = self.ledger.get(&key) {
            return stored.clone();
        }
        let id = request["url"].as_str().and_then(|url| url.strip_prefix("/todo/")?.parse().ok());
        let number = ["post", "patch", "delete"].iter().position(|name| *name == verb);
        let number = number.expect("a verb") as u64 + 1;
        let set = request["data"].as_object().cloned().unwrap_or_default();
        let Some(id) = self.commit(number, id, &set, backwire_protocol::mark(&key)) else {
            return json!({"statusCode": 404});
        };
        let answer = json!({"statusCode": 200, "body": id, "headers": {
            "backwire-position": format!("7:{}", self.head()),
            "backwire-record": format!("todo/{id}"),
        }});
        self.ledger.insert(key, answer.clone());
        answer
    }

    fn resume(&mut self, asked: &Value) -> Value {
        let room = asked[0].as_str().expect("a room").to_owned();
        let criteria = self.known[&room].clone();
        self.joined.insert(room.clone(), criteria.clone());
        let from = asked[2].as_u64().expect("an offset") as usize;
        let changes: Vec<_> =
            (from..self.head()).filter_map(|at| self.change(at, &criteria)).collect();
        let is_lost = from < self.floor || self.closed.contains(&room);
        if is_lost || criteria.is_part() && !changes.is_empty() {
            return json!([room, null]);
        }
        json!([room, 7, self.head(), changes])
    }

    /// Returns a change in the form that it has in a room, or `None` if it does not concern the
    /// room.
    fn change(&self, at: usize, criteria: &Criteria) -> Option<Value> {
        let Entry { verb, id, set, mark } = &self.log[at];
        let selects =
            |state: &State| state.get(id).is_some_and(|record| criteria.selects(*id, record));
        let (verb, data) = match (selects(&self.states[at]), selects(&self.states[at + 1])) {
            (false, true) => (CREATED, json!(self.states[at + 1][id])),
            (true, true) => (UPDATED, json!(set)),
            (true, false) if *verb == DESTROYED => (DESTROYED, Value::Null),
            (true, false) => (LEFT, Value::Null),
            (false, false) => return None,
        };
        Some(json!([at + 1, verb, id, data, mark]))
    }

    /// Pushes the next changes, at most this many.
    pub fn push(&mut self, most: usize) {
        let from = self.pushed;
        self.pushed = from.saturating_add(most).min(self.head());
        if from == self.pushed {
            return;
        }
        for (room, criteria) in self.joined.clone() {
            let is_pushed_in_class = room.starts_with("todo/") && self.joined.contains_key("todo");
            let changes: Vec<_> =
                (from..self.pushed).filter_map(|at| self.change(at, &criteria)).collect();
            if changes.is_empty() || is_pushed_in_class {
                continue;
            }
            let previous = (0..from).rev().find(|at| self.change(*at, &criteria).is_some());
            let previous = previous.map_or(0, |at| at + 1);
            let push = if criteria.is_part() {
                json!(["push", room, 7, changes[changes.len() - 1][0], []])
            } else {
                json!(["push", room, 7, previous, changes])
            };
            self.send(&room, format!("42{push}"));
        }
    }
}
