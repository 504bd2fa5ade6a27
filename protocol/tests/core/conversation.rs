//! Conversations between a client and a server.

use crate::json::Json;
use crate::support::Pair;
use backwire_protocol::{Connection, Failure, Request, RequestKind, Resumed, Verb};
use serde_json::{Value, json};

#[test]
fn request_made_before_the_link_is_up_is_answered() {
    let mut pair = Pair::new(1);
    let asked = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    assert_eq!(pair.result(asked), None);
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.status_of(asked), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn offline_save_is_sent_once_after_reconnect() {
    let mut pair = Pair::connected();
    pair.server.write(1, None, &json!({}));
    pair.cut();
    let saved = pair.ask(Verb::Put, "/todo/1", json!({"title": "done"}));
    pair.wait(60_000);
    assert_eq!(pair.result(saved), None);
    pair.repair();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["put /todo/1"]);
}

#[test]
fn save_whose_response_was_lost_is_sent_again_and_committed_once() {
    let mut pair = Pair::connected();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_up();
    pair.break_line();
    pair.repair();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
    assert_eq!(pair.server.records.len(), 1);
}

#[test]
fn offline_writes_are_sent_in_order() {
    let mut pair = Pair::connected();
    pair.cut();
    pair.ask(Verb::Post, "/todo", json!({"title": "a"}));
    pair.ask(Verb::Put, "/todo/1", json!({"title": "b"}));
    pair.ask(Verb::Delete, "/todo/1", Value::Null);
    pair.repair();
    assert_eq!(pair.server.committed, ["post /todo", "put /todo/1", "delete /todo/1"]);
}

#[test]
fn long_outbox_is_sent_in_order_with_a_limit_of_requests_in_flight() {
    let mut pair = Pair::connected();
    pair.cut();
    let expected: Vec<_> = (0..500).map(|_| "post /todo").collect();
    for count in 0..500 {
        pair.ask(Verb::Post, "/todo", json!({"title": count}));
    }
    pair.repair();
    assert_eq!(pair.server.committed, expected);
    let titles = pair.server.records.values().map(|record| record["title"].as_u64());
    assert!(titles.eq((0..500).map(Some)));
    assert!(pair.max_in_flight <= 64, "{} were on their way", pair.max_in_flight);
}

#[test]
fn reopened_room_is_resumed_once() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.receive(r#"42["push","todo",0,0,[]]"#);
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    // Up, its answer, the push, and both down.
    for _ in 0..2 {
        pair.step_up();
        pair.step_reply();
        pair.step_push(100);
        pair.step_down();
        pair.step_down();
    }
    assert!(!pair.step_up(), "it asks again");
    assert_eq!(pair.app.shown[&1]["title"], "Eggs");
}

#[test]
fn push_that_arrives_before_the_fetch_response_is_delivered_after_it() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.step_up();
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    while pair.step_push(1) || pair.step_down() {}
    assert_eq!(pair.app.shown.len(), 0, "nothing is shown before the answer");
    pair.run();
    assert_eq!(pair.app.shown, pair.server.records);
    assert_eq!(pair.app.news, 1);
}

#[test]
fn push_that_the_snapshot_contains_is_not_delivered() {
    let mut pair = Pair::connected();
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    assert_eq!(pair.app.news, 0);
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn echo_of_a_create_is_not_delivered_before_or_after_the_response() {
    for echo_first in [true, false] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        pair.step_up();
        if echo_first {
            while pair.step_push(1) || pair.step_down() {}
            assert_eq!(pair.app.news, 0, "the echo waits for the answer");
        }
        pair.run();
        assert_eq!(pair.status_of(saved), Some(200));
        assert_eq!(pair.app.news, 0, "the answer was the news");
        assert_eq!(pair.app.shown, pair.server.records);
    }
}

#[test]
fn change_by_another_client_is_delivered_after_the_response_to_the_create() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_up();
    pair.server.write(2, Some(1), &json!({"title": "Oat milk"}));
    while pair.step_push(9) || pair.step_down() {}
    assert_eq!(pair.app.shown.len(), 0);
    pair.run();
    assert_eq!(pair.app.news, 1);
    assert_eq!(pair.app.shown[&1]["title"], "Oat milk");
}

