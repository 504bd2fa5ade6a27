//! A store may lose its last changes. The next epoch has others at their offsets, so a resume asks
//! for everything that the page has received of the resource.

use backwire_protocol::{Request, Verb};
use serde_json::{Value, json};

use crate::online::Online;

const FILTER: &str = r#"todo?{"done":true}"#;

impl Online {
    /// Returns the ack id of the last frame, and the rooms if it is a resume.
    fn last_sent(&self) -> (String, Value) {
        let frame = self.sent.last().expect("a frame");
        let at = frame.find('[').expect("an event");
        let event: Value = serde_json::from_str(&frame[at..]).expect("JSON");
        (frame[2..at].to_owned(), event[1].clone())
    }

    fn answer(&mut self, ack: &str, answer: &Value) {
        self.receive(&format!("43{ack}{}", json!([answer])));
    }

    fn answer_last(&mut self, answer: &Value) {
        let (ack, _) = self.last_sent();
        self.answer(&ack, answer);
    }

    /// Makes a write that is answered with this position.
    fn write(&mut self, position: &str) {
        self.request(Request::new(Verb::Put, "/todo/1"));
        let headers = json!({ "backwire-record": "todo/1", "backwire-position": position });
        let (ack, _) = self.last_sent();
        self.answer(&ack, &json!({ "statusCode": 200, "body": {}, "headers": headers }));
    }
}

#[test]
fn resume_of_a_filter_sends_the_position_of_an_own_write() {
    let mut online = Online::new();
    online.join(FILTER, &json!(7), 2);
    online.write("7:4");
    online.reopen();
    assert_eq!(online.last_sent().1, json!([[FILTER, 7, 2, 4]]));
}

#[test]
fn resume_sends_the_position_that_another_room_has_reached() {
    let mut online = Online::new();
    online.join("todo/1", &json!(7), 1);
    online.join(FILTER, &json!(7), 4);
    online.join("note", &json!(7), 2);
    online.reopen();
    let rooms = json!([["note", 7, 2, 2], ["todo/1", 7, 1, 4], [FILTER, 7, 4, 4]]);
    assert_eq!(online.last_sent().1, rooms);
}

#[test]
fn positions_received_after_a_resume_are_sent_in_the_next_one() {
    let mut online = Online::new();
    online.join(FILTER, &json!(1), 0);
    let change = json!([1, 1, 1, {}, 0]);
    online.receive(&format!("42{}", json!(["push", FILTER, 2, 0, [change]])));
    assert_eq!(online.last_sent().1, json!([[FILTER, 1, 0, 0]]));
    let (ack, _) = online.last_sent();
    online.write("2:1");
    online.answer(&ack, &json!([[FILTER, 3, 0, []]]));
    assert_eq!(online.last_sent().1, json!([[FILTER, 3, 0, 0, 2, 1]]));
    online.answer_last(&json!([[FILTER, null]]));
    assert_eq!(online.refreshed, [FILTER]);
}

#[test]
fn confirmed_positions_are_not_sent_again() {
    let mut online = Online::new();
    online.join(FILTER, &json!(1), 2);
    online.write("1:4");
    online.reopen();
    online.answer_last(&json!([[FILTER, 2, 4, []]]));
    online.reopen();
    assert_eq!(online.last_sent().1, json!([[FILTER, 2, 4, 4]]));
    assert!(online.refreshed.is_empty());
}

#[test]
fn room_of_a_record_has_the_epoch_of_the_changes_in_its_class_room() {
    let mut online = Online::new();
    online.join("todo", &json!(1), 2);
    online.join("todo/1", &json!(1), 2);
    online.reopen();
    let change = json!([3, 2, 1, {}, 0]);
    online.answer_last(&json!([["todo", 2, 3, [change]], ["todo/1", 2, 3, [change]]]));
    online.reopen();
    assert_eq!(online.last_sent().1, json!([["todo", 2, 3, 3], ["todo/1", 2, 3, 3]]));
    assert!(online.refreshed.is_empty());
}
