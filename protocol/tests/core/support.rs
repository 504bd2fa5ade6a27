//! A server and an app for the client machine, in one process, with a simulated clock.
//!
//! The server implements docs/reference/wire-protocol.md in the simplest way (a vector is the log).
//! The test decides when a reply or a push leaves the server. Requests reach the server over the
//! link and over HTTP. The app applies everything as Backbone would, and fails if it would show a
//! record in an older state than before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backwire_protocol::packet::{Kind, Packet};
use backwire_protocol::{
    Client, Failure, Instant, Output, Payload, Reply, Request, RequestKind, Resumed, Token, Verb,
};
use serde_json::{Map, Value, json};

use crate::json::Json;

/// One record; `v` is the offset of its last change.
pub type Record = Map<String, Value>;

#[derive(Debug, Clone)]
struct Entry {
    verb: u64,
    id: u64,
    /// The attributes set, with `v`; null for a destroy.
    data: Value,
    mark: u64,
    previous: u64,
}

/// A status that the server sends for a write instead of committing it.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    pub status: u16,
    pub retry_after: Option<u32>,
}

impl From<u16> for Refusal {
    fn from(status: u16) -> Self {
        Self { status, retry_after: None }
    }
}

/// A backup of a server.
#[derive(Debug, Clone)]
struct Store {
    /// The epoch of each start, and the offset of its first change, if there is one.
    epochs: Vec<(u64, Option<usize>)>,
    log: Vec<Entry>,
    floor: usize,
    records: BTreeMap<u64, Record>,
    ledger: BTreeMap<String, Value>,
    next_id: u64,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    epoch: u64,
    epochs: Vec<(u64, Option<usize>)>,
    /// For each epoch, which of the logs it belongs to: a restored backup begins another one.
    logs: BTreeMap<u64, u64>,
    backup: Option<Store>,
    log: Vec<Entry>,
    /// Changes up to here are no longer in the log.
    floor: usize,
    pub records: BTreeMap<u64, Record>,
    ledger: BTreeMap<String, Value>,
    next_id: u64,
    /// The rooms of the only connection.
    rooms: BTreeSet<String>,
    /// Changes up to here have been pushed.
    pushed: usize,
    replies: VecDeque<String>,
    /// The committed requests, without repeats.
    pub committed: Vec<String>,
    /// The header `x-request` of the committed requests.
    pub committed_by: Vec<String>,
    /// Statuses for the next writes with unknown idempotency keys, instead of commits.
    pub refusals: VecDeque<Refusal>,
    /// The number of next resumes that the server answers with 429.
    pub refused_resumes: usize,
    /// The server refuses connections with this message.
    pub refuses: Option<String>,
    /// The auth of the last CONNECT.
    pub auth: Value,
    /// The headers of the last request.
    pub headers: Value,
    /// The server has refused a write. Writes in flight behind it were committed before it.
    has_refused: bool,
    /// Positions of writes that the ledger answered after that.
    repeated: BTreeSet<String>,
}