#[test]
fn echo_is_delivered_if_the_answer_lacks_the_record() {
    let mut pair = Pair::connected();
    pair.server.write(1, None, &json!({"title": "Milk"}));
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    let saved = pair.ask(Verb::Patch, "/todo/1", json!({"done": true}));
    pair.step_up();
    pair.server.write(2, Some(1), &json!({"title": "Oat milk"}));
    while pair.step_push(9) || pair.step_down() {}
    assert_eq!(pair.app.news, 0, "both changes wait for the answer");
    // The page may not write the record any more, and the log no longer has the write.
    let headers = r#"{"backwire-position":"7:0","backwire-record":"todo/1"}"#;
    pair.receive(&format!(r#"432[{{"body":{{"id":1}},"statusCode":200,"headers":{headers}}}]"#));
    assert_eq!((pair.status_of(saved), pair.app.news), (Some(200), 2));
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn echo_of_an_aborted_write_is_delivered() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_up();
    while pair.step_push(1) || pair.step_down() {}
    pair.client.abort(saved);
    pair.run();
    assert_eq!((pair.result(saved), pair.app.news), (None, 1));
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn missed_changes_are_delivered_after_reconnect_without_a_new_read() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.cut();
    pair.server.write(1, None, &json!({"title": "a"}));
    pair.server.write(1, None, &json!({"title": "b"}));
    pair.server.write(3, Some(1), &json!({}));
    pair.repair();
    assert_eq!(pair.app.shown, pair.server.records);
    assert_eq!((pair.app.news, pair.app.refreshes), (3, 0));
    assert_eq!(pair.app.resumes, [Resumed { recovered: true, count: 3 }]);
}

#[test]
fn echo_that_waits_for_the_answer_to_its_write_counts_as_a_missed_change() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    let uploaded = pair.ask_external(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_http();
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    // The pushes of both are late.
    pair.receive(r#"42["push","todo",7,2,[]]"#);
    while pair.step_up() || pair.step_reply() || pair.step_down() {}
    assert_eq!((pair.result(uploaded), pair.app.news), (None, 1));
    assert_eq!(pair.app.resumes, [Resumed { recovered: true, count: 2 }]);
    pair.run();
    assert_eq!((pair.status_of(uploaded), pair.app.news), (Some(200), 1));
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn refused_resume_is_sent_again() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.break_line();
    pair.server.refused_resumes = 2;
    pair.server.write(1, None, &json!({"title": "Milk"}));
    pair.repair();
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    pair.run();
    assert_eq!(pair.server.refused_resumes, 0);
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn room_is_read_again_if_the_log_no_longer_has_its_position() {
    for lose in [crate::support::Server::truncate, crate::support::Server::lose_log] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.cut();
        pair.server.write(1, None, &json!({"title": "a"}));
        lose(&mut pair.server);
        pair.repair();
        assert_eq!(pair.app.shown, pair.server.records);
        assert_eq!(pair.app.refreshes, 1);
        assert_eq!(pair.app.resumes, [Resumed { recovered: false, count: 0 }]);
        pair.server.write(1, None, &json!({"title": "b"}));
        pair.run();
        assert_eq!(pair.app.shown, pair.server.records, "and it is live again");
    }
}

#[test]
fn server_restart_causes_no_new_read() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.ask(Verb::Post, "/todo", json!({"title": "own"}));
    pair.run();
    for number in 0..3 {
        pair.cut_link();
        pair.server.write(1, None, &json!({"title": "before"}));
        pair.server.restart();
        if number > 0 {
            pair.server.write(1, None, &json!({"title": "after"}));
        }
        pair.repair_link();
        pair.server.write(1, None, &json!({"title": "live"}));
        pair.run();
        assert_eq!(pair.app.shown, pair.server.records);
    }
    assert_eq!(pair.app.refreshes, 0);
}

#[test]
fn room_is_read_again_after_a_restore_whether_the_log_is_shorter_or_longer() {
    for others in [0, 1, 2, 3, 7] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.server.write(1, None, &json!({"title": "kept"}));
        pair.run();
        pair.server.back_up();
        for _ in 0..2 {
            pair.server.write(1, None, &json!({"title": "lost"}));
        }
        pair.run();
        pair.cut_link();
        assert!(pair.server.restore());
        pair.app.is_between_logs = true;
        for _ in 0..others {
            pair.server.write(1, None, &json!({"title": "new"}));
        }
        pair.repair_link();
        assert_eq!(pair.app.refreshes, 1, "{others}");
        pair.server.write(1, None, &json!({"title": "live"}));
        pair.run();
        assert_eq!(pair.app.shown, pair.server.records, "{others}");
    }
}

/// The answer to a write may arrive before the pushes of the changes before it.
#[test]
fn page_ahead_of_its_room_reads_again_only_if_the_log_lacks_its_write() {
    for is_restored in [false, true] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.server.back_up();
        pair.server.write(1, None, &json!({"title": "of another"}));
        pair.ask(Verb::Post, "/todo", json!({"title": "own"}));
        while pair.step_up() || pair.step_reply() || pair.step_down() {}
        assert_eq!(pair.app.shown.len(), 1);
        pair.cut_link();
        if is_restored {
            assert!(pair.server.restore());
            pair.app.is_between_logs = true;
        } else {
            pair.server.restart();
        }
        pair.repair_link();
        assert_eq!(pair.app.refreshes, usize::from(is_restored));
        assert_eq!(pair.app.shown, pair.server.records);
    }
}

