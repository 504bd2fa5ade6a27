//! Conversations between a client and a server.

use crate::json::Json;
use crate::support::Pair;
use backwire_protocol::{Connection, Failure, Request, RequestKind, Verb};
use serde_json::{Value, json};

#[test]
fn a_request_made_before_the_link_is_up_is_answered() {
    let mut pair = Pair::new(1);
    let asked = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    assert_eq!(pair.result(asked), None);
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.status_of(asked), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
}

#[test]
fn a_save_made_offline_is_sent_once_after_reconnect() {
    let mut pair = Pair::connected();
    pair.server.write(1, None, &json!({}));
    pair.cut();
    let saved = pair.ask(Verb::Put, "/todo/1", json!({"title": "done"}));
    pair.wait(60_000);
    assert_eq!(pair.result(saved), None);
    pair.mend();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["put /todo/1"]);
}

#[test]
fn a_save_whose_answer_was_lost_is_sent_again_and_not_done_twice() {
    let mut pair = Pair::connected();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_up();
    pair.break_line();
    pair.mend();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.server.committed, ["post /todo"]);
    assert_eq!(pair.server.records.len(), 1);
}

#[test]
fn writes_made_offline_are_sent_in_order() {
    let mut pair = Pair::connected();
    pair.cut();
    pair.ask(Verb::Post, "/todo", json!({"title": "a"}));
    pair.ask(Verb::Put, "/todo/1", json!({"title": "b"}));
    pair.ask(Verb::Delete, "/todo/1", Value::Null);
    pair.mend();
    assert_eq!(pair.server.committed, ["post /todo", "put /todo/1", "delete /todo/1"]);
}

#[test]
fn a_long_outbox_leaves_in_order_and_never_all_at_once() {
    let mut pair = Pair::connected();
    pair.cut();
    let expected: Vec<_> = (0..500).map(|_| "post /todo").collect();
    for count in 0..500 {
        pair.ask(Verb::Post, "/todo", json!({"title": count}));
    }
    pair.mend();
    assert_eq!(pair.server.committed, expected);
    let titles = pair.server.records.values().map(|record| record["title"].as_u64());
    assert!(titles.eq((0..500).map(Some)));
    assert!(pair.most_unanswered <= 64, "{} were on their way", pair.most_unanswered);
}