impl Server {
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            epochs: vec![(epoch, None)],
            logs: BTreeMap::from([(epoch, 0)]),
            backup: None,
            log: Vec::new(),
            floor: 0,
            records: BTreeMap::new(),
            ledger: BTreeMap::new(),
            next_id: 1,
            rooms: BTreeSet::new(),
            pushed: 0,
            replies: VecDeque::new(),
            committed: Vec::new(),
            committed_by: Vec::new(),
            refusals: VecDeque::new(),
            refused_resumes: 0,
            refuses: None,
            auth: Value::Null,
            headers: Value::Null,
            has_refused: false,
            repeated: BTreeSet::new(),
        }
    }

    /// Begins another epoch with an empty log, like a memory engine after a restart. The records
    /// are kept, so that there is something to read again.
    pub fn lose_log(&mut self) {
        self.epochs.clear();
        self.begin(true);
        self.log.clear();
        self.floor = 0;
        self.pushed = 0;
        for record in self.records.values_mut() {
            record.insert("v".into(), json!(0));
        }
    }

    /// Restarts the server with its log.
    pub fn restart(&mut self) {
        self.begin(false);
    }

    pub fn back_up(&mut self) {
        self.backup = Some(Store {
            epochs: self.epochs.clone(),
            log: self.log.clone(),
            floor: self.floor,
            records: self.records.clone(),
            ledger: self.ledger.clone(),
            next_id: self.next_id,
        });
    }

    /// Restarts the server with the last backup. Returns `false` if there is none.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        let Store { epochs, log, floor, records, ledger, next_id } = backup;
        (self.epochs, self.log, self.floor) = (epochs, log, floor);
        (self.records, self.ledger, self.next_id) = (records, ledger, next_id);
        self.pushed = self.log.len();
        // Writes to records that are no longer there are refused.
        self.has_refused = true;
        self.begin(true);
        true
    }

    /// Begins another epoch, whose log may be another one.
    fn begin(&mut self, is_another_log: bool) {
        let log = self.logs[&self.epoch];
        self.epoch = self.logs.keys().max().expect("there is an epoch") + 1;
        self.epochs.push((self.epoch, None));
        let last = *self.logs.values().max().expect("there is a log");
        self.logs.insert(self.epoch, if is_another_log { last + 1 } else { log });
    }

    /// Returns whether the log contains the changes after a position.
    fn reaches(&self, epoch: u64, offset: usize) -> bool {
        let Some(at) = self.epochs.iter().position(|(it, _)| *it == epoch) else { return false };
        let mut later = self.epochs[at + 1..].iter().filter_map(|(_, first)| *first);
        (self.floor..=self.log.len()).contains(&offset) && later.all(|first| offset < first)
    }

    pub fn truncate(&mut self) {
        self.floor = self.log.len();
    }

    fn disconnected(&mut self) {
        self.rooms.clear();
        self.replies.clear();
        self.pushed = self.log.len();
    }

    fn head(&self) -> u64 {
        self.log.len() as u64
    }

    /// Makes a write of another client. An impossible write does nothing.
    pub fn write(&mut self, verb: u64, id: Option<u64>, data: &Value) {
        self.commit(verb, id, data, 0);
    }

    fn commit(&mut self, verb: u64, id: Option<u64>, data: &Value, mark: u64) -> Option<u64> {
        let id = id.unwrap_or(self.next_id);
        let offset = self.head() + 1;
        let mut set = data.as_object().cloned().unwrap_or_default();
        set.insert("id".into(), json!(id));
        set.insert("v".into(), json!(offset));
        let previous = self.records.get(&id).map(|record| record["v"].as_u64().unwrap_or(0));
        match (verb, previous) {
            (1, None) => {
                self.next_id = self.next_id.max(id + 1);
                self.records.insert(id, set.clone());
            }
            (2, Some(_)) => {
                let record = self.records.get_mut(&id)?;
                set.iter().for_each(|(name, value)| {
                    record.insert(name.clone(), value.clone());
                });
            }
            (3, Some(_)) => {
                self.records.remove(&id);
            }
            _ => return None,
        }
        let data = if verb == 3 { Value::Null } else { Value::Object(set) };
        let (_, first) = self.epochs.last_mut().expect("there is an epoch");
        first.get_or_insert(offset as usize);
        self.log.push(Entry { verb, id, data, mark, previous: previous.unwrap_or(0) });
        Some(id)
    }

    fn received(&mut self, frame: &str) {
        let packet = Packet::decode(frame).expect("the client sends packets");
        let packet = packet.try_map(|at| serde_json::from_str::<Value>(&frame[at..]));
        let packet = packet.expect("the client sends JSON");
        match (packet.kind, packet.data) {
            (Kind::Connect, auth) => {
                self.auth = auth.expect("the CONNECT has a version");
                self.replies.push_back(match &self.refuses {
                    Some(message) => format!("44{}", json!({ "message": message })),
                    None => "40{\"sid\":\"x\"}".into(),
                });
            }
            (Kind::Event, Some(data)) => self.event(packet.ack, &data),
            (Kind::Pong, None) => {}
            unexpected => panic!("unexpected {unexpected:?}"),
        }
    }

    fn event(&mut self, ack: Option<u64>, data: &Value) {
        let answer = match data[0].as_str().expect("an event has a name") {
            "resume" if self.refused_resumes > 0 => {
                self.refused_resumes -= 1;
                json!({"statusCode": 429, "body": {"code": "E_TOO_MANY"}})
            }
            "resume" => {
                let rooms = data[1].as_array().expect("rooms");
                Value::Array(rooms.iter().map(|room| self.resume(room)).collect())
            }
            "unsubscribe" => {
                self.rooms.remove(data[1].as_str().expect("a room"));
                return;
            }
            verb => self.request(verb, &data[1], true),
        };
        let ack = ack.expect("whatever wants an answer has an ack");
        self.replies.push_back(format!("43{ack}[{answer}]"));
    }

    fn resume(&mut self, asked: &Value) -> Value {
        let room = asked[0].as_str().expect("a room").to_owned();
        self.rooms.insert(room.clone());
        let from = asked[2].as_u64().expect("an offset") as usize;
        let numbers = asked.as_array().expect("an entry")[1..].iter();
        let mut numbers: Vec<_> = numbers.map(|it| it.as_u64().expect("a number")).collect();
        // The entry has one epoch for its first two offsets.
        numbers.insert(2, numbers[0]);
        if !numbers.chunks(2).all(|at| self.reaches(at[0], at[1] as usize)) {
            return json!([room, null]);
        }
        let changes: Vec<_> = (from..self.log.len())
            .filter(|at| self.is_in(*at, &room))
            .map(|at| self.change(at))
            .collect();
        json!([room, self.epoch, self.head(), changes])
    }

    /// Handles a request. A read joins a room over the link, and none over HTTP.
    fn request(&mut self, verb: &str, request: &Value, is_joining: bool) -> Value {
        self.headers = request["headers"].clone();
        let url = request["url"].as_str().expect("a url");
        let id: Option<u64> = url.strip_prefix("/todo/").map(|id| id.parse().expect("an id"));
        if verb == "get" {
            return self.read(url, id, is_joining);
        }
        let key = request["headers"]["idempotency-key"].as_str().expect("a key").to_owned();
        if let Some(stored) = self.ledger.get(&key) {
            if self.has_refused {
                let position = &stored["headers"]["backwire-position"];
                self.repeated.insert(position.as_str().expect("a position").to_owned());
            }
            return stored.clone();
        }
        if let Some(Refusal { status, retry_after }) = self.refusals.pop_front() {
            self.has_refused = true;
            let headers = retry_after.map(|seconds| json!({"retry-after": seconds.to_string()}));
            return json!({"statusCode": status, "body": {"code": "E_REFUSED"}, "headers": headers});
        }
        let number = match verb {
            "post" => 1,
            "put" | "patch" => 2,
            _ => 3,
        };
        let mark = backwire_protocol::mark(&key);
        let before = id.and_then(|id| self.records.get(&id).cloned());
        let Some(id) = self.commit(number, id, &request["data"], mark) else {
            return json!({"statusCode": 404, "body": {"code": "E_NOT_FOUND"}});
        };
        self.committed.push(format!("{verb} {url}"));
        self.committed_by.extend(request["headers"]["x-request"].as_str().map(Into::into));
        let body = self.records.get(&id).cloned().or(before);
        let answer = json!({"statusCode": 200, "body": body, "headers": {
            "backwire-position": self.position(),
            "backwire-record": format!("todo/{id}"),
        }});
        self.ledger.insert(key, answer.clone());
        answer
    }

    fn read(&mut self, url: &str, id: Option<u64>, is_joining: bool) -> Value {
        let room = url.trim_start_matches('/').to_owned();
        let body = match id {
            None => json!(self.records.values().collect::<Vec<_>>()),
            Some(id) => match self.records.get(&id) {
                Some(record) => json!(record),
                None => return json!({"statusCode": 404, "body": {"code": "E_NOT_FOUND"}}),
            },
        };
        let mut headers = json!({"backwire-position": self.position()});
        if is_joining {
            self.rooms.insert(room.clone());
            headers["backwire-room"] = json!(room);
        }
        json!({"statusCode": 200, "body": body, "headers": headers})
    }

    fn position(&self) -> String {
        format!("{}:{}", self.epoch, self.head())
    }

    fn is_in(&self, at: usize, room: &str) -> bool {
        room == "todo" || room == format!("todo/{}", self.log[at].id)
    }

    fn change(&self, at: usize) -> Value {
        let Entry { verb, id, data, mark, .. } = &self.log[at];
        json!([at + 1, verb, id, data, mark])
    }

    /// Pushes the next changes to the joined rooms, at most `most` in one frame.
    fn push(&mut self, most: usize) -> Vec<String> {
        let from = self.pushed;
        let to = (from + most).min(self.log.len());
        self.pushed = to;
        let frame = |room: &str, prev: u64, changes: Vec<Value>| {
            format!("42{}", json!(["push", room, self.epoch, prev, changes]))
        };
        if self.rooms.contains("todo") {
            let changes: Vec<_> = (from..to).map(|at| self.change(at)).collect();
            return if changes.is_empty() {
                vec![]
            } else {
                vec![frame("todo", from as u64, changes)]
            };
        }
        (from..to)
            .map(|at| (at, format!("todo/{}", self.log[at].id)))
            .filter(|(_, room)| self.rooms.contains(room))
            .map(|(at, room)| frame(&room, self.log[at].previous, vec![self.change(at)]))
            .collect()
    }
}

