//! Requests that are sent over HTTP because there is no link.

use crate::json::Json;
use crate::support::Pair;
use backwire_protocol::{Connection, Failure, Request, Verb};
use serde_json::{Value, json};

/// Creates a pair without a link whose client has found that HTTP works.
fn without_link() -> Pair {
    let mut pair = Pair::connected();
    pair.cut_link();
    pair.wait(4_000);
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.app.results.clear();
    pair
}

/// Brings the link up, while requests over HTTP stay in flight.
fn bring_link_up(pair: &mut Pair) {
    pair.is_cut = false;
    pair.client.wake(pair.instant());
    pair.carry_out();
    while pair.client.status().state != Connection::Online {
        pair.step_up();
        pair.step_reply();
        pair.step_down();
    }
}

#[test]
fn read_is_sent_over_http_after_three_seconds_without_a_link() {
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
fn request_is_sent_over_http_if_the_first_connection_fails() {
    let mut pair = Pair::new(1);
    pair.is_cut = true;
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.wait(60_000);
    assert_eq!(pair.result(read), None, "the client sends nothing before connect");
    pair.client.connect(pair.instant());
    pair.wait(3_000);
    assert_eq!(pair.status_of(read), Some(200));
}

#[test]
fn writes_are_sent_over_http_one_by_one_in_order() {
    let mut pair = without_link();
    for title in 0..5 {
        pair.ask(Verb::Post, "/todo", json!({"title": title}));
        pair.ask(Verb::Get, "/todo", Value::Null);
    }
    pair.run();
    assert_eq!(pair.max_over_http, (6, 1), "reads do not wait for writes");
    let titles = pair.server.records.values().map(|record| record["title"].as_u64());
    assert!(titles.eq((0..5).map(Some)));
    assert_eq!(pair.app.results.len(), 10);
    assert!(pair.app.waited.is_empty(), "the writes were sent at once");
}

#[test]
fn at_most_sixteen_reads_are_in_flight_over_http() {
    let mut pair = without_link();
    for _ in 0..50 {
        pair.ask(Verb::Get, "/todo", Value::Null);
    }
    pair.run();
    assert_eq!(pair.max_over_http, (16, 0));
    assert_eq!(pair.app.results.len(), 50);
}

#[test]
fn read_fails_and_write_waits_while_the_server_is_unreachable() {
    let mut pair = Pair::connected();
    pair.cut();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.wait(3_000);
    assert_eq!(pair.result(read), Some(&Err(Failure::Unreachable)));
    pair.wait(600_000);
    assert_eq!(pair.result(saved), None);
    assert_eq!(pair.client.status().unsent, 1);
    pair.repair();
    assert_eq!(pair.status_of(saved), Some(200));
    assert!(pair.app.waited.contains(&saved));
}

#[test]
fn write_is_sent_again_every_three_seconds_while_http_fails() {
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
fn write_whose_response_over_http_is_lost_is_committed_once() {
    let mut pair = without_link();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_http();
    pair.lose_http_answers();
    pair.step_http_answer();
    assert_eq!(pair.result(saved), None);
    assert!(!pair.client.withdraw(saved), "it may have been committed");
    pair.repair();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn write_in_flight_over_http_when_the_link_comes_up_is_committed_and_answered_once() {
    for is_http_first in [true, false] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.cut_link();
        pair.wait(4_000);
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        pair.is_cut = false;
        pair.client.wake(pair.instant());
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
        assert_eq!(pair.app.news, 0, "the echo is not delivered");
    }
}

#[test]
fn read_in_flight_over_http_when_the_link_comes_up_subscribes() {
    let mut pair = without_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.step_http();
    bring_link_up(&mut pair);
    pair.step_http_answer();
    assert_eq!(pair.result(read), None, "the response over the link is still in flight");
    pair.run();
    assert_eq!(pair.status_of(read), Some(200));
    pair.server.write(1, None, &json!({}));
    pair.run();
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn request_that_fails_over_http_is_answered_over_the_new_link() {
    let mut pair = without_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.is_http_cut = true;
    pair.step_http();
    pair.step_http();
    bring_link_up(&mut pair);
    pair.run();
    assert_eq!((pair.status_of(read), pair.status_of(saved)), (Some(200), Some(200)));
    assert!(pair.app.waited.is_empty());
}

#[test]
fn error_over_http_does_not_end_a_write_in_flight_over_the_link() {
    let mut pair = without_link();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.server.refusals.push_back(500.into());
    pair.step_http();
    bring_link_up(&mut pair);
    pair.step_http_answer();
    assert_eq!(pair.result(saved), None);
    pair.run();
    assert_eq!(pair.status_of(saved), Some(200));
}

#[test]
fn error_over_http_is_final_as_in_plain_backbone() {
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
fn write_that_a_proxy_answers_for_the_server_is_sent_again() {
    for status in [502, 504] {
        let mut pair = without_link();
        pair.server.refusals.push_back(status.into());
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        pair.run();
        assert_eq!(pair.status_of(saved), None);
        pair.wait(4_000);
        assert_eq!(pair.status_of(saved), Some(200));
        assert_eq!(pair.server.committed.len(), 1);
        assert!(pair.app.waited.contains(&saved));
    }
}

#[test]
fn write_made_while_the_server_is_unreachable_is_reported_as_waited() {
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
fn nothing_is_sent_over_http_after_disconnect() {
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
fn response_over_http_to_an_aborted_request_is_ignored() {
    let mut pair = without_link();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.abort(read);
    pair.client.abort(saved);
    pair.run();
    assert!(pair.app.results.is_empty());
}

#[test]
fn request_is_sent_over_http_if_the_connection_is_refused_for_good() {
    let mut pair = Pair::new(1);
    pair.server.refuses = Some("E_SITE: there is no site newsite".into());
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.refused, ["E_SITE: there is no site newsite"]);
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.client.status().state, Connection::Offline);
    pair.client.wake(pair.instant());
    pair.wait(600_000);
    assert_eq!(pair.refused.len(), 1, "the client does not try again");
    pair.server.refuses = None;
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.client.status().state, Connection::Online);
}

#[test]
fn request_is_sent_over_http_after_the_app_reports_a_refusal() {
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
fn echo_of_a_write_that_the_app_sends_waits_for_the_response() {
    for is_answered in [true, false] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        let uploaded = pair.ask_external(Verb::Post, "/todo", json!({"title": "Milk"}));
        assert_eq!(pair.client.status().unsent, 0);
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
        pair.step_http();
        while pair.step_up() || pair.step_reply() || pair.step_push(9) || pair.step_down() {}
        assert_eq!(pair.status_of(saved), Some(200), "other writes do not wait for it");
        assert_eq!(pair.app.news, 0);
        if is_answered {
            pair.run();
            assert_eq!((pair.status_of(uploaded), pair.app.news), (Some(200), 0));
        } else {
            pair.lose_http_answers();
            pair.run();
            assert_eq!(pair.result(uploaded), Some(&Err(Failure::Unreachable)));
            assert_eq!(pair.app.news, 1, "without a response, the echo is delivered");
        }
        assert_eq!(pair.app.shown, pair.server.records);
        assert_eq!(pair.server.committed.len(), 2);
    }
}

#[test]
fn client_never_sends_a_write_that_the_app_sends() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.server.refusals.push_back(503.into());
    let uploaded = pair.ask_external(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.cut();
    assert!(!pair.client.withdraw(uploaded));
    pair.client.abort(uploaded);
    pair.wait(10_000);
    pair.repair();
    assert_eq!((pair.result(uploaded), pair.server.committed.len()), (None, 0));
}

#[test]
fn body_over_the_limit_fails_within_the_call() {
    let mut pair = Pair::connected();
    let large = pair.ask(Verb::Post, "/todo", json!({"title": "x".repeat(1_000)}));
    assert_eq!(pair.result(large), Some(&Err(Failure::TooLarge(1_000))));
}

#[test]
fn headers_of_the_app_are_sent_with_the_idempotency_key() {
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
fn key_of_the_app_is_sent_and_its_echo_is_not_delivered() {
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
fn writes_of_a_client_with_auth_wait_for_the_link_and_reads_fail_after_three_seconds() {
    let with_token = |pair: &mut Pair| {
        pair.client.authenticate(pair.instant(), r#"{"site":"newsite","token":"a"}"#);
    };
    let asking = || {
        let mut pair = Pair::asking();
        pair.client.connect(pair.instant());
        pair
    };
    let given = || {
        let mut pair = Pair::connected();
        with_token(&mut pair);
        pair
    };
    for mut pair in [asking(), given()] {
        pair.cut_link();
        pair.wait(4_000);
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        let read = pair.ask(Verb::Get, "/todo", Value::Null);
        pair.wait(2_999);
        assert_eq!((pair.result(saved), pair.result(read)), (None, None));
        pair.wait(60_000);
        assert_eq!(pair.result(read), Some(&Err(Failure::Unreachable)));
        assert_eq!((pair.result(saved), pair.client.status().unsent), (None, 1));
        let read = pair.ask(Verb::Get, "/todo", Value::Null);
        pair.is_cut = false;
        pair.client.wake(pair.instant());
        pair.run();
        with_token(&mut pair);
        pair.run();
        assert_eq!((pair.status_of(saved), pair.status_of(read)), (Some(200), Some(200)));
        assert_eq!(pair.server.committed.len(), 1);
        assert_eq!(pair.max_over_http, (0, 0));
    }
}

#[test]
fn client_whose_token_is_refused_reads_over_http_and_keeps_its_writes() {
    let mut pair = Pair::new(1);
    pair.client.authenticate(pair.instant(), r#"{"site":"newsite","token":"a"}"#);
    pair.server.refuses = Some("E_TOKEN: it has expired".into());
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.client.connect(pair.instant());
    pair.wait(60_000);
    assert_eq!((pair.result(saved), pair.status_of(read)), (None, Some(200)));
    pair.server.refuses = None;
    pair.client.authenticate(pair.instant(), r#"{"site":"newsite","token":"b"}"#);
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed.len(), 1);
}

#[test]
fn client_without_members_in_its_auth_sends_requests_over_http() {
    let mut pair = Pair::connected();
    pair.client.authenticate(pair.instant(), "{}");
    pair.cut_link();
    pair.wait(4_000);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.run();
    assert_eq!(pair.status_of(saved), Some(200));
}

#[test]
fn auth_is_sent_with_the_version_in_each_connect() {
    let mut pair = Pair::new(1);
    pair.client.authenticate(pair.instant(), r#"{"site":"newsite","token":"a"}"#);
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.server.auth, json!({"backwire": 1, "site": "newsite", "token": "a"}));
    pair.client.authenticate(pair.instant(), "{}");
    assert_eq!(pair.server.auth["token"], "a", "other auth is not sent before the next connection");
    pair.break_line();
    pair.repair();
    assert_eq!(pair.server.auth, json!({"backwire": 1}));
}
