//! Tests of the link, with a simulated clock.

use crate::json::Json;
use backwire_protocol::Instant;
use backwire_protocol::link::{Link, Step};
use backwire_protocol::packet::{Kind, Packet};
use serde_json::{Value, json};

pub const AUTH: &str = r#"{"backwire":1}"#;

pub fn at(milliseconds: u64) -> Instant {
    Instant::from_millis(milliseconds)
}

pub fn steps(link: &mut Link) -> Vec<Step> {
    std::iter::from_fn(|| link.next_step()).collect()
}

pub fn packet(kind: Kind, data: Value) -> Packet<Json> {
    Packet { kind, namespace: String::new(), ack: None, data: Some(Json(data)) }
}

pub fn bare(kind: Kind) -> Packet<Json> {
    Packet { kind, namespace: String::new(), ack: None, data: None }
}

pub fn open_packet() -> Packet<Json> {
    packet(Kind::Open, json!({"sid": "x", "pingInterval": 25_000, "pingTimeout": 20_000}))
}

pub fn joined() -> Packet<Json> {
    packet(Kind::Connect, json!({"sid": "y"}))
}

pub fn up(seed: u64) -> Link {
    let mut link = Link::new(Some(AUTH.into()), seed);
    link.connect(at(0));
    link.received(at(0), &open_packet());
    link.received(at(0), &joined());
    steps(&mut link);
    link
}

#[test]
fn client_joins_after_the_open_packet_of_the_server() {
    let mut link = Link::new(Some(AUTH.into()), 1);
    link.connect(at(0));
    assert_eq!(steps(&mut link), [Step::Open]);
    link.received(at(1), &open_packet());
    assert_eq!(steps(&mut link), [Step::Send(format!("40{AUTH}"))]);
    assert!(!link.is_up());
    link.received(at(2), &joined());
    assert_eq!(steps(&mut link), [Step::Up]);
}

#[test]
fn ping_is_answered_with_pong() {
    let mut link = up(1);
    link.received(at(25_000), &bare(Kind::Ping));
    assert_eq!(steps(&mut link), [Step::Send("3".into())]);
}

#[test]
fn link_closes_if_nothing_is_received_within_ping_interval_and_timeout() {
    let mut link = up(1);
    link.received(at(1_000), &bare(Kind::Ping));
    steps(&mut link);
    assert_eq!(link.deadline(), Some(at(46_000)));
    link.tick(at(45_999));
    assert!(link.is_up());
    link.tick(at(46_000));
    assert_eq!(steps(&mut link), [Step::Close, Step::Down]);
}

#[test]
fn link_closes_when_a_device_wakes_from_sleep() {
    let mut link = up(1);
    link.tick(at(8 * 60 * 60 * 1_000));
    assert!(!link.is_up());
}

#[test]
fn connection_attempt_ends_after_twenty_seconds_without_a_packet() {
    let mut link = Link::new(Some(AUTH.into()), 1);
    link.connect(at(0));
    steps(&mut link);
    link.tick(at(20_000));
    assert_eq!(steps(&mut link), [Step::Close]);
}

#[test]
fn delays_grow_to_three_seconds_with_full_jitter() {
    let mut longest = [0; 6];
    let mut shortest = [u64::MAX; 6];
    for seed in 0..300 {
        let mut link = up(seed);
        link.closed(at(0));
        let mut now = 0;
        for attempt in 0..6 {
            let due = at(now).until(link.deadline().unwrap()).as_millis() as u64;
            longest[attempt] = due.max(longest[attempt]);
            shortest[attempt] = due.min(shortest[attempt]);
            now += due;
            link.tick(at(now));
            link.closed(at(now));
        }
    }
    for (attempt, ceiling) in [500, 1_000, 2_000, 3_000, 3_000, 3_000].into_iter().enumerate() {
        assert!(longest[attempt] <= ceiling && longest[attempt] > ceiling * 9 / 10);
        assert!(shortest[attempt] < ceiling / 10);
    }
}

#[test]
fn same_seed_gives_the_same_delays() {
    let delay = |seed| {
        let mut link = up(seed);
        link.closed(at(0));
        link.deadline()
    };
    assert_eq!(delay(7), delay(7));
    assert_ne!(delay(7), delay(8));
}