/// A page, which applies responses and changes as Backbone would.
#[derive(Debug, Default)]
pub struct App {
    /// The collection, if it has been fetched.
    pub shown: BTreeMap<u64, Record>,
    /// The newest shown state of each record, including destroyed ones.
    newest: BTreeMap<u64, u64>,
    /// The newest state of each record that a read over HTTP has shown. The rooms do not know it.
    newest_by_http: BTreeMap<u64, u64>,
    /// The newest state of each record that a response to a write over HTTP has shown. That
    /// response may arrive before the one of an older read over the link, which sets the page back.
    written_by_http: BTreeMap<u64, u64>,
    /// The log that the shown states are of.
    log: u64,
    /// A backup was restored, and the collection was not read since. Changes of the former log that
    /// the client has received may still be delivered.
    pub is_between_logs: bool,
    /// The collection was read over the link.
    pub is_live: bool,
    /// The position of the last read of the collection.
    read_at: u64,
    pub results: Vec<(Token, Result<Reply<Json>, Failure>)>,
    /// Finished writes that had waited.
    pub waited: BTreeSet<Token>,
    pub refreshes: usize,
    /// The results of resumes.
    pub resumes: Vec<Resumed>,
    pub news: usize,
}

impl App {
    /// Applies a response. `destroyed` is the record of a delete. The response to a write of which
    /// the server knows that it is a repeat, or that the page sent itself (`is_external`), may
    /// arrive after later changes.
    fn finish(
        &mut self,
        token: Token,
        destroyed: Option<u64>,
        result: Result<Reply<Json>, Failure>,
        is_over_http: bool,
        server: &Server,
        is_external: bool,
    ) {
        if let Ok(Reply { status: 200, body: Some(Json(body)), headers: Some(headers) }) = &result {
            let position = headers.field("backwire-position").and_then(|text| text.text());
            let position = position.expect("a position");
            let (epoch, offset) = numbers(&position);
            let log = server.logs[&epoch];
            if log != self.log {
                self.newest.clear();
                self.newest_by_http.clear();
                self.written_by_http.clear();
                self.read_at = 0;
                self.log = log;
            }
            // The client cannot know of a refusal that was lost with the connection. So a repeated
            // write may be answered after later changes, and the page goes by the position.
            let id = destroyed.or_else(|| body.get("id")?.as_u64());
            let of = |newest: &BTreeMap<u64, u64>| id.and_then(|id| newest.get(&id)).copied();
            // A record that the last read of all records lacks does not exist.
            let newest = of(&self.newest).unwrap_or(self.read_at);
            let is_late = is_external
                || server.repeated.contains(&position)
                || of(&self.newest_by_http).is_some_and(|newest| offset < newest);
            let is_read = headers.field("backwire-record").is_none();
            let lacks_record = !is_read && offset == 0;
            if is_read && is_over_http {
                self.merge(body);
            } else if !(lacks_record || is_late && offset < newest) {
                if is_read {
                    self.end_of_former_log(id, log == server.logs[&server.epoch]);
                    self.set_back(id, offset);
                    self.read_at = if id.is_none() { offset } else { self.read_at };
                } else if let Some(id) = id.filter(|_| is_over_http) {
                    self.written_by_http.insert(id, offset);
                }
                self.apply(body, destroyed.map(|id| (id, offset)));
            }
        }
        self.results.push((token, result));
    }

