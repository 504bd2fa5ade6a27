//! Requests that go over HTTP because there is no link.

use crate::support::{Json, Pair};
use backwire_protocol::{Connection, Failure, Request, Verb};
use serde_json::{Value, json};

/// A pair whose link has been missing for so long that HTTP is used, and has been found to work.
fn without_link() -> Pair {
    let mut pair = Pair::connected();
    pair.cut_link();
    pair.wait(4_000);
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.app.results.clear();
    pair
}

#[test]
fn a_read_goes_over_http_when_the_link_is_missing_for_three_seconds() {
    let mut pair = Pair::connected();
    pair.cut_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.wait(2_999);
    assert_eq!(pair.result(read), None);
    pair.wait(1);
    assert_eq!(pair.status_of(read), Some(200));
    let at_once = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    assert_eq!(pair.status_of(at_once), Some(200));
    assert_ne!(pair.client.status().state, Connection::Online);
}

#[test]
fn a_page_whose_first_connection_fails_goes_over_http() {
    let mut pair = Pair::new(1);
    pair.is_cut = true;
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.wait(60_000);
    assert_eq!(pair.result(read), None, "nothing is sent before connect");
    pair.client.connect(pair.instant());
    pair.wait(3_000);
    assert_eq!(pair.status_of(read), Some(200));
}

#[test]
fn writes_go_over_http_one_by_one_in_order() {
    let mut pair = without_link();
    for title in 0..5 {
        pair.ask(Verb::Post, "/todo", json!({"title": title}));
        pair.ask(Verb::Get, "/todo", Value::Null);
    }
    pair.run();
    assert_eq!(pair.most_over_http, (6, 1), "reads do not wait for writes");
    let titles = pair.server.records.values().map(|record| record["title"].as_u64());
    assert!(titles.eq((0..5).map(Some)));
    assert_eq!(pair.app.results.len(), 10);
    assert!(pair.app.waited.is_empty(), "they were sent at once");
}

#[test]
fn at_most_sixteen_reads_are_on_their_way_over_http() {
    let mut pair = without_link();
    for _ in 0..50 {
        pair.ask(Verb::Get, "/todo", Value::Null);
    }
    pair.run();
    assert_eq!(pair.most_over_http, (16, 0));
    assert_eq!(pair.app.results.len(), 50);
}

#[test]
fn a_read_fails_when_http_does_not_reach_the_server_either_and_a_write_waits() {
    let mut pair = Pair::connected();
    pair.cut();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.wait(3_000);
    assert_eq!(pair.result(read), Some(&Err(Failure::Unreachable)));
    pair.wait(600_000);
    assert_eq!(pair.result(saved), None);
    assert_eq!(pair.client.status().unsent, 1);
    pair.mend();
    assert_eq!(pair.status_of(saved), Some(200));
    assert!(pair.app.waited.contains(&saved));
}

