//! Statuses that end a request, and statuses after which a write is sent again.

use crate::support::{Pair, Refusal};
use backwire_protocol::{Connection, Token, Verb};
use serde_json::{Value, json};

/// Creates a pair without a connection, and a write that was made in this state.
fn with_a_write_that_waited() -> (Pair, Token) {
    let mut pair = Pair::connected();
    pair.cut();
    pair.wait(4_000);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.run();
    (pair, saved)
}

fn refuse(pair: &mut Pair, statuses: impl IntoIterator<Item = u16>) {
    pair.server.refusals.extend(statuses.into_iter().map(Refusal::from));
}

#[test]
fn any_status_except_429_finishes_a_write_that_was_sent_at_once() {
    for status in [400, 401, 403, 404, 408, 409, 410, 413, 422, 425, 500, 502, 503, 504] {
        let mut pair = Pair::connected();
        refuse(&mut pair, [status]);
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        pair.run();
        assert_eq!(pair.status_of(saved), Some(status));
        assert!(pair.app.waited.is_empty());
        pair.wait(60_000);
        assert!(pair.server.committed.is_empty());
        assert_eq!(pair.unauthorized, 0);
    }
}

#[test]
fn write_is_sent_again_after_429_and_after_503_with_retry_after() {
    let mut pair = Pair::connected();
    let busy = Refusal { status: 503, retry_after: Some(2) };
    pair.server.refusals.extend([429.into(), busy, 429.into()]);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.wait(1_000);
    assert_eq!(
        (pair.status_of(saved), pair.server.refusals.len()),
        (None, 1),
        "the write waits 2 s"
    );
    pair.wait(6_000);
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn any_status_finishes_a_read() {
    let mut pair = Pair::connected();
    let read = pair.ask(Verb::Get, "/todo/9", Value::Null);
    pair.wait(60_000);
    assert_eq!(pair.status_of(read), Some(404));
}

#[test]
fn waited_write_is_sent_again_until_the_server_commits_it() {
    let (mut pair, saved) = with_a_write_that_waited();
    refuse(&mut pair, [503, 429, 500, 408, 425]);
    pair.repair_link();
    assert_eq!(pair.status_of(saved), None);
    pair.wait(60_000);
    assert_eq!(pair.status_of(saved), Some(200));
    assert!(pair.app.waited.contains(&saved));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn refused_waited_write_is_finished_as_waited() {
    for status in [400, 403, 404, 409, 410, 413, 422] {
        let (mut pair, saved) = with_a_write_that_waited();
        refuse(&mut pair, [status]);
        pair.repair_link();
        assert_eq!(pair.status_of(saved), Some(status));
        assert!(pair.app.waited.contains(&saved));
    }
}

#[test]
fn write_made_before_connect_or_after_disconnect_is_reported_as_waited() {
    let mut pair = Pair::new(1);
    let before = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.connect(pair.instant());
    let connecting = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    pair.run();
    pair.client.disconnect(pair.instant());
    let after = pair.ask(Verb::Post, "/todo", json!({"title": "Oats"}));
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.server.committed.len(), 3);
    assert!(pair.app.waited.contains(&before) && pair.app.waited.contains(&after));
    assert!(!pair.app.waited.contains(&connecting));
}

#[test]
fn write_interrupted_by_a_short_reconnect_is_not_reported_as_waited() {
    let mut pair = Pair::connected();
    let sent = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.cut();
    let made = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    pair.wait(2_900);
    refuse(&mut pair, [500, 401]);
    pair.repair();
    assert_eq!((pair.status_of(sent), pair.status_of(made)), (Some(500), Some(401)));
    assert!(pair.app.waited.is_empty());
}

#[test]
fn writes_interrupted_by_an_outage_are_reported_as_waited() {
    let mut pair = Pair::connected();
    let sent = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.cut();
    let made = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    pair.wait(3_100);
    pair.repair_link();
    assert!(pair.app.waited.contains(&sent) && pair.app.waited.contains(&made));
}

#[test]
fn waited_write_waits_for_auth_after_401() {
    let (mut pair, saved) = with_a_write_that_waited();
    let behind = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    refuse(&mut pair, [401, 401]);
    pair.repair_link();
    pair.wait(40_000);
    assert_eq!(pair.unauthorized, 1, "the app is notified once, however many writes are refused");
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    let later = pair.ask(Verb::Post, "/todo", json!({"title": "Oats"}));
    pair.run();
    assert_eq!(pair.status_of(read), Some(200), "reads are still sent");
    let status = pair.client.status();
    assert_eq!((status.state, status.unsent), (Connection::Online, 3));
    pair.client.authenticate(pair.instant(), r#"{"token":"b"}"#);
    pair.run();
    assert!([saved, behind, later].iter().all(|token| pair.status_of(*token) == Some(200)));
    assert_eq!(pair.client.status().unsent, 0);
}

#[test]
fn write_that_waits_for_auth_is_sent_again_on_the_next_connection() {
    let (mut pair, saved) = with_a_write_that_waited();
    refuse(&mut pair, [401, 401]);
    pair.repair_link();
    pair.break_line();
    pair.wait(4_000);
    assert_eq!((pair.status_of(saved), pair.unauthorized), (None, 2));
    pair.break_line();
    pair.wait(4_000);
    assert_eq!((pair.status_of(saved), pair.unauthorized), (Some(200), 2));
}

#[test]
fn write_that_waits_for_auth_is_not_sent_over_http() {
    let (mut pair, saved) = with_a_write_that_waited();
    refuse(&mut pair, [401]);
    pair.repair_link();
    pair.cut_link();
    pair.is_http_cut = false;
    pair.wait(60_000);
    assert_eq!(pair.status_of(saved), None);
    pair.client.authenticate(pair.instant(), r#"{"token":"b"}"#);
    pair.wait(60_000);
    assert_eq!(pair.status_of(saved), None, "HTTP has no token");
    pair.repair_link();
    assert_eq!(pair.status_of(saved), Some(200));
}

#[test]
fn writes_wait_for_an_earlier_refused_write_and_reads_do_not() {
    let mut pair = Pair::connected();
    refuse(&mut pair, [429]);
    pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.run();
    let later = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    assert_eq!((pair.status_of(later), pair.status_of(read)), (None, Some(200)));
    assert_eq!(pair.client.status().unsent, 2);
    assert_eq!(pair.statuses.last().map(|status| status.unsent), Some(2));
    pair.wait(1_000);
    let titles: Vec<_> = pair.app.shown.values().map(|record| &record["title"]).collect();
    assert_eq!(titles, ["Milk", "Eggs"]);
    assert_eq!(pair.statuses.last().map(|status| status.unsent), Some(0));
}

#[test]
fn answered_reads_do_not_shorten_the_next_pause() {
    let mut pair = Pair::connected();
    refuse(&mut pair, [429; 40]);
    pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    for _ in 0..60 {
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.wait(1_000);
    }
    assert!(pair.server.refusals.len() > 30, "{} refusals are left", pair.server.refusals.len());
}

#[test]
fn refusals_of_writes_sent_together_cause_one_pause() {
    let (mut pair, _) = with_a_write_that_waited();
    for _ in 1..20 {
        pair.ask(Verb::Post, "/todo", json!({}));
    }
    refuse(&mut pair, [500; 20]);
    pair.repair_link();
    pair.wait(2_000);
    assert_eq!(pair.server.committed.len(), 20);
}

#[test]
fn new_connection_ends_the_pause() {
    let mut pair = Pair::connected();
    refuse(&mut pair, [429; 12]);
    pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.wait(60_000);
    pair.server.refusals.clear();
    pair.break_line();
    pair.repair_link();
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn aborted_write_is_not_sent_again_after_429() {
    let mut pair = Pair::connected();
    refuse(&mut pair, [429]);
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.abort(saved);
    pair.wait(60_000);
    assert_eq!(pair.result(saved), None);
    assert!(pair.server.committed.is_empty());
}