/// After a restart, the answer to a write may arrive before that of the resume, and the connection
/// may end between them.
#[test]
fn page_ahead_of_its_room_by_writes_before_and_after_a_restart_reads_nothing_again() {
    for restarts in 1..6 {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.server.write(1, None, &json!({"title": "of another"}));
        for _ in 0..restarts {
            pair.server.refused_resumes = usize::MAX;
            pair.ask(Verb::Post, "/todo", json!({"title": "own"}));
            while pair.step_up() || pair.step_reply() || pair.step_down() {}
            pair.cut_link();
            pair.server.restart();
            pair.repair_link();
        }
        pair.server.refused_resumes = 0;
        pair.cut_link();
        pair.repair_link();
        assert_eq!(pair.app.shown, pair.server.records);
        // A resume has the positions of four other epochs only.
        assert_eq!(pair.app.refreshes, usize::from(restarts > 4), "{restarts}");
    }
}

#[test]
fn page_that_has_read_over_http_reads_again_if_a_backup_is_restored_before_it_reconnects() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.server.back_up();
    pair.cut_link();
    pair.wait(4_000);
    pair.server.write(1, None, &json!({"title": "lost"}));
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    assert_eq!(pair.app.shown.len(), 1);
    assert!(pair.server.restore());
    pair.app.is_between_logs = true;
    // The position of the room is valid, but the page has received more than that.
    pair.repair_link();
    assert_eq!(pair.app.refreshes, 1);
    assert!(pair.app.shown.is_empty());
}

#[test]
fn lost_push_is_detected_and_resumed() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.server.write(1, None, &json!({"title": "a"}));
    pair.receive(r#"42["push","todo",7,1,[[2,1,2,{"id":2,"v":2},0]]]"#);
    assert_eq!(pair.app.news, 0);
    pair.server.write(1, None, &json!({}));
    pair.run();
    assert_eq!(pair.app.shown, pair.server.records);
    assert_eq!(pair.app.news, 2);
}

#[test]
fn change_of_a_record_in_two_rooms_is_delivered_once() {
    let mut pair = Pair::connected();
    pair.server.write(1, None, &json!({"title": "a"}));
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.ask(Verb::Get, "/todo/1", Value::Null);
    pair.run();
    pair.server.write(2, Some(1), &json!({"title": "b"}));
    pair.run();
    assert_eq!(pair.app.news, 1);
    pair.cut();
    pair.server.write(2, Some(1), &json!({"title": "c"}));
    pair.repair();
    assert_eq!(pair.app.news, 2);
}

#[test]
fn unsubscribed_room_is_left_and_not_resumed() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.client.unsubscribe("todo");
    pair.carry_out();
    pair.run();
    pair.server.write(1, None, &json!({}));
    pair.run();
    assert_eq!(pair.app.news, 0);
    pair.cut();
    pair.server.write(1, None, &json!({}));
    pair.repair();
    assert_eq!(pair.app.news, 0, "nor is it resumed");
}

#[test]
fn aborted_read_gets_no_response_and_leaves_no_subscription() {
    let mut pair = Pair::connected();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.client.abort(read);
    pair.run();
    assert_eq!(pair.result(read), None);
    pair.server.write(1, None, &json!({}));
    pair.run();
    assert_eq!(pair.app.news, 0, "nor does it leave a subscription behind");
}

