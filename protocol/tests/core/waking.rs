//! Devices that sleep, pages that are stopped, and networks that change without a sign.

use crate::links::{AUTH, at, bare, joined, open_packet, packet, steps, up};
use crate::support::Pair;
use backwire_protocol::link::{Link, Step};
use backwire_protocol::packet::Kind;
use backwire_protocol::{Connection, Verb};
use serde_json::{Value, json};

const PROBE: &str = r#"420["resume",[]]"#;

fn probe() -> Vec<Step> {
    vec![Step::Send(PROBE.into())]
}

/// Creates a link that waits for its next attempt at this time.
fn waiting() -> Link {
    let mut link = up(1);
    link.closed(at(0));
    steps(&mut link);
    link
}

/// Creates a link with an attempt that began at 0.
fn opening() -> Link {
    let mut link = Link::new(Some(AUTH.into()), 1);
    link.connect(at(0));
    steps(&mut link);
    link
}

#[test]
fn wake_does_what_the_state_of_the_link_needs() {
    let mut refused = up(1);
    refused.refuse("E_ORIGIN: not from here".into());
    let mut parked = up(1);
    parked.park();
    let mut idle = up(1);
    idle.disconnect();
    let mut recent = up(1);
    recent.received(at(58_001), &bare(Kind::Ping));
    let mut quiet = up(1);
    quiet.received(at(57_999), &bare(Kind::Ping));
    let mut restarted = opening();
    restarted.wake(at(5_001));
    for (name, mut link, now, expected) in [
        ("idle", idle, 60_000, vec![]),
        ("refused", refused, 60_000, vec![]),
        ("waiting", waiting(), 0, vec![Step::Open]),
        ("parked", parked, 60_000, vec![Step::Open]),
        ("attempt of 5 s", opening(), 5_000, vec![]),
        ("attempt of more than 5 s", opening(), 5_001, vec![Step::Open]),
        ("attempt that was begun again", restarted, 10_001, vec![]),
        ("something arrived 2 s ago", recent, 60_001, vec![]),
        ("something arrived more than 2 s ago", quiet, 60_000, probe()),
    ] {
        steps(&mut link);
        link.wake(at(now));
        assert_eq!(steps(&mut link), expected, "{name}");
        // Several events of the browser come together.
        link.wake(at(now));
        assert_eq!(steps(&mut link), [], "{name}, twice");
    }
}

#[test]
fn probed_connection_closes_after_three_seconds_and_is_opened_again() {
    let mut link = up(1);
    link.wake(at(10_000));
    assert_eq!(steps(&mut link), probe());
    link.wake(at(12_500));
    assert_eq!(link.deadline(), Some(at(13_000)), "another wake prolongs nothing");
    link.tick(at(13_000));
    assert_eq!(steps(&mut link), [Step::Close, Step::Down]);
    assert!(link.deadline().unwrap() <= at(13_500));
}

#[test]
fn anything_that_arrives_answers_the_probe() {
    let answer = || packet(Kind::Ack, json!([[]]));
    let push = || packet(Kind::Event, json!(["push", "todo", 7, 0, []]));
    for arrival in [bare(Kind::Ping), answer(), push()] {
        let mut link = up(1);
        link.wake(at(10_000));
        link.received(at(12_999), &arrival);
        assert_eq!(link.deadline(), Some(at(57_999)));
        link.tick(at(13_000));
        assert!(link.is_up());
    }
}

#[test]
fn wake_does_not_prolong_a_connection_that_is_about_to_close() {
    let mut link = up(1);
    link.wake(at(44_000));
    assert_eq!((steps(&mut link), link.deadline()), (vec![], Some(at(45_000))));
}

#[test]
fn late_tick_reconnects_at_once() {
    for (late, is_at_once) in [(0, false), (5_000, false), (5_001, true), (28_800_000, true)] {
        let mut link = up(1);
        link.tick(at(45_000 + late));
        let mut expected = vec![Step::Close, Step::Down];
        expected.extend(is_at_once.then_some(Step::Open));
        assert_eq!(steps(&mut link), expected, "{late} ms late");
        let mut link = opening();
        link.tick(at(20_000 + late));
        let mut expected = vec![Step::Close];
        expected.extend(is_at_once.then_some(Step::Open));
        assert_eq!(steps(&mut link), expected, "{late} ms late");
    }
}

