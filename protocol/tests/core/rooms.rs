//! Many rooms of one resource on one client. The position of a room moves only by reads and
//! deliveries that concern the room.
//!
//! The server here is a log, with the rooms that the connection has joined. For a request it first
//! joins the room, then reads, then answers; other events may happen in between. It may lose a
//! push. The model of the page is the set of changes that it knows from reads and from deliveries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::json::Json;
use backwire_protocol::packet::{Kind, Packet};
use backwire_protocol::{Client, Instant, Output, Request, Token, Verb};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Record ids. One of them contains a slash.
const IDS: [&str; 3] = ["1", "2", "1/2"];

/// Rooms and the urls that lead to them: the class room, rooms of records, rooms of filters (one
/// contains a slash), and the room of one record for a user with restricted access.
const ROOMS: [(&str, &str); 9] = [
    ("todo", "/todo"),
    ("todo/1", "/todo/1"),
    ("todo/2", "/todo/2"),
    ("todo/1/2", "/todo/1%2F2"),
    (r#"todo?{"done":true}"#, "/todo?done=true"),
    (r#"todo?{"path":"/a"}"#, "/user/1/todo"),
    (r#"todo?["1",{}]"#, "/todo/1?mine"),
    // Urls that do not name the resource.
    ("todo", "/all-of-them"),
    ("todo/1", "/the-first"),
];

#[derive(Debug, Clone)]
enum Act {
    Read(usize),
    Leave(usize),
    /// A change of this record. Each bit states whether the record is in a filter's room.
    Change(usize, u8),
    /// The server joins the room and reads for the next request, or answers the next joined
    /// request.
    Join,
    Answer,
    Push(usize),
    /// The server loses a push. It may later announce the position without changes.
    Lose(usize),
    Receive(u8),
    Break,
}

fn act() -> impl Strategy<Value = Act> {
    let room = 0..ROOMS.len();
    prop_oneof![
        3 => room.clone().prop_map(Act::Read),
        1 => room.clone().prop_map(Act::Leave),
        6 => (0..IDS.len(), 0..8u8).prop_map(|(id, bits)| Act::Change(id, bits)),
        4 => Just(Act::Join),
        4 => Just(Act::Answer),
        6 => room.clone().prop_map(Act::Push),
        1 => room.prop_map(Act::Lose),
        6 => (0..4u8).prop_map(Act::Receive),
        1 => Just(Act::Break),
    ]
}

/// A change: the index of the record, and a bit for each filter's room that contains it.
type Entry = (usize, u8);

fn is_in(room: &str, (id, bits): Entry) -> bool {
    match room {
        "todo" => true,
        r#"todo?{"done":true}"# => bits & 1 > 0,
        r#"todo?{"path":"/a"}"# => bits & 2 > 0,
        r#"todo?["1",{}]"# => bits & 4 > 0 && id == 0,
        instance => instance.strip_prefix("todo/") == Some(IDS[id]),
    }
}

fn is_filter(room: &str) -> bool {
    room.contains('?')
}

#[derive(Default)]
struct Server {
    log: Vec<Entry>,
    /// Joined rooms, with the number of changes that are pushed to each.
    rooms: BTreeMap<String, usize>,
    /// Received requests: ack id and event.
    requests: VecDeque<(u64, Value)>,
    /// Answers to requests whose room is joined and read.
    answers: VecDeque<String>,
}

impl Server {
    fn received(&mut self, frame: &str) -> Option<String> {
        let packet = Packet::decode(frame).expect("the client sends packets");
        let data: Value = packet.data.map_or(Value::Null, |at| {
            serde_json::from_str(&frame[at..]).expect("the client sends JSON")
        });
        match (packet.kind, packet.ack) {
            (Kind::Connect, _) => return Some(r#"40{"sid":"x"}"#.into()),
            (Kind::Event, Some(ack)) => self.requests.push_back((ack, data)),
            (Kind::Event, None) => drop(self.rooms.remove(data[1].as_str().expect("a room"))),
            _ => {}
        }
        None
    }

    fn join(&mut self) {
        let Some((ack, event)) = self.requests.pop_front() else { return };
        let answer = match event[0].as_str() {
            Some("resume") => {
                event[1].as_array().expect("rooms").iter().map(|r| self.resume(r)).collect()
            }
            _ => self.read(event[1]["url"].as_str().expect("a url")),
        };
        self.answers.push_back(format!("43{ack}[{answer}]"));
    }

    fn read(&mut self, url: &str) -> Value {
        let (room, _) = ROOMS.iter().find(|(_, of)| *of == url).expect("a known url");
        self.rooms.entry((*room).into()).or_insert(self.log.len());
        let position = format!("7:{}", self.log.len());
        json!({"statusCode": 200, "headers": {"backwire-room": room, "backwire-position": position}})
    }

    fn resume(&mut self, asked: &Value) -> Value {
        let (room, from) =
            (asked[0].as_str().expect("a room"), asked[2].as_u64().expect("an offset"));
        self.rooms.entry(room.into()).or_insert(self.log.len());
        let changes = self.changes(room, from as usize, self.log.len());
        json!([room, 7, self.log.len(), changes])
    }

    fn changes(&self, room: &str, from: usize, to: usize) -> Vec<Value> {
        let of = |at: &usize| is_in(room, self.log[*at]);
        (from..to).filter(of).map(|at| json!([at + 1, 2, IDS[self.log[at].0], {}, 0])).collect()
    }

    /// Returns the changes in a room that are not pushed yet. A connection in the class room gets
    /// the changes of a record there, and not in the record's room.
    fn push(&mut self, room: &str) -> Option<String> {
        let from = *self.rooms.get(room)?;
        self.rooms.insert(room.into(), self.log.len());
        if room == "todo" {
            let records = self.rooms.iter_mut().filter(|(room, _)| room.starts_with("todo/"));
            records.for_each(|(_, pushed)| *pushed = self.log.len());
        } else if !is_filter(room) && self.rooms.contains_key("todo") {
            return None;
        }
        let prev = (0..from).rev().find(|at| is_in(room, self.log[*at])).map_or(0, |at| at + 1);
        let changes = self.changes(room, from, self.log.len());
        (!changes.is_empty()).then(|| format!("42{}", json!(["push", room, 7, prev, changes])))
    }
}

/// The page's knowledge: the number of known changes for each record (from the class room and the
/// rooms of records) and for each filter's room.
#[derive(Default)]
struct Page {
    /// The rooms that the page has read and not left.
    rooms: BTreeSet<&'static str>,
    known: BTreeMap<String, usize>,
    /// Later changes may be delivered again, because the page was set back to this snapshot.
    read_at: BTreeMap<String, usize>,
}

impl Page {
    /// Returns the unit of knowledge: a record, or the whole room of a filter.
    fn subject(room: &str, entry: Entry) -> String {
        if is_filter(room) { room.into() } else { IDS[entry.0].into() }
    }

    fn was_read(&mut self, room: &'static str, offset: usize) {
        self.rooms.insert(room);
        let entries = (0..IDS.len()).map(|id| (id, 7)).filter(|entry| is_in(room, *entry));
        for subject in entries.map(|entry| Self::subject(room, entry)) {
            // A list that lacks a record removes it from the page. A record that was read in an
            // older state stays as it is known.
            let is_one = room.starts_with("todo/");
            let known = self.known.get(&subject).copied().filter(|_| is_one).unwrap_or(0);
            self.known.insert(subject.clone(), known.max(offset));
            self.read_at.insert(subject, offset);
        }
    }

    /// Returns unknown changes of a subject, up to this offset.
    fn missing<'a>(
        &'a self,
        log: &'a [Entry],
        room: &'a str,
        subject: &'a str,
        to: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let known = self.known.get(subject).copied().unwrap_or(0);
        (known..to)
            .filter(move |at| is_in(room, log[*at]) && Self::subject(room, log[*at]) == subject)
    }

    fn deliver(&mut self, log: &[Entry], room: &str, offset: usize) {
        assert!(self.rooms.contains(room), "{offset} is delivered in {room}, which was not read");
        let entry = log[offset - 1];
        assert!(is_in(room, entry), "{offset} is not in {room}");
        let subject = Self::subject(room, entry);
        let known = self.known.get(&subject).copied().unwrap_or(0);
        let is_again = offset > self.read_at.get(&subject).copied().unwrap_or(0);
        let is_known = offset <= known;
        assert!(
            is_again || !is_known,
            "{offset} of {subject} is delivered in {room} after {known}"
        );
        let missing: Vec<_> = self.missing(log, room, &subject, offset - 1).collect();
        assert!(missing.is_empty(), "before {offset} in {room} {missing:?} are missing");
        self.known.insert(subject, known.max(offset));
    }
}

struct Run {
    client: Client<Json>,
    server: Server,
    page: Page,
    /// Frames in flight to the client.
    down: VecDeque<String>,
    /// The room of each unanswered request.
    asked: BTreeMap<Token, usize>,
    tokens: u32,
    /// The client may have missed a change and cannot know that.
    is_lossy: bool,
}

const NOW: Instant = Instant::from_millis(0);

impl Run {
    fn new() -> Self {
        let mut run = Self {
            client: Client::new(Some(""), "s".into(), 1),
            server: Server::default(),
            page: Page::default(),
            down: VecDeque::new(),
            asked: BTreeMap::new(),
            tokens: 0,
            is_lossy: false,
        };
        run.client.connect(NOW);
        run.carry_out();
        run.settle();
        run
    }

    fn perform(&mut self, act: &Act) {
        match act {
            Act::Read(at) => {
                self.tokens += 1;
                let token = Token(self.tokens);
                self.asked.insert(token, *at);
                self.client.request(NOW, token, Request::new(Verb::Get, ROOMS[*at].1));
            }
            Act::Leave(at) => {
                let room = ROOMS[*at].0;
                // The page does not leave a room that it is reading.
                let is_reading = self.asked.values().any(|asked| ROOMS[*asked].0 == room);
                if !is_reading && self.page.rooms.remove(room) {
                    self.client.unsubscribe(room);
                    // Until the server has left the class room, it pushes changes of records only
                    // there.
                    self.is_lossy |= room == "todo" && !self.asked.is_empty();
                }
            }
            Act::Change(id, bits) => self.server.log.push((*id, *bits)),
            Act::Join => self.server.join(),
            Act::Answer => self.down.extend(self.server.answers.pop_front()),
            Act::Push(at) => self.down.extend(self.server.push(ROOMS[*at].0)),
            Act::Lose(at) => {
                self.server.push(ROOMS[*at].0);
                self.is_lossy = true;
            }
            Act::Receive(count) => (0..*count).for_each(|_| {
                self.receive();
            }),
            Act::Break => {
                self.disconnected();
                self.client.closed(NOW);
                self.client.wake(NOW);
            }
        }
        self.carry_out();
    }

    fn disconnected(&mut self) {
        let log = core::mem::take(&mut self.server.log);
        self.server = Server { log, ..Server::default() };
        self.down.clear();
    }

    fn receive(&mut self) -> bool {
        let Some(frame) = self.down.pop_front() else { return false };
        let packet = Packet::decode(&frame).expect("the server sends packets");
        let packet = packet.try_map(|at| serde_json::from_str(&frame[at..]).map(Json));
        self.client.received(NOW, packet.expect("the server sends JSON"));
        self.carry_out();
        true
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Open => {
                    self.disconnected();
                    self.down.push_back(r#"0{"pingInterval":25000,"pingTimeout":20000}"#.into());
                }
                Output::Send(frame) => self.down.extend(self.server.received(&frame.head)),
                Output::Finish { token, result, .. } => {
                    let headers = result.expect("an answer").headers.expect("headers").0;
                    let position = headers["backwire-position"].as_str().expect("a position");
                    let offset = position["7:".len()..].parse().expect("an offset");
                    let at = self.asked.remove(&token).expect("a token that is not finished");
                    self.page.was_read(ROOMS[at].0, offset);
                }
                Output::Deliver(delivery) => {
                    for Json(change) in delivery.changes {
                        let offset = change[0].as_u64().expect("an offset") as usize;
                        self.page.deliver(&self.server.log, &delivery.room, offset);
                    }
                }
                Output::Close | Output::Status(_) | Output::Resumed(_) => {}
                output => panic!("unexpected {output:?}"),
            }
        }
    }

    /// Delivers everything that is in flight.
    fn settle(&mut self) {
        loop {
            let count = self.down.len() + self.server.requests.len() + self.server.answers.len();
            self.server.join();
            self.down.extend(self.server.answers.pop_front());
            for (room, _) in ROOMS {
                self.down.extend(self.server.push(room));
            }
            if !self.receive() && count == 0 {
                return;
            }
        }
    }

    /// Announces the position of each room, as the server does after it has lost a push.
    fn announce(&mut self) {
        for room in self.server.rooms.keys() {
            let head =
                (0..self.server.log.len()).rev().find(|at| is_in(room, self.server.log[*at]));
            let frame = json!(["push", room, 7, head.map_or(0, |at| at + 1), []]);
            self.down.push_back(format!("42{frame}"));
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let log = &self.server.log;
        for room in &self.page.rooms {
            for entry in log.iter().filter(|entry| is_in(room, **entry)) {
                let subject = Page::subject(room, *entry);
                let missing: Vec<_> = self.page.missing(log, room, &subject, log.len()).collect();
                prop_assert!(missing.is_empty(), "{} misses {:?}", room, missing);
            }
        }
        Ok(())
    }
}

#[test]
fn change_after_the_class_room_is_left_is_delivered_in_the_record_room() {
    use Act::{Answer, Change, Join, Leave, Push, Read, Receive};
    let mut run = Run::new();
    let acts = [Read(0), Read(1), Join, Join, Answer, Answer, Receive(2), Change(0, 0)];
    acts.iter().chain(&[Push(0), Leave(0)]).for_each(|act| run.perform(act));
    run.settle();
    run.check().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_change_in_a_room_is_read_or_delivered_once_with_any_other_rooms(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut run = Run::new();
        acts.iter().for_each(|act| run.perform(act));
        run.settle();
        if run.is_lossy {
            run.announce();
            run.settle();
        }
        run.check()?;
    }
}
