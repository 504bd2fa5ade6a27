//! A server for live queries, as docs/protocol.md describes it: it keeps every state of its records,
//! so that a query can be evaluated as of any change.

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

/// A read that is not answered yet.
#[derive(Debug)]
struct Pending {
    ack: u64,
    criteria: Criteria,
    /// The change that its snapshot is taken after.
    snapshot: Option<usize>,
}

#[derive(Debug)]
pub struct Server {
    /// After each change, and before the first.
    pub states: Vec<State>,
    log: Vec<Entry>,
    floor: usize,
    joined: BTreeMap<String, Criteria>,
    /// All rooms there ever were.
    known: BTreeMap<String, Criteria>,
    /// Rooms that the connection was led out of.
    closed: BTreeSet<String>,
    /// Rooms of records that were not there: nobody was told the name.
    pub refused: BTreeSet<String>,
    pending: Vec<Pending>,
    /// Changes up to here have been pushed.
    pushed: usize,
    ledger: BTreeMap<String, Value>,
    /// So many reads will be answered with 500.
    pub failures: usize,
    /// Frames that have left it, each in a channel; only those of one channel stay in their order.
    pub down: VecDeque<(String, String)>,
    /// There is one channel, pushes leave with their commit, and reads are answered one by one.
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

    /// A new connection, or none.
    pub fn disconnected(&mut self) {
        self.joined.clear();
        self.pending.clear();
        self.down.clear();
        self.pushed = self.head();
    }

    pub fn truncate(&mut self) {
        self.floor = self.head();
    }

    /// The connection is led out of a room. Not while a read is in flight that has joined it before:
    /// the core would believe that it is in the room again.
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

    /// A frame of the client. One that is answered at once is, and the pushes of it follow.
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

    /// Takes the snapshot of a read, or answers it if that was done.
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

    /// What a change is in a room, if anything.
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

    /// Pushes what has not been pushed, at most so many changes.
    pub fn push(&mut self, most: usize) {
        let from = self.pushed;
        self.pushed = from.saturating_add(most).min(self.head());
        if from == self.pushed {
            return;
        }
        for (room, criteria) in self.joined.clone() {
            let is_told_in_class = room.starts_with("todo/") && self.joined.contains_key("todo");
            let changes: Vec<_> =
                (from..self.pushed).filter_map(|at| self.change(at, &criteria)).collect();
            if changes.is_empty() || is_told_in_class {
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