#[test]
fn a_write_that_http_did_not_bring_to_the_server_is_tried_again_every_three_seconds() {
    let mut pair = Pair::connected();
    pair.cut();
    pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.wait(3_000);
    pair.is_http_cut = false;
    pair.wait(2_999);
    assert!(pair.server.committed.is_empty());
    pair.wait(1);
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn a_write_whose_answer_over_http_is_lost_is_committed_once() {
    let mut pair = without_link();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_http();
    pair.lose_http_answers();
    pair.step_http_answer();
    assert_eq!(pair.result(saved), None);
    assert!(!pair.client.withdraw(saved), "it may have been committed");
    pair.mend();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn a_write_on_its_way_over_http_when_the_link_comes_up_is_committed_and_answered_once() {
    for is_http_first in [true, false] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.cut_link();
        pair.wait(4_000);
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        pair.is_cut = false;
        pair.client.hurry(pair.instant());
        if is_http_first {
            pair.step_http();
            pair.step_http_answer();
        }
        pair.carry_out();
        while pair.step_up() || pair.step_reply() || pair.step_push(9) || pair.step_down() {}
        pair.run();
        let answers = pair.app.results.iter().filter(|(token, _)| *token == saved).count();
        assert_eq!((pair.status_of(saved), answers), (Some(200), 1));
        assert_eq!(pair.server.committed, ["post /todo"]);
        assert_eq!(pair.app.news, 0, "its echo is no news");
    }
}

#[test]
fn a_read_on_its_way_over_http_when_the_link_comes_up_is_live() {
    let mut pair = without_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.step_http();
    pair.is_cut = false;
    pair.client.hurry(pair.instant());
    pair.carry_out();
    while pair.client.status().state != Connection::Online {
        pair.step_up();
        pair.step_reply();
        pair.step_down();
    }
    pair.step_http_answer();
    assert_eq!(pair.result(read), None, "the answer that subscribes is on its way");
    pair.run();
    assert_eq!(pair.status_of(read), Some(200));
    pair.server.write(1, None, &json!({}));
    pair.run();
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn a_request_that_fails_over_http_when_the_link_is_up_is_answered_over_the_link() {
    let mut pair = without_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.is_http_cut = true;
    pair.step_http();
    pair.step_http();
    pair.is_cut = false;
    pair.client.hurry(pair.instant());
    pair.carry_out();
    while pair.client.status().state != Connection::Online {
        pair.step_up();
        pair.step_reply();
        pair.step_down();
    }
    pair.run();
    assert_eq!((pair.status_of(read), pair.status_of(saved)), (Some(200), Some(200)));
    assert!(pair.app.waited.is_empty());
}

#[test]
fn a_refusal_over_http_does_not_end_a_write_that_is_on_its_way_over_the_link() {
    let mut pair = without_link();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.server.refusals.push_back(500.into());
    pair.step_http();
    pair.is_cut = false;
    pair.client.hurry(pair.instant());
    pair.carry_out();
    while pair.client.status().state != Connection::Online {
        pair.step_up();
        pair.step_reply();
        pair.step_down();
    }
    pair.step_http_answer();
    assert_eq!(pair.result(saved), None);
    pair.run();
    assert_eq!(pair.status_of(saved), Some(200));
}

#[test]
fn an_answer_over_http_is_final_as_plain_backbone_has_it() {
    for status in [400, 401, 500, 503] {
        let mut pair = without_link();
        pair.server.refusals.push_back(status.into());
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        pair.run();
        assert_eq!(pair.status_of(saved), Some(status));
        assert!(pair.app.waited.is_empty());
    }
}

#[test]
fn a_write_made_while_http_does_not_work_either_has_waited() {
    let mut pair = without_link();
    pair.is_http_cut = true;
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.is_http_cut = false;
    pair.wait(4_000);
    assert_eq!(pair.status_of(saved), Some(200));
    assert!(pair.app.waited.contains(&saved));
}

#[test]
fn nothing_goes_over_http_after_disconnect() {
    let mut pair = Pair::connected();
    pair.client.disconnect(pair.instant());
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.wait(60_000);
    assert_eq!((pair.result(read), pair.server.committed.len()), (None, 0));
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!((pair.status_of(read), pair.server.committed.len()), (Some(200), 1));
}

#[test]
fn an_answer_over_http_to_an_aborted_request_is_ignored() {
    let mut pair = without_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.abort(read);
    pair.client.abort(saved);
    pair.run();
    assert!(pair.app.results.is_empty());
}

#[test]
fn requests_go_over_http_where_the_connection_is_refused_for_good() {
    let mut pair = Pair::new(1);
    pair.server.refuses = Some("E_SITE: there is no site newsite".into());
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.refused, ["E_SITE: there is no site newsite"]);
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.client.status().state, Connection::Offline);
    pair.client.hurry(pair.instant());
    pair.wait(600_000);
    assert_eq!(pair.refused.len(), 1, "it does not try again");
    pair.server.refuses = None;
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.client.status().state, Connection::Online);
}

#[test]
fn a_page_that_finds_out_that_it_is_refused_goes_over_http() {
    let mut pair = Pair::new(1);
    pair.is_cut = true;
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.client.connect(pair.instant());
    pair.client.refuse(pair.instant(), "E_ORIGIN: not from here".into());
    pair.run();
    assert_eq!(pair.status_of(read), Some(200));
    assert_eq!(pair.refused, ["E_ORIGIN: not from here"]);
}

