//! The frames in `tests/wire`, which the clients are tested with, too; and in `random`, pushes that
//! the client core decodes.

mod random;

use std::sync::Arc;

use backwire_engine::{Delivery, DeliveryContent};
use backwire_protocol::packet::{Kind, Packet};
use backwire_records::change::{Attributes, Change, Id, Position, Room, Verb};
use http::{HeaderMap, StatusCode};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::runtime::{self, FollowedScope};
use super::{Arguments, Dialect};
use crate::delivery::site_client::EventFormat;
use crate::incoming::{self, Incoming};

/// Returns the items of a file.
fn frames(file: &str) -> Vec<Value> {
    let path = format!("{}/../tests/wire/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Returns the change that `means` describes.
fn change(room: &Room, epoch: u64, prev: u64, means: &Value) -> Arc<Change> {
    let id: Id = serde_json::from_value(means["id"].clone()).unwrap();
    let former = json!({ "id": id, "done": false }).as_object().unwrap().clone();
    let mut set = means["data"].as_object().cloned().unwrap_or_default();
    let verb = match means["verb"].as_str().unwrap() {
        "created" => Verb::Create,
        "destroyed" => Verb::Destroy,
        "updated" => Verb::Update,
        "left" => {
            set.insert("done".into(), json!(true));
            Verb::Update
        }
        other => panic!("unknown verb {other}"),
    };
    let mut after = if verb == Verb::Create { Attributes::new() } else { former.clone() };
    after.extend(set.clone());
    Arc::new(Change {
        resource: room.resource().clone(),
        position: Position { epoch, offset: number(&means["offset"]) },
        previous: prev,
        verb,
        id,
        before: (verb != Verb::Create).then(|| Arc::new(former)),
        after: (verb != Verb::Destroy).then(|| Arc::new(after)),
        set,
        mark: number(&means["mark"]),
        published: false,
        origin: None,
        new_members: None,
        at: 1,
    })
}

/// Returns the text of an event of the server.
fn event_frame(name: &str, arguments: &str) -> String {
    let data = format!("[\"{name}\",{arguments}]");
    Packet::new(Kind::Event, None, Some(&*data)).encode()
}

/// Returns the text of an ack of the server.
fn ack_frame(means: &Value, arguments: &str) -> String {
    let data = format!("[{arguments}]");
    Packet::new(Kind::Ack, means["ack"].as_u64(), Some(&*data)).encode()
}

fn push_frame(push: &runtime::Push) -> String {
    let arguments = serde_json::to_string(push).unwrap();
    event_frame(runtime::EVENT, &arguments[1..arguments.len() - 1])
}

/// Returns the push that the server makes of what `means` describes.
fn push_of(means: &Value) -> runtime::Push {
    let room = Room::parse(means["room"].as_str().unwrap()).unwrap();
    let (epoch, prev) = (number(&means["epoch"]), number(&means["prev"]));
    let changes = means["changes"].as_array().unwrap().iter();
    let changes: Vec<_> = changes.map(|means| change(&room, epoch, prev, means)).collect();
    match room.scope() {
        _ if epoch == 0 => runtime::invalidation(&room),
        _ if changes.is_empty() => runtime::announcement(&room, Position { epoch, offset: prev }),
        None => runtime::push(&room, &changes).unwrap(),
        Some(scope) => {
            let followed = FollowedScope { scope, is_hiding: false };
            runtime::scoped_push(&room, followed, prev, &changes).unwrap().0
        }
    }
}

#[test]
fn server_encodes_pushes() {
    for item in frames("pushes.json") {
        assert_eq!(push_frame(&push_of(&item["means"])), item["frame"], "{}", item["name"]);
    }
}

#[test]
fn server_encodes_events_for_the_user() {
    let raw = |value: &Value| to_raw_value(value).unwrap();
    for item in frames("user-events.json") {
        let events = item["means"]["events"].as_array().unwrap();
        let delivery = |means: &Value| {
            let content = match &means["content"].as_array().unwrap()[..] {
                [] => DeliveryContent::Resync,
                [event, args @ ..] => DeliveryContent::Event {
                    event: event.as_str().unwrap().to_owned(),
                    args: args.iter().map(raw).collect(),
                },
            };
            Some(Delivery { id: means["id"].as_str()?.parse().unwrap(), content })
        };
        let deliveries: Option<Vec<_>> = events.iter().map(delivery).collect();
        let arguments = match deliveries {
            Some(deliveries) => EventFormat::Runtime.batch(&deliveries).arguments,
            None => {
                let content = events[0]["content"].as_array().unwrap();
                let args: Vec<_> = content[1..].iter().map(raw).collect();
                let event = content[0].as_str().unwrap();
                EventFormat::Runtime.unqueued_event(event, &args).1.into_owned()
            }
        };
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.get()).collect();
        let frame = event_frame(runtime::EVENT, &arguments.join(","));
        assert_eq!(frame, item["frame"], "{}", item["name"]);
    }
}

/// Parses a frame of the client.
fn read(item: &Value, check: impl FnOnce(Incoming<'_>)) {
    let frame = item["request"].as_str().unwrap();
    let packet = Packet::decode(frame).unwrap();
    assert_eq!(packet.ack, item["means"]["ack"].as_u64());
    check(incoming::read(&frame[packet.data.unwrap()..], Dialect::Runtime, 1000).unwrap());
}

fn reply_of(means: &Value) -> Arguments {
    let status = StatusCode::from_u16(number(&means["status"]) as u16).unwrap();
    let headers = means["headers"].as_object().unwrap().iter();
    let header = |(name, value): (&String, &Value)| {
        (name.parse().unwrap(), value.as_str().unwrap().parse().unwrap())
    };
    let headers: HeaderMap = headers.map(header).collect();
    let body = match &means["body"] {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    Dialect::Runtime.ack(status, &headers, body.into()).unwrap()
}

#[test]
fn server_decodes_requests_and_encodes_replies() {
    for item in frames("requests.json") {
        let means = &item["means"];
        read(&item, |incoming| {
            let Incoming::Request(request) = incoming else { panic!("{item}") };
            let verb = request.method.as_str().to_lowercase();
            assert_eq!(
                (verb.as_str(), &*request.url),
                (means["verb"].as_str().unwrap(), means["url"].as_str().unwrap())
            );
            let data = serde_json::from_str(&request.data).unwrap_or(Value::Null);
            assert_eq!(data, means["data"]);
            let mut headers = means["headers"].as_object().cloned().unwrap_or_default();
            headers.extend(means["key"].as_str().map(|key| ("idempotency-key".into(), key.into())));
            let carried = request.headers.into_iter().map(|(name, value)| (name, value.into()));
            assert_eq!(carried.collect::<Attributes>(), headers);
        });
        let reply = reply_of(&means["reply"]).text().unwrap();
        let reply = std::str::from_utf8(&reply).unwrap();
        assert_eq!(ack_frame(means, reply), item["reply"], "{}", item["name"]);
    }
}

/// Returns the answer for a room that `means` describes.
fn answer_of(means: &Value) -> Box<RawValue> {
    let (name, answer) = (means["room"].as_str().unwrap(), &means["answer"]);
    if answer.is_null() {
        return runtime::resync(name);
    }
    let room = Room::parse(name).unwrap();
    let (epoch, offset) = (number(&answer["epoch"]), number(&answer["head"]));
    let changes = answer["changes"].as_array().unwrap().iter();
    let changes: Vec<_> = changes.map(|means| change(&room, epoch, 0, means)).collect();
    runtime::missed_changes(name, Position { epoch, offset }, &changes)
}

#[test]
fn server_decodes_resumes_and_encodes_their_answers() {
    for item in frames("resumes.json") {
        let means = &item["means"];
        let rooms = means["rooms"].as_array().unwrap();
        read(&item, |incoming| {
            let Incoming::Resume(entries) = incoming else { panic!("{item}") };
            assert_eq!(entries.len(), rooms.len());
            for ((name, seen), means) in entries.iter().zip(rooms) {
                let Position { epoch, offset } = seen.position;
                let ahead: Vec<_> = seen.ahead.iter().map(|it| [it.epoch, it.offset]).collect();
                let seen = json!([incoming::string(name), epoch, offset, ahead]);
                let expected = ["room", "epoch", "offset", "ahead"].map(|it| &means[it]);
                assert_eq!(seen, json!(expected));
            }
        });
        let answers: Vec<_> = rooms.iter().map(answer_of).collect();
        let answers = serde_json::to_string(&answers).unwrap();
        assert_eq!(ack_frame(means, &answers), item["answer"], "{}", item["name"]);
    }
}