    /// A read of the collection ends what is left of a former log.
    fn end_of_former_log(&mut self, id: Option<u64>, is_current: bool) {
        if self.is_between_logs && id.is_none() && is_current {
            self.is_between_logs = false;
            self.newest.clear();
        }
    }

    /// Allows older states after a read that lacks writes over HTTP.
    fn set_back(&mut self, id: Option<u64>, to: u64) {
        for (written, offset) in &self.written_by_http {
            if *offset > to && id.is_none_or(|id| id == *written) {
                self.newest.insert(*written, 0);
            }
        }
    }

    /// Applies a read over HTTP: only states that are newer than the shown ones.
    fn merge(&mut self, body: &Value) {
        let records = body.as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
        for record in records.iter().map(|record| record.as_object().expect("a record")) {
            let (id, v) =
                (record["id"].as_u64().expect("an id"), record["v"].as_u64().expect("a v"));
            if v > self.newest.get(&id).copied().unwrap_or(0) {
                self.newest_by_http.insert(id, v);
                self.show(record.clone());
            }
        }
    }

    fn apply(&mut self, body: &Value, destroyed: Option<(u64, u64)>) {
        if let Some((id, offset)) = destroyed {
            self.grow(id, offset);
            self.shown.remove(&id);
        } else if let Some(records) = body.as_array() {
            self.shown.clear();
            self.is_live = true;
            let records = records.iter().map(|record| record.as_object().expect("a record"));
            records.cloned().for_each(|record| self.show(record));
        } else {
            self.show(body.as_object().expect("a record").clone());
        }
    }

