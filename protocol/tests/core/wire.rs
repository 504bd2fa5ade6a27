//! The frames in `tests/wire`, which the server and the other clients are tested with, too.

use backwire_protocol::wire::ChangeEntry;
use backwire_protocol::{Delivery, Request, Verb};
use serde_json::{Value, json};

use crate::json::Json;
use crate::online::Online;

/// Returns the items of a file.
fn frames(file: &str) -> Vec<Value> {
    let path = format!("{}/../tests/wire/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("a file");
    serde_json::from_str(&text).expect("a list")
}

/// Splits an event or its answer into the ack id and the data.
fn ack_and_event(frame: &str) -> (&str, &str) {
    frame[2..].split_at(frame[2..].find('[').expect("data"))
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
            let ahead = means["ahead"].as_array().expect("positions");
            for (id, position) in (9..).zip(ahead) {
                let position = format!("{}:{}", position[0], position[1]);
                let record = format!("{room}/{id}");
                let headers = json!({ "backwire-record": record, "backwire-position": position });
                online.answered(Verb::Put, &format!("/{record}"), &headers);
            }
        }
        online.reopen();
        // A resume that was sent before has taken an ack id.
        let (ack, request) = ack_and_event(online.sent.last().expect("a resume"));
        assert_eq!(request, ack_and_event(text(&item["request"])).1);
        let answer = format!("43{ack}{}", ack_and_event(text(&item["answer"])).1);
        online.receive(&answer);
        let (missed, lost): (Vec<_>, Vec<_>) =
            rooms.iter().partition(|means| !means["answer"].is_null());
        assert_eq!(online.refreshed, lost.iter().map(|it| text(&it["room"])).collect::<Vec<_>>());
        for (delivery, means) in online.delivered.iter().zip(&missed) {
            assert_eq!(delivery.room, text(&means["room"]));
            let known = means["ahead"].as_array().expect("positions");
            let is_new = |change: &&Value| {
                let of_record = (9..).zip(known).find(|(id, _)| change["id"] == json!(id));
                of_record.is_none_or(|(_, at)| change["offset"].as_u64() > at[1].as_u64())
            };
            let changes = means["answer"]["changes"].as_array().expect("changes");
            let new: Value = changes.iter().filter(is_new).cloned().collect();
            assert_eq!(meaning_of(&delivery.changes), new);
        }
        assert_eq!(online.delivered.len(), missed.len());
    }
}