/// A browser slows down the timers of hidden tabs, but not their messages.
#[test]
fn link_without_timers_stays_as_long_as_it_is_pinged() {
    let mut link = up(1);
    for now in (25_000..3_600_000).step_by(25_000) {
        link.received(at(now), &bare(Kind::Ping));
        assert_eq!(steps(&mut link), [Step::Send("3".into())]);
        // The timer was set to an earlier deadline.
        link.tick(at(now + 24_999));
        assert!(link.is_up());
    }
}

/// A browser may run a page for a while after it has hidden it.
#[test]
fn parked_link_makes_no_attempt_until_it_wakes() {
    for (mut link, expected) in [
        (up(1), vec![Step::Close, Step::Down]),
        (opening(), vec![Step::Close]),
        (waiting(), vec![]),
    ] {
        link.park();
        assert_eq!(steps(&mut link), expected);
        assert_eq!(link.deadline(), None);
        link.closed(at(100));
        link.tick(at(3_600_000));
        assert_eq!(steps(&mut link), []);
        link.wake(at(3_600_000));
        assert_eq!(steps(&mut link), [Step::Open]);
    }
}

#[test]
fn idle_or_refused_link_is_not_woken_after_it_was_parked() {
    let mut refused = up(1);
    refused.refuse("E_ORIGIN: not from here".into());
    let mut idle = up(1);
    idle.disconnect();
    for mut link in [idle, refused] {
        link.park();
        steps(&mut link);
        link.wake(at(0));
        assert_eq!((steps(&mut link), link.deadline()), (vec![], None));
    }
}

fn refuse_for(link: &mut Link, now: u64, refusal: Value) {
    link.received(at(now), &open_packet());
    link.received(at(now), &packet(Kind::ConnectError, refusal));
    steps(link);
}

#[test]
fn delay_that_the_server_asks_for_is_not_shortened_by_a_wake() {
    let mut link = opening();
    refuse_for(&mut link, 1_000, json!({"message": "busy", "data": {"retryAfter": 60_000}}));
    let deadline = link.deadline().unwrap();
    assert!((at(61_000)..=at(61_500)).contains(&deadline), "{deadline:?}");
    link.wake(at(2_000));
    link.park();
    link.wake(at(3_000));
    assert_eq!((steps(&mut link), link.deadline()), (vec![], Some(at(61_000))));
    link.tick(at(61_000));
    assert_eq!(steps(&mut link), [Step::Open]);
    link.closed(at(61_001));
    assert!(link.deadline().unwrap() <= at(64_001), "the delay was for one attempt");
    link.wake(at(61_001));
    assert_eq!(steps(&mut link), [Step::Close, Step::Open]);
}

#[test]
fn app_may_connect_before_the_delay_that_the_server_asks_for() {
    let mut link = opening();
    refuse_for(&mut link, 1_000, json!({"message": "busy", "data": {"retryAfter": 60_000}}));
    link.connect(at(2_000));
    assert_eq!(steps(&mut link), [Step::Open]);
}

#[test]
fn delay_of_the_server_has_a_limit_and_must_be_a_number() {
    let deadline_after = |data: Value| {
        let mut link = opening();
        refuse_for(&mut link, 0, json!({"message": "busy", "data": data}));
        link.deadline().unwrap()
    };
    let longest = deadline_after(json!({"retryAfter": 1_u64 << 50}));
    assert!((at(600_000)..=at(600_500)).contains(&longest), "{longest:?}");
    for data in [json!({"retryAfter": "60000"}), json!({"retryAfter": -1}), json!(7), json!({})] {
        assert!(deadline_after(data) <= at(500));
    }
}

// The whole client
// ----------------

#[test]
fn dead_connection_is_found_within_three_seconds_of_a_wake() {
    let mut pair = Pair::connected();
    pair.ask(Verb::Get, "/todo", Value::Null);
    pair.run();
    pair.silence();
    pair.now += 10_000;
    pair.server.write(1, None, &json!({"title": "Milk"}));
    pair.client.wake(pair.instant());
    pair.wait(2_999);
    assert!(pair.app.shown.is_empty());
    pair.wait(1 + 500);
    assert_eq!(pair.client.status().state, Connection::Online);
    assert_eq!(pair.app.shown, pair.server.records);
    assert_eq!(pair.attempts, 2);
}

#[test]
fn live_connection_stays_after_a_wake() {
    let mut pair = Pair::connected();
    for _ in 0..5 {
        pair.now += 10_000;
        pair.client.wake(pair.instant());
        pair.wait(4_000);
    }
    assert_eq!((pair.attempts, pair.client.status().state), (1, Connection::Online));
}