    fn show(&mut self, record: Record) {
        let id = record["id"].as_u64().expect("an id");
        let v = record["v"].as_u64().expect("a version");
        self.grow(id, v);
        self.shown.insert(id, record);
    }

    /// Invariant: a record is never shown in an older state than before.
    fn grow(&mut self, id: u64, v: u64) {
        let newest = self.newest.entry(id).or_insert(0);
        let may_go_back = v >= *newest || self.is_between_logs;
        assert!(may_go_back, "record {id} went back from {newest} to {v}");
        *newest = v;
    }

    fn deliver(&mut self, changes: &[Json]) {
        for Json(change) in changes {
            let (offset, verb) = (change[0].as_u64().expect("offset"), change[1].as_u64());
            let id = change[2].as_u64().expect("an id");
            if self.newest_by_http.get(&id).is_some_and(|newest| offset <= *newest) {
                continue;
            }
            self.news += 1;
            let newest = self.newest.get(&id).copied().unwrap_or(0);
            let is_in_order = offset > newest || self.is_between_logs;
            assert!(is_in_order, "change {offset} of record {id} came after {newest}");
            self.newest.insert(id, offset);
            match verb {
                Some(1) => {
                    self.shown.insert(id, change[3].as_object().expect("a record").clone());
                }
                Some(2) => {
                    if let Some(record) = self.shown.get_mut(&id) {
                        record.extend(change[3].as_object().expect("attributes").clone());
                    }
                }
                _ => {
                    self.shown.remove(&id);
                }
            }
        }
    }
}