#[test]
fn a_room_that_was_closed_and_is_open_again_is_resumed_once() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.hear(r#"42["push","todo",0,0,[]]"#);
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
fn a_push_that_arrives_before_the_answer_of_the_fetch_it_follows_is_kept() {
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
fn a_push_the_snapshot_contains_is_not_news() {
    let mut pair = Pair::connected();
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    assert_eq!(pair.app.news, 0);
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn the_echo_of_a_create_is_one_record_whether_it_comes_before_or_after_the_answer() {
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
fn what_others_do_to_a_record_whose_answer_is_on_its_way_follows_the_answer() {
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
fn the_echo_of_an_aborted_write_is_news() {
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
fn what_was_missed_arrives_after_a_reconnect_and_nothing_is_read_again() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.cut();
    pair.server.write(1, None, &json!({"title": "a"}));
    pair.server.write(1, None, &json!({"title": "b"}));
    pair.server.write(3, Some(1), &json!({}));
    pair.mend();
    assert_eq!(pair.app.shown, pair.server.records);
    assert_eq!((pair.app.news, pair.app.refreshes), (3, 0));
}

#[test]
fn a_resume_that_the_server_refuses_is_sent_again() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.break_line();
    pair.server.refused_resumes = 2;
    pair.server.write(1, None, &json!({"title": "Milk"}));
    pair.mend();
    pair.server.write(1, None, &json!({"title": "Eggs"}));
    pair.run();
    assert_eq!(pair.server.refused_resumes, 0);
    assert_eq!(pair.app.shown, pair.server.records);
}

#[test]
fn a_log_that_no_longer_reaches_back_means_reading_again() {
    for lose in [crate::support::Server::truncate, crate::support::Server::lose_the_log] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.cut();
        pair.server.write(1, None, &json!({"title": "a"}));
        lose(&mut pair.server);
        pair.mend();
        assert_eq!(pair.app.shown, pair.server.records);
        assert_eq!(pair.app.refreshes, 1);
        pair.server.write(1, None, &json!({"title": "b"}));
        pair.run();
        assert_eq!(pair.app.shown, pair.server.records, "and it is live again");
    }
}

#[test]
fn ordinary_restart_reads_nothing_again() {
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
        pair.mend_link();
        pair.server.write(1, None, &json!({"title": "live"}));
        pair.run();
        assert_eq!(pair.app.shown, pair.server.records);
    }
    assert_eq!(pair.app.refreshes, 0);
}

#[test]
fn restored_backup_is_read_again_whether_it_is_behind_the_page_or_has_overtaken_it() {
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
        pair.mend_link();
        assert_eq!(pair.app.refreshes, 1, "{others}");
        pair.server.write(1, None, &json!({"title": "live"}));
        pair.run();
        assert_eq!(pair.app.shown, pair.server.records, "{others}");
    }
}

/// The answer to a write may come before the pushes of the changes before it.
#[test]
fn page_that_is_ahead_of_its_room_reads_again_only_if_the_log_lacks_its_write() {
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
        pair.mend_link();
        assert_eq!(pair.app.refreshes, usize::from(is_restored));
        assert_eq!(pair.app.shown, pair.server.records);
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
    pair.mend_link();
    assert_eq!(pair.app.refreshes, 1);
    assert!(pair.app.shown.is_empty());
}

#[test]
fn a_push_that_never_came_is_noticed_and_fetched() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.server.write(1, None, &json!({"title": "a"}));
    pair.hear(r#"42["push","todo",7,1,[[2,1,2,{"id":2,"v":2},0]]]"#);
    assert_eq!(pair.app.news, 0);
    pair.server.write(1, None, &json!({}));
    pair.run();
    assert_eq!(pair.app.shown, pair.server.records);
    assert_eq!(pair.app.news, 2);
}

#[test]
fn a_record_listened_to_twice_tells_its_news_once() {
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
    pair.mend();
    assert_eq!(pair.app.news, 2);
}

#[test]
fn a_room_nobody_listens_to_is_left() {
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
    pair.mend();
    assert_eq!(pair.app.news, 0, "nor is it resumed");
}

#[test]
fn an_aborted_request_is_not_finished() {
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
fn the_answer_to_an_aborted_read_covers_no_push() {
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
fn an_aborted_request_that_never_left_never_leaves() {
    let mut pair = Pair::connected();
    pair.cut();
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.client.abort(saved);
    pair.mend();
    assert!(pair.server.committed.is_empty());
}

#[test]
fn a_write_of_an_earlier_life_is_done_once() {
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
fn a_request_can_be_taken_back_until_it_has_left() {
    let mut pair = Pair::connected();
    let sent = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    assert!(!pair.client.withdraw(sent));
    pair.break_line();
    assert!(!pair.client.withdraw(sent), "it may have been committed");
    pair.cut();
    let unsent = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    assert!(pair.client.withdraw(unsent));
    assert_eq!(pair.client.status().unsent, 1);
    pair.mend();
    assert_eq!(pair.server.committed, ["post /todo"]);
    assert_eq!((pair.status_of(sent), pair.result(unsent)), (Some(200), None));
}

#[test]
fn the_light_shows_online_connecting_offline_and_what_is_unsent() {
    let mut pair = Pair::connected();
    assert_eq!(pair.client.status().state, Connection::Online);
    pair.cut();
    assert_eq!(pair.client.status().state, Connection::Connecting);
    pair.wait(10_000);
    pair.ask(Verb::Post, "/todo", json!({}));
    let status = pair.client.status();
    assert_eq!((status.state, status.unsent), (Connection::Offline, 1));
    pair.mend();
    let status = pair.client.status();
    assert_eq!((status.state, status.unsent), (Connection::Online, 0));
    assert_eq!(pair.statuses.last(), Some(&status), "and whoever listens has been told");
}

#[test]
fn a_hint_of_a_network_ends_a_wait_and_not_a_disconnect_on_purpose() {
    let mut pair = Pair::connected();
    pair.break_line();
    pair.client.hurry(pair.instant());
    pair.run();
    assert_eq!(pair.client.status().state, Connection::Online);
    pair.client.disconnect(pair.instant());
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.client.hurry(pair.instant());
    pair.run();
    assert_eq!(pair.client.status().state, Connection::Offline);
}

#[test]
fn malformed_frame_ends_the_connection_and_nothing_else() {
    for frame in [r#"42["push","todo"]"#, r#"42["push","todo",7,0,[[1]]]"#, "43900[]", "42[]"] {
        let mut pair = Pair::connected();
        pair.ask(Verb::Get, "/todo", Value::Null);
        pair.run();
        pair.hear(frame);
        assert_ne!(pair.client.status().state, Connection::Online, "{frame}");
        pair.server.write(1, None, &json!({}));
        pair.mend();
        assert_eq!(pair.app.shown, pair.server.records, "{frame}");
    }
}

#[test]
fn a_read_that_fails_has_failed() {
    let mut pair = Pair::connected();
    let read = pair.ask(Verb::Get, "/todo/9", Value::Null);
    pair.wait(60_000);
    assert_eq!(pair.status_of(read), Some(404));
}

#[test]
fn a_body_over_the_limit_of_the_server_is_not_sent_and_stops_nothing() {
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
fn what_the_ledger_may_have_forgotten_is_reported_and_not_sent_again() {
    const WEEK: u64 = 7 * 24 * 60 * 60 * 1_000;
    let mut pair = Pair::connected();
    let sent = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.step_up();
    pair.cut();
    let unsent = pair.ask(Verb::Post, "/todo", json!({"title": "Eggs"}));
    pair.now += WEEK;
    pair.mend();
    assert_eq!(pair.result(sent), Some(&Err(Failure::Outdated)));
    assert_eq!(pair.status_of(unsent), Some(200), "no server has ever seen it");
    assert_eq!(pair.server.committed, ["post /todo", "post /todo"]);
}