#[test]
fn response_to_an_aborted_read_suppresses_no_push() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.server.write(1, None, &json!({}));
    pair.client.abort(read);
    pair.run();
    assert_eq!(pair.app.news, 1);
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn request_aborted_before_it_was_sent_is_never_sent() {
    let mut pair = Pair::connected();
    pair.cut();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.abort(saved);
    pair.repair();
    assert!(pair.server.committed.is_empty());
}

#[test]
fn restored_write_is_committed_once() {
    for was_committed in [false, true] {
        let mut former = Pair::connected();
        former.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
        if was_committed {
            former.step_up();
        }
        let mut pair = Pair::new(2);
        let body = Some(Json(json!({"title": "Milk"})));
        let (key, kind) = (Some("s-1".into()), RequestKind::Restored);
        let restored = pair.send(Request { body, key, kind, ..Request::new(Verb::Post, "/todo") });
        assert_eq!(pair.client.status().unsent, 1);
        pair.server = former.server;
        pair.client.connect(pair.instant());
        pair.run();
        assert_eq!(pair.server.committed, ["post /todo"]);
        assert_eq!(pair.status_of(restored), Some(200));
    }
}

#[test]
fn request_can_be_withdrawn_until_it_is_sent() {
    let mut pair = Pair::connected();
    let sent = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    assert!(!pair.client.withdraw(sent));
    pair.break_line();
    assert!(!pair.client.withdraw(sent), "it may have been committed");
    pair.cut();
    let unsent = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    assert!(pair.client.withdraw(unsent));
    assert_eq!(pair.client.status().unsent, 1);
    pair.repair();
    assert_eq!(pair.server.committed, ["post /todo"]);
    assert_eq!((pair.status_of(sent), pair.result(unsent)), (Some(200), None));
}

#[test]
fn status_reports_the_connection_and_the_number_of_unsent_writes() {
    let mut pair = Pair::connected();
    assert_eq!(pair.client.status().state, Connection::Online);
    pair.cut();
    assert_eq!(pair.client.status().state, Connection::Connecting);
    pair.wait(10_000);
    pair.ask(Verb::Post, "/todo", json!({}));
    let status = pair.client.status();
    assert_eq!((status.state, status.unsent), (Connection::Offline, 1));
    pair.repair();
    let status = pair.client.status();
    assert_eq!((status.state, status.unsent), (Connection::Online, 0));
    assert_eq!(pair.statuses.last(), Some(&status), "the app is notified");
}

#[test]
fn network_hint_ends_the_reconnect_delay_but_not_a_disconnect() {
    let mut pair = Pair::connected();
    pair.break_line();
    pair.client.wake(pair.instant());
    pair.run();
    assert_eq!(pair.client.status().state, Connection::Online);
    pair.client.disconnect(pair.instant());
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.client.wake(pair.instant());
    pair.run();
    assert_eq!(pair.client.status().state, Connection::Offline);
}

#[test]
fn malformed_frame_closes_the_connection_and_the_client_recovers() {
    for frame in [r#"42["push","todo"]"#, r#"42["push","todo",7,0,[[1]]]"#, "43900[]", "42[]"] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.receive(frame);
        assert_ne!(pair.client.status().state, Connection::Online, "{frame}");
        pair.server.write(1, None, &json!({}));
        pair.repair();
        assert_eq!(pair.app.shown, pair.server.records, "{frame}");
    }
}

#[test]
fn failed_read_is_answered_with_its_status() {
    let mut pair = Pair::connected();
    let read = pair.ask(Verb::Get, "/todo/9", Value::Null);
    pair.wait(60_000);
    assert_eq!(pair.status_of(read), Some(404));
}

#[test]
fn body_over_the_server_limit_fails_and_later_requests_are_sent() {
    let mut pair = Pair::new(1);
    let large = pair.ask(Verb::Post, "/todo", json!({"title": "x".repeat(1_000)}));
    let small = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.result(large), Some(&Err(Failure::TooLarge(1_000))));
    assert_eq!(pair.status_of(small), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn write_older_than_the_ledger_fails_as_outdated_and_is_not_sent_again() {
    const WEEK: u64 = 7 * 24 * 60 * 60 * 1_000;
    let mut pair = Pair::connected();
    let sent = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_up();
    pair.cut();
    let unsent = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    pair.now += WEEK;
    pair.repair();
    assert_eq!(pair.result(sent), Some(&Err(Failure::Outdated)));
    assert_eq!(pair.status_of(unsent), Some(200), "no server has ever seen it");
    assert_eq!(pair.server.committed, ["post /todo", "post /todo"]);
}