/// The timers of a device that has slept fire later than they should.
#[test]
fn write_made_after_a_sleep_does_not_wait_for_a_dead_connection() {
    let mut pair = Pair::connected();
    pair.silence();
    pair.now += 8 * 60 * 60 * 1_000;
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.run();
    assert_eq!(pair.status_of(saved), Some(200));
    assert_eq!(pair.attempts, 2);
}

#[test]
fn requests_of_a_page_that_comes_back_wait_for_the_link() {
    let mut pair = Pair::connected();
    pair.client.park(pair.instant());
    pair.carry_out();
    pair.now += 60_000;
    let read = pair.ask(Verb::Get, "/todo", Value::Null);
    pair.client.wake(pair.instant());
    pair.client.tick(pair.instant());
    pair.run();
    assert_eq!((pair.status_of(read), pair.app.is_live), (Some(200), true));
    assert_eq!(pair.max_over_http, (0, 0));
}

#[test]
fn wake_does_not_end_a_disconnect() {
    let mut pair = Pair::connected();
    pair.client.disconnect(pair.instant());
    pair.client.park(pair.instant());
    pair.client.wake(pair.instant());
    pair.run();
    assert_eq!((pair.client.status().state, pair.attempts), (Connection::Offline, 1));
}

// Auth
// ----

fn asking(seed: u64) -> Link {
    let mut link = Link::new(None, seed);
    link.connect(at(0));
    link.received(at(0), &open_packet());
    assert_eq!(steps(&mut link), [Step::Open, Step::Authenticate]);
    link
}

#[test]
fn link_without_auth_asks_for_it_before_each_connect() {
    let mut link = asking(1);
    for token in ["a", "b"] {
        assert!(link.authenticate(token.into()));
        assert_eq!(steps(&mut link), [Step::Send(format!("40{token}"))]);
        assert!(!link.authenticate("later".into()), "nobody has asked for it");
        link.received(at(1), &joined());
        assert_eq!(steps(&mut link), [Step::Up]);
        link.reconnect(at(1));
        link.connect(at(1));
        link.received(at(1), &open_packet());
        assert_eq!(steps(&mut link), [Step::Close, Step::Down, Step::Open, Step::Authenticate]);
    }
}

#[test]
fn auth_that_comes_too_late_is_not_sent_before_the_next_question() {
    let mut link = asking(1);
    link.tick(at(20_000));
    link.connect(at(20_000));
    assert_eq!(steps(&mut link), [Step::Close, Step::Open]);
    assert!(!link.authenticate("late".into()));
    assert_eq!(steps(&mut link), []);
    link.received(at(20_001), &open_packet());
    assert_eq!(steps(&mut link), [Step::Authenticate]);
}

#[test]
fn server_that_confirms_before_the_auth_is_sent_is_left() {
    let mut link = asking(1);
    link.received(at(1), &joined());
    assert_eq!(steps(&mut link), [Step::Close]);
}

#[test]
fn client_passes_the_question_for_auth_on() {
    let mut pair = Pair::asking();
    pair.client.connect(pair.instant());
    pair.run();
    assert_eq!(pair.asked_for_auth, 1);
    pair.client.authenticate(pair.instant(), r#"{"token":"a"}"#);
    pair.run();
    assert_eq!(pair.server.auth, json!({"backwire": 1, "token": "a"}));
    assert_eq!(pair.client.status().state, Connection::Online);
}

/// The answer to a question is no new token: writes that wait for one still wait.
#[test]
fn answered_question_does_not_send_refused_writes_over_http() {
    let mut pair = Pair::asking();
    let authenticate = |pair: &mut Pair| {
        pair.run();
        pair.client.authenticate(pair.instant(), r#"{"token":"a"}"#);
        pair.run();
    };
    let saved = pair.ask(Verb::Post, "/todo", json!({"title": "Milk"}));
    pair.server.refusals.push_back(401.into());
    pair.client.connect(pair.instant());
    authenticate(&mut pair);
    assert_eq!(pair.unauthorized, 1);
    pair.break_line();
    pair.wait(4_000);
    assert_eq!(pair.asked_for_auth, 2);
    pair.server.refuses = Some("for now".into());
    authenticate(&mut pair);
    assert_eq!((pair.status_of(saved), pair.max_over_http), (None, (0, 0)));
}