#[test]
fn delay_is_short_again_after_the_link_was_up() {
    let mut link = up(3);
    for now in (0..100_000).step_by(10_000) {
        link.closed(at(now));
        link.tick(at(now + 5_000));
    }
    link.received(at(99_000), &open_packet());
    link.received(at(99_000), &joined());
    link.closed(at(99_000));
    assert!(link.deadline().unwrap() <= at(99_500));
}

fn refusal(message: &str) -> Packet<Json> {
    packet(Kind::ConnectError, json!({"message": message}))
}

#[test]
fn link_tries_again_after_a_temporary_refusal_without_a_report() {
    let mut link = Link::new(Some(AUTH.into()), 1);
    for now in [0, 5_000, 10_000] {
        link.tick(at(now));
        link.connect(at(now));
        link.received(at(now), &open_packet());
        steps(&mut link);
        link.received(at(now), &refusal("Server is closing"));
        assert_eq!(steps(&mut link), [Step::Close]);
        assert!(link.deadline().is_some());
    }
}

#[test]
fn permanent_refusal_is_reported_once_and_ends_attempts_until_connect() {
    let mut link = Link::new(Some(AUTH.into()), 1);
    for now in [0, 5_000] {
        link.connect(at(now));
        assert_eq!(steps(&mut link), [Step::Open]);
        link.received(at(now), &open_packet());
        steps(&mut link);
        link.received(at(now), &refusal("E_TOKEN: expired"));
        let refused = Step::Refused("E_TOKEN: expired".into());
        assert_eq!(steps(&mut link), [Step::Close, refused]);
        link.refuse("E_ORIGIN: not from here".into());
        link.wake(at(now));
        link.closed(at(now));
        link.reconnect(at(now));
        link.tick(at(now + 3_600_000));
        assert_eq!((steps(&mut link), link.deadline()), (vec![], None));
        assert!(!link.is_hopeful());
    }
}

#[test]
fn link_that_is_up_can_be_refused_and_an_idle_link_cannot() {
    let mut link = up(1);
    link.refuse("E_ORIGIN: not from here".into());
    let refused = Step::Refused("E_ORIGIN: not from here".into());
    assert_eq!(steps(&mut link), [Step::Close, Step::Down, refused]);
    link.disconnect();
    link.refuse("E_ORIGIN: not from here".into());
    assert_eq!(steps(&mut link), []);
}

#[test]
fn new_auth_is_sent_on_the_next_connection() {
    let mut link = up(1);
    link.authenticate(r#"{"backwire":1,"token":"b"}"#.into());
    assert_eq!(steps(&mut link), []);
    link.reconnect(at(1));
    link.connect(at(1));
    steps(&mut link);
    link.received(at(1), &open_packet());
    assert_eq!(steps(&mut link), [Step::Send(r#"40{"backwire":1,"token":"b"}"#.into())]);
}

#[test]
fn link_stays_idle_after_disconnect() {
    let mut link = up(1);
    link.disconnect();
    assert_eq!(steps(&mut link), [Step::Close, Step::Down]);
    assert_eq!(link.deadline(), None);
    link.closed(at(10));
    assert_eq!(steps(&mut link), []);
    link.connect(at(20));
    assert_eq!(steps(&mut link), [Step::Open]);
}

#[test]
fn link_reconnects_after_a_close_or_a_malformed_open_packet() {
    let without_timing = packet(Kind::Open, json!({"sid": "x"}));
    let leaves = [bare(Kind::Close), bare(Kind::Disconnect), without_timing];
    for packet in leaves {
        let mut link = up(1);
        link.received(at(1), &packet);
        assert_eq!(steps(&mut link), [Step::Close, Step::Down], "{packet:?}");
        assert!(link.deadline().is_some());
    }
}

#[test]
fn connect_ends_the_reconnect_delay_and_has_no_effect_while_up() {
    let mut link = up(1);
    link.connect(at(1));
    assert_eq!(steps(&mut link), []);
    link.closed(at(1));
    steps(&mut link);
    link.connect(at(1));
    assert_eq!(steps(&mut link), [Step::Open]);
}