/// A client, its app, a server, and the connection between them.
pub struct Pair {
    pub client: Client<Json>,
    pub server: Server,
    pub app: App,
    pub now: u64,
    /// The open WebSocket of the client: the frames in flight in each direction.
    line: Option<(VecDeque<String>, VecDeque<String>)>,
    /// No attempt succeeds.
    pub is_cut: bool,
    pub statuses: Vec<backwire_protocol::Status>,
    tokens: u32,
    destroys: BTreeMap<Token, u64>,
    /// Requests in the form for HTTP: the method, and the argument that the event would have.
    asked: BTreeMap<Token, (Verb, Value)>,
    /// Writes that the app sends itself.
    external: BTreeSet<Token>,
    /// Requests over HTTP in flight to the server.
    http: VecDeque<Token>,
    /// Responses over HTTP in flight to the client; `None` if the server was unreachable.
    http_answers: VecDeque<(Token, Option<Value>)>,
    /// Requests that finish now were answered over HTTP.
    is_over_http: bool,
    /// Requests over HTTP do not reach the server.
    pub is_http_cut: bool,
    /// The highest numbers of requests, and of writes, that were in flight over HTTP at once.
    pub max_over_http: (usize, usize),
    /// The number of outputs that asked for other auth.
    pub unauthorized: usize,
    /// The number of outputs that asked for the auth of a CONNECT.
    pub asked_for_auth: usize,
    /// Messages of permanent refusals.
    pub refused: Vec<String>,
    /// Nothing passes over the open WebSocket, and nobody notices.
    pub is_silent: bool,
    /// The number of attempts to connect.
    pub attempts: usize,
    /// The most frames that were in flight to the server at once.
    pub max_in_flight: usize,
}

impl Pair {
    pub fn new(seed: u64) -> Self {
        Self {
            client: Client::new(Some(""), "s".into(), seed),
            server: Server::new(7),
            app: App::default(),
            now: 0,
            line: None,
            is_cut: false,
            statuses: Vec::new(),
            tokens: 0,
            destroys: BTreeMap::new(),
            asked: BTreeMap::new(),
            external: BTreeSet::new(),
            http: VecDeque::new(),
            http_answers: VecDeque::new(),
            is_over_http: false,
            is_http_cut: false,
            max_over_http: (0, 0),
            unauthorized: 0,
            asked_for_auth: 0,
            refused: Vec::new(),
            is_silent: false,
            attempts: 0,
            max_in_flight: 0,
        }
    }

    /// Creates a pair whose client asks for its auth before each CONNECT.
    pub fn asking() -> Self {
        Self { client: Client::new(None, "s".into(), 1), ..Self::new(1) }
    }

    pub fn connected() -> Self {
        let mut pair = Self::new(1);
        pair.client.connect(pair.instant());
        pair.run();
        pair
    }

    pub fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    pub fn ask(&mut self, verb: Verb, url: &str, body: Value) -> Token {
        let body = (!body.is_null()).then_some(Json(body));
        self.send(Request { body, ..Request::new(verb, url) })
    }

    /// Makes a write that the app sends itself.
    pub fn ask_external(&mut self, verb: Verb, url: &str, body: Value) -> Token {
        let body = (!body.is_null()).then_some(Json(body));
        let kind = RequestKind::External;
        let token = self.send(Request { body, kind, ..Request::new(verb, url) });
        self.external.insert(token);
        self.http.push_back(token);
        token
    }

