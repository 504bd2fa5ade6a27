//! Random pushes and answers to resumes: the client core decodes what the server encodes.

use backwire_protocol::Payload;
use backwire_protocol::packet::Packet;
use backwire_protocol::wire::{
    ChangeEntry, Push, ReceivedAnswer, ReceivedChange, ReceivedPush, event,
};
use backwire_records::change::{Position, Resource, Room};
use json::Json;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{change, push_frame};
use crate::dialect::runtime;

#[path = "../../../../protocol/tests/shared/json.rs"]
mod json;

/// A random change, in the form that `means` has. The data is not sent in the form in which it is
/// stored: an update loses the attributes that have not changed.
fn any_change() -> impl Strategy<Value = Value> {
    let id = prop_oneof![any::<i32>().prop_map(Value::from), "[a-zä/]{1,9}".prop_map(Value::from)];
    let value =
        prop_oneof![any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
    let data = proptest::collection::hash_map("[a-c]{1,2}", value, 1..4);
    let verb = prop_oneof![Just("created"), Just("updated"), Just("destroyed")];
    (verb, id, data, 0..1_u64 << 53).prop_map(|(verb, id, data, mark)| {
        let data = if verb == "destroyed" { Value::Null } else { json!(data) };
        json!({ "verb": verb, "id": id, "data": data, "mark": mark })
    })
}

/// Returns changes that the client has received in the form that `means` has.
fn meaning_of(changes: Vec<ReceivedChange<Json>>) -> Vec<Value> {
    let meaning = |change: ReceivedChange<Json>| {
        let entry = ChangeEntry::read(&change.raw).unwrap();
        assert_eq!(
            (change.offset, change.mark, change.id),
            (entry.offset, entry.mark, entry.id.clone())
        );
        let verb = format!("{:?}", entry.verb).to_lowercase();
        json!({ "offset": entry.offset, "verb": verb, "id": entry.id.0, "data": entry.data.0, "mark": entry.mark })
    };
    changes.into_iter().map(meaning).collect()
}

proptest! {
    #[test]
    fn client_decodes_what_the_server_encodes(
        changes in proptest::collection::vec(any_change(), 1..9),
        epoch in 1..1_u64 << 48,
        first in 1..1_u64 << 52,
        is_class: bool,
    ) {
        let mut means = changes;
        for (index, change) in means.iter_mut().enumerate() {
            change["offset"] = json!(first + index as u64);
        }
        let resource = Resource::parse("todo").unwrap();
        let room = match is_class {
            true => Room::class(resource),
            false => Room::instance(resource, serde_json::from_value(means[0]["id"].clone()).unwrap()),
        };
        let prev = first - 1;
        let changes: Vec<_> = means.iter().map(|it| change(&room, epoch, prev, it)).collect();

        let frame = push_frame(&runtime::push(&room, &changes).unwrap());
        let at = Packet::decode(&frame).unwrap().data.unwrap();
        let arguments = Json(serde_json::from_str(&frame[at..]).unwrap());
        prop_assert_eq!(arguments.item(0).unwrap().text().unwrap(), event::PUSH);
        let push: ReceivedPush<Json> = Push::read(&arguments).unwrap();
        prop_assert_eq!((push.room, push.epoch, push.prev), (room.to_string(), epoch, prev));
        prop_assert_eq!(meaning_of(push.changes), means.clone());

        let head = Position { epoch, offset: first + 100 };
        let answer = runtime::missed_changes(&room.to_string(), head, &changes);
        let answer = Json(serde_json::from_str(answer.get()).unwrap());
        let answer = ReceivedAnswer(&answer);
        prop_assert_eq!(answer.room(), Some(room.to_string()));
        prop_assert_eq!((answer.epoch(), answer.head()), (Some(epoch), Some(head.offset)));
        prop_assert_eq!(meaning_of(answer.changes().unwrap()), means);
    }
}