#[test]
fn the_echo_of_a_write_that_the_page_sends_waits_for_its_answer() {
    for is_answered in [true, false] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        let uploaded = pair.ask_elsewhere(Verb::Post, "/todo", json!({"title": "Milk"}));
        assert_eq!(pair.client.status().unsent, 0);
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
        pair.step_http();
        while pair.step_up() || pair.step_reply() || pair.step_push(9) || pair.step_down() {}
        assert_eq!(pair.status_of(saved), Some(200), "nothing waits behind it");
        assert_eq!(pair.app.news, 0);
        if is_answered {
            pair.run();
            assert_eq!((pair.status_of(uploaded), pair.app.news), (Some(200), 0));
        } else {
            pair.lose_http_answers();
            pair.run();
            assert_eq!(pair.result(uploaded), Some(&Err(Failure::Unreachable)));
            assert_eq!(pair.app.news, 1, "the echo is all that is known of it");
        }
        assert_eq!(pair.app.shown, pair.server.records);
        assert_eq!(pair.server.committed.len(), 2);
    }
}

#[test]
fn a_write_that_the_page_sends_is_never_sent_by_the_client_and_can_be_forgotten() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.server.refusals.push_back(503.into());
    let uploaded = pair.ask_elsewhere(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.cut();
    assert!(!pair.client.withdraw(uploaded));
    pair.client.abort(uploaded);
    pair.wait(10_000);
    pair.mend();
    assert_eq!((pair.result(uploaded), pair.server.committed.len()), (None, 0));
}

#[test]
fn a_body_over_the_limit_is_refused_within_the_call_that_made_it() {
    let mut pair = Pair::connected();
    let large = pair.ask(Verb::Post, "/todo", json!({"title": "x".repeat(1_000)}));
    assert_eq!(pair.result(large), Some(&Err(Failure::TooLarge(1_000))));
}

#[test]
fn headers_of_the_page_travel_beside_the_key() {
    for is_linked in [true, false] {
        let mut pair = if is_linked { Pair::connected() } else { without_link() };
        let body = Some(Json(json!({"title": "Milk"})));
        let headers = Some(r#"{"x-page":"{\"a\":1}"}"#.into());
        pair.send(Request { headers, body, ..Request::new(Verb::Post, "/todo") });
        pair.run();
        assert_eq!(pair.server.headers["x-page"], r#"{"a":1}"#);
        assert!(pair.server.headers["idempotency-key"].is_string());
        let headers = Some(r#"{"x-page":"b"}"#.into());
        pair.send(Request { headers, ..Request::new(Verb::Get, "/todo") });
        pair.run();
        assert_eq!(pair.server.headers["x-page"], "b");
        assert!(pair.server.headers["idempotency-key"].is_null());
    }
}

#[test]
fn a_write_with_a_key_of_the_app_has_that_key_and_its_echo_is_no_news() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    let (body, key) = (Some(Json(json!({"title": "Milk"}))), Some("order-7".into()));
    pair.send(Request { body, key, ..Request::new(Verb::Post, "/todo") });
    pair.step_up();
    pair.step_up();
    while pair.step_push(9) || pair.step_down() {}
    pair.run();
    assert_eq!(pair.server.headers["idempotency-key"], "order-7");
    assert_eq!(pair.app.news, 0);
}

#[test]
fn auth_travels_with_the_version_when_the_client_connects() {
    let mut pair = Pair::new(1);
    pair.client.authenticate(pair.instant(), r#"{"site":"newsite","token":"a"}"#);
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.server.auth, json!({"backwire": 1, "site": "newsite", "token": "a"}));
    pair.client.authenticate(pair.instant(), "{}");
    assert_eq!(pair.server.auth["token"], "a", "not before the next connection");
    pair.break_line();
    pair.mend();
    assert_eq!(pair.server.auth, json!({"backwire": 1}));
}