    /// Makes a request with its headers, and adds a header that identifies it.
    pub fn send(&mut self, mut request: Request<Json>) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        if request.verb == Verb::Delete {
            let id = request.url.trim_start_matches("/todo/").parse().expect("an id");
            self.destroys.insert(token, id);
        }
        let headers = request.headers.take().unwrap_or_else(|| "{}".into());
        let mut headers: Value = serde_json::from_str(&headers).expect("JSON");
        headers["x-request"] = json!(self.tokens.to_string());
        request.headers = Some(headers.to_string());
        if request.verb != Verb::Get {
            let key = request.key.clone().unwrap_or_else(|| format!("s-{}", self.tokens));
            headers["idempotency-key"] = json!(key);
        }
        let body = request.body.clone().map(|Json(body)| body);
        let sent = json!({"url": request.url, "headers": headers, "data": body});
        self.asked.insert(token, (request.verb, sent));
        self.client.request(self.instant(), token, request);
        self.carry_out();
        token
    }

    pub fn result(&self, token: Token) -> Option<&Result<Reply<Json>, Failure>> {
        self.app.results.iter().find(|(of, _)| *of == token).map(|(_, result)| result)
    }

    pub fn status_of(&self, token: Token) -> Option<u16> {
        self.result(token)?.as_ref().ok().map(|reply| reply.status)
    }

    /// Breaks the link and HTTP. Both stay broken.
    pub fn cut(&mut self) {
        self.is_http_cut = true;
        self.cut_link();
    }

    /// Breaks the link. It stays broken.
    pub fn cut_link(&mut self) {
        self.is_cut = true;
        self.break_line();
    }

    /// Breaks the connection. The next attempt may succeed.
    pub fn break_line(&mut self) {
        if self.line.take().is_some() {
            self.server.disconnected();
            self.client.closed(self.instant());
            self.carry_out();
        }
    }

    /// Repairs the link and HTTP, and waits until the client has reconnected.
    pub fn repair(&mut self) {
        self.is_http_cut = false;
        self.repair_link();
    }

    /// Repairs the link, and waits until the client has reconnected.
    pub fn repair_link(&mut self) {
        self.is_cut = false;
        self.wait(4_000);
    }

    /// Lets time pass, and handles everything that is due.
    pub fn wait(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        self.run();
        while let Some(deadline) = self.client.deadline() {
            let until = self.instant().until(deadline).as_millis() as u64;
            if self.now + until > end {
                break;
            }
            self.now += until;
            self.client.tick(self.instant());
            self.run();
        }
        self.now = end;
    }

    /// Delivers everything that is in flight: replies first, then pushes.
    pub fn run(&mut self) {
        self.carry_out();
        while self.step_up()
            || self.step_reply()
            || self.step_push(100)
            || self.step_down()
            || self.step_http()
            || self.step_http_answer()
        {}
    }

    /// Moves a request over HTTP to the server, or reports that the server is unreachable.
    pub fn step_http(&mut self) -> bool {
        let Some(token) = self.http.pop_front() else {
            return false;
        };
        let (verb, request) = &self.asked[&token];
        let is_reached = !self.is_http_cut;
        let answer = is_reached.then(|| self.server.request(verb.event(), request, false));
        self.http_answers.push_back((token, answer));
        true
    }

    /// Moves a response over HTTP to the client.
    pub fn step_http_answer(&mut self) -> bool {
        let Some((token, answer)) = self.http_answers.pop_front() else {
            return false;
        };
        let answer = answer.unwrap_or_else(|| json!({"statusCode": 0}));
        let status = answer["statusCode"].as_u64().and_then(|status| status.try_into().ok());
        let field = |name| Some(answer[name].clone()).filter(|value| !value.is_null()).map(Json);
        let (body, headers) = (field("body"), field("headers"));
        let status = status.expect("a status");
        let reply = Reply { status, body, headers };
        self.client.answered_over_http(self.instant(), token, reply);
        self.is_over_http = true;
        self.carry_out();
        self.is_over_http = false;
        true
    }

    /// Loses all responses over HTTP that are in flight.
    pub fn lose_http_answers(&mut self) {
        self.http_answers.iter_mut().for_each(|(_, answer)| *answer = None);
    }

    /// The open WebSocket, if it carries anything.
    fn carrying_line(&mut self) -> Option<&mut (VecDeque<String>, VecDeque<String>)> {
        self.line.as_mut().filter(|_| !self.is_silent)
    }

    /// Lets nothing pass over the open WebSocket any more, as after a change of the network. The
    /// server has left the connection.
    pub fn silence(&mut self) {
        self.is_silent = self.line.is_some();
    }

    /// Moves a frame of the client to the server.
    pub fn step_up(&mut self) -> bool {
        let Some(frame) = self.carrying_line().and_then(|(up, _)| up.pop_front()) else {
            return false;
        };
        self.server.received(&frame);
        true
    }

    /// Sends a reply of the server.
    pub fn step_reply(&mut self) -> bool {
        let (Some((_, down)), Some(reply)) = (&mut self.line, self.server.replies.pop_front())
        else {
            return false;
        };
        down.push_back(reply);
        true
    }

    /// Sends pushes of the server.
    pub fn step_push(&mut self, most: usize) -> bool {
        let Some((_, down)) = &mut self.line else {
            return false;
        };
        let before = self.server.pushed;
        down.extend(self.server.push(most));
        self.server.pushed > before
    }

    /// Moves a frame of the server to the client.
    pub fn step_down(&mut self) -> bool {
        let Some(frame) = self.carrying_line().and_then(|(_, down)| down.pop_front()) else {
            return false;
        };
        self.receive(&frame);
        true
    }

    /// Passes a frame to the client.
    pub fn receive(&mut self, frame: &str) {
        let packet = Packet::decode(frame).expect("the server sends packets");
        let packet = packet.try_map(|at| serde_json::from_str(&frame[at..]).map(Json));
        self.client.received(self.instant(), packet.expect("the server sends JSON"));
        self.carry_out();
    }

    pub fn carry_out(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Open => self.open(),
                Output::Close => {
                    if self.line.take().is_some() {
                        self.server.disconnected();
                    }
                }
                Output::Send(frame) => {
                    let body = frame.body.map(|Json(body)| body.to_string()).unwrap_or_default();
                    let text = format!("{}{body}{}", frame.head, frame.tail);
                    let (up, _) = self.line.as_mut().expect("it sends on an open line only");
                    up.push_back(text);
                    self.max_in_flight = self.max_in_flight.max(up.len());
                }
                Output::Finish { token, result, waited } => {
                    let destroyed = self.destroys.remove(&token);
                    self.app.waited.extend(waited.then_some(token));
                    let is_external = self.external.contains(&token);
                    let (server, is_over_http) = (&self.server, self.is_over_http);
                    self.app.finish(token, destroyed, result, is_over_http, server, is_external);
                }
                Output::Http(token) => self.send_over_http(token),
                Output::Deliver(delivery) => self.app.deliver(&delivery.changes),
                Output::Refresh(room) => {
                    self.app.refreshes += 1;
                    self.ask(Verb::Get, &format!("/{room}"), Value::Null);
                }
                Output::Resumed(resumed) => self.app.resumes.push(resumed),
                Output::Status(status) => self.statuses.push(status),
                Output::Unauthorized => self.unauthorized += 1,
                Output::Authenticate => self.asked_for_auth += 1,
                Output::Refused(message) => self.refused.push(message),
            }
        }
    }

    fn send_over_http(&mut self, token: Token) {
        self.http.push_back(token);
        let answers = self.http_answers.iter().map(|(token, _)| token);
        let on_their_way: Vec<_> = self.http.iter().chain(answers).collect();
        let is_write =
            |token: &&&Token| self.asked[token].0 != Verb::Get && !self.external.contains(token);
        let writes = on_their_way.iter().filter(is_write).count();
        let (most, most_writes) = &mut self.max_over_http;
        *most = (*most).max(on_their_way.len());
        *most_writes = (*most_writes).max(writes);
    }

    fn open(&mut self) {
        self.attempts += 1;
        self.is_silent = false;
        if self.is_cut {
            self.client.closed(self.instant());
            return;
        }
        let open_packet = r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":4000}"#;
        self.line = Some((VecDeque::new(), VecDeque::from([open_packet.to_owned()])));
        self.server.disconnected();
    }
}

/// Parses `epoch:offset`.
fn numbers(position: &str) -> (u64, u64) {
    let (epoch, offset) = position.split_once(':').expect("epoch:offset");
    (epoch.parse().expect("an epoch"), offset.parse().expect("an offset"))
}
