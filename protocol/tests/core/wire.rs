//! The frames in `tests/wire`, which the server and the other clients are tested with, too.

use backwire_protocol::packet::{Kind, Packet};
use backwire_protocol::wire::ChangeEntry;
use backwire_protocol::{Client, Delivery, Instant, Output, Request, Token, Verb};
use serde_json::{Value, json};

use crate::json::Json;

const NOW: Instant = Instant::from_millis(0);

/// A client that is online, and what it has sent and given to the app.
struct Online {
    client: Client<Json>,
    sent: Vec<String>,
    delivered: Vec<Delivery<Json>>,
    finished: Vec<Value>,
    refreshed: Vec<String>,
    requests: u32,
}

impl Online {
    fn new() -> Self {
        let (sent, delivered, finished, refreshed) = Default::default();
        let client = Client::new(Some(""), "s".into(), 1);
        let mut online = Self { client, sent, delivered, finished, refreshed, requests: 0 };
        online.client.connect(NOW);
        online.open();
        assert_eq!(online.sent, [r#"40{"backwire":1}"#]);
        online
    }

    /// Opens the connection, as a server does.
    fn open(&mut self) {
        self.receive(r#"0{"sid":"e","pingInterval":25000,"pingTimeout":20000,"maxPayload":4000}"#);
        self.receive(r#"40{"sid":"x"}"#);
    }

    fn reopen(&mut self) {
        self.client.closed(NOW);
        self.client.wake(NOW);
        self.open();
    }

    fn receive(&mut self, frame: &str) {
        let packet = Packet::decode(frame).expect("a packet");
        let packet = packet.try_map(|at| serde_json::from_str(&frame[at..]).map(Json));
        self.client.received(NOW, packet.expect("JSON"));
        self.drain();
    }

    fn request(&mut self, request: Request<Json>) {
        self.requests += 1;
        self.client.request(NOW, Token(self.requests), request);
        self.drain();
    }

    /// Makes a request that the server answers with these headers.
    fn answered(&mut self, verb: Verb, url: &str, headers: &Value) {
        self.request(Request::new(verb, url));
        let reply = json!([{ "statusCode": 200, "body": [], "headers": headers }]).to_string();
        let ack = Some(u64::from(self.requests));
        self.receive(&Packet::new(Kind::Ack, ack, Some(&*reply)).encode());
    }

    /// Joins a room at a position.
    fn join(&mut self, room: &str, epoch: &Value, offset: u64) {
        let position = format!("{epoch}:{offset}");
        let headers = json!({ "backwire-room": room, "backwire-position": position });
        self.answered(Verb::Get, &format!("/{room}"), &headers);
    }

    fn drain(&mut self) {
        while let Some(output) = self.client.poll() {
            match output {
                Output::Send(frame) => {
                    let body = frame.body.map_or(String::new(), |Json(body)| body.to_string());
                    self.sent.push(frame.head + &body + frame.tail);
                }
                Output::Deliver(delivery) => self.delivered.push(delivery),
                Output::Finish { result, .. } => {
                    let reply = result.expect("a reply");
                    let [body, headers] = [reply.body, reply.headers].map(|it| it.map(|it| it.0));
                    self.finished
                        .push(json!({ "status": reply.status, "body": body, "headers": headers }));
                }
                Output::Refresh(room) => self.refreshed.push(room),
                _ => {}
            }
        }
    }
}

/// Returns the items of a file.
fn frames(file: &str) -> Vec<Value> {
    let path = format!("{}/../tests/wire/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a file");
    serde_json::from_str(&text).expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Returns changes in the form that `means` has.
fn meaning_of(changes: &[Json]) -> Value {
    let meaning = |raw: &Json| {
        let ChangeEntry { offset, verb, id, data, mark } =
            ChangeEntry::read(raw).expect("a change");
        let verb = format!("{verb:?}").to_lowercase();
        json!({ "offset": offset, "verb": verb, "id": id.0, "data": data.0, "mark": mark })
    };
    changes.iter().map(meaning).collect()
}

#[test]
fn core_delivers_changes_of_pushes() {
    let frames = frames("pushes.json");
    for item in frames.iter().filter(|item| item["means"]["changes"] != json!([])) {
        let (means, mut online) = (&item["means"], Online::new());
        online.join(text(&means["room"]), &means["epoch"], means["prev"].as_u64().expect("prev"));
        online.receive(text(&item["frame"]));
        let [Delivery { room, changes }] = &*online.delivered else { panic!("{item}") };
        assert_eq!(
            (&**room, meaning_of(changes)),
            (text(&means["room"]), means["changes"].clone())
        );
    }
}

#[test]
fn core_resumes_after_pushes_that_it_is_behind() {
    let frames = frames("pushes.json");
    for item in frames.iter().filter(|item| item["means"]["changes"] == json!([])) {
        let (means, mut online) = (&item["means"], Online::new());
        online.join(text(&means["room"]), &json!(182_736_455), 43);
        online.receive(text(&item["frame"]));
        let resume = json!(["resume", [[means["room"], 182_736_455, 43, 43]]]);
        assert_eq!(online.sent.last(), Some(&format!("422{resume}")), "{item}");
    }
}

#[test]
fn core_delivers_events_for_the_user() {
    for item in frames("user-events.json") {
        let mut online = Online::new();
        online.receive(text(&item["frame"]));
        let [Delivery { room, changes }] = &*online.delivered else { panic!("{item}") };
        let event = |Json(raw): &Json| json!({ "id": raw[2], "content": raw[3] });
        let events: Value = changes.iter().map(event).collect();
        assert_eq!((&**room, &events), ("", &item["means"]["events"]));
    }
}

#[test]
fn core_sends_requests_and_takes_their_replies() {
    for item in frames("requests.json") {
        let (means, mut online) = (&item["means"], Online::new());
        let given = |name: &str| Some(&means[name]).filter(|it| !it.is_null());
        let verb = Verb::from_event(text(&means["verb"])).expect("a verb");
        online.request(Request {
            key: given("key").map(|key| text(key).to_owned()),
            headers: given("headers").map(ToString::to_string),
            body: given("data").cloned().map(Json),
            ..Request::new(verb, text(&means["url"]))
        });
        assert_eq!(online.sent.last().map(String::as_str), item["request"].as_str());
        online.receive(text(&item["reply"]));
        assert_eq!(online.finished, [means["reply"].clone()]);
    }
}

#[test]
fn core_resumes_its_rooms_and_takes_the_answers() {
    for item in frames("resumes.json") {
        let mut online = Online::new();
        let rooms = item["means"]["rooms"].as_array().expect("rooms");
        for means in rooms {
            let (room, epoch) = (text(&means["room"]), &means["epoch"]);
            online.join(room, epoch, means["offset"].as_u64().expect("an offset"));
            if means["highest"] != means["offset"] {
                let position = format!("{epoch}:{}", means["highest"]);
                let record = format!("{room}/9");
                let headers = json!({ "backwire-record": record, "backwire-position": position });
                online.answered(Verb::Put, &format!("/{record}"), &headers);
            }
        }
        online.reopen();
        assert_eq!(online.sent.last().map(String::as_str), item["request"].as_str());
        online.receive(text(&item["answer"]));
        let (missed, lost): (Vec<_>, Vec<_>) =
            rooms.iter().partition(|means| !means["answer"].is_null());
        assert_eq!(online.refreshed, lost.iter().map(|it| text(&it["room"])).collect::<Vec<_>>());
        for (delivery, means) in online.delivered.iter().zip(&missed) {
            assert_eq!(delivery.room, text(&means["room"]));
            let ahead = |change: &&Value| change["offset"].as_u64() > means["highest"].as_u64();
            let changes = means["answer"]["changes"].as_array().expect("changes");
            let new: Value = changes.iter().filter(ahead).cloned().collect();
            assert_eq!(meaning_of(&delivery.changes), new);
        }
        assert_eq!(online.delivered.len(), missed.len());
    }
}
