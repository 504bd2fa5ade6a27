//! One connection at a time, with reconnects.
//!
//! The server sends the first packet (`0{…}`), and the client joins its namespace (`40{…}`). The
//! link is up when the server confirms that. From then on the server sends pings. If nothing
//! arrives within the ping interval and the ping timeout, the link closes, whatever the state of
//! the transport is. Before the next attempt, the link waits a random time in [0, min(3 s, 0.5 s ×
//! 2ⁿ)], where n counts the failures since the link was last up. This is full jitter, so that a
//! thousand clients of a restarted server do not all reconnect at once.
//!
//! The link does not reconnect if the server refuses the connection for a permanent reason: the
//! message starts with `E_` (another version, an unknown site, an invalid token, a forbidden
//! origin).

use core::time::Duration;

use crate::names::Queue;
use crate::packet::{Kind, Packet};
use crate::payload::Payload;
use crate::time::Instant;
use crate::wire::BODY_TOLERANCE;

/// The time from the attempt to open until the namespace must be joined.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const INITIAL_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(3);

/// An action for the owner of a link, or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Open a WebSocket. An existing one is forgotten.
    Open,
    /// Close the WebSocket and forget it. Its later events are not for this link.
    Close,
    /// Send a frame.
    Send(String),
    /// The namespace is joined.
    Up,
    /// The link is no longer up.
    Down,
    /// The server refuses the connection for good, with this message. The link makes no more
    /// attempts until the next [`connect`](Link::connect).
    Refused(String),
}

/// The link machine. After each input, carry out all steps of [`next_step`](Self::next_step), and
/// call [`tick`](Self::tick) at [`deadline`](Self::deadline).
#[derive(Debug)]
pub struct Link {
    state: State,
    /// JSON object sent with the connect.
    auth: String,
    /// Attempts that failed since the link was last up.
    failures: u32,
    /// The maximum size of a request body in bytes.
    body_limit: u64,
    random: Random,
    steps: Queue<Step>,
}

#[derive(Debug)]
enum State {
    /// The app wants no connection.
    Idle,
    /// The app wants the link, but the server refuses it for good.
    Refused,
    /// The link waits for the next attempt.
    Waiting { until: Instant },
    /// The WebSocket is opening or open, but the namespace is not joined yet.
    Opening { until: Instant, max_silence: Option<Duration> },
    /// The namespace is joined. The link closes if nothing arrives within `max_silence`.
    Up { last_received: Instant, max_silence: Duration },
}

impl Link {
    /// Creates an idle link. `auth` is a JSON object, `seed` decides the jitter.
    pub fn new(auth: String, seed: u64) -> Self {
        let (random, steps) = (Random(seed), Queue::new());
        let (state, body_limit) = (State::Idle, u64::MAX);
        Self { state, auth, failures: 0, body_limit, random, steps }
    }

    /// Sets the auth of the next attempt to join: a JSON object.
    pub fn authenticate(&mut self, auth: String) {
        self.auth = auth;
    }

    /// Starts an attempt now, unless one is under way or the link is up.
    pub fn connect(&mut self, now: Instant) {
        if matches!(self.state, State::Idle | State::Refused | State::Waiting { .. }) {
            self.steps.push(Step::Open);
            self.state = State::Opening { until: now + CONNECT_TIMEOUT, max_silence: None };
        }
    }

    /// Ends the delay before the next attempt, if there is one, for example because the network is
    /// back.
    pub fn retry_now(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            self.connect(now);
        }
    }

    /// Closes the connection until the next [`connect`](Self::connect).
    pub fn disconnect(&mut self) {
        self.leave(State::Idle);
        self.failures = 0;
    }

    /// Records that the server refuses the connection for good. Does nothing if the link is idle or
    /// refused already.
    pub fn refuse(&mut self, message: String) {
        if !matches!(self.state, State::Idle | State::Refused) {
            self.leave(State::Refused);
            self.steps.push(Step::Refused(message));
        }
    }

    /// Closes the connection and tries again.
    pub fn reconnect(&mut self, now: Instant) {
        if matches!(self.state, State::Opening { .. } | State::Up { .. }) {
            let delay = self.next_delay();
            self.leave(State::Waiting { until: now + delay });
        }
    }

    /// Records that the WebSocket was closed or could not be opened.
    pub fn closed(&mut self, now: Instant) {
        self.reconnect(now);
    }

    /// Handles a packet. Events and acks only show that the connection works.
    pub fn received<P: Payload>(&mut self, now: Instant, packet: &Packet<P>) {
        self.record_activity(now);
        match packet.kind {
            Kind::Open => self.opened(now, packet.data.as_ref()),
            Kind::Ping => self.send(&Packet::new(Kind::Pong, None, None)),
            Kind::Connect => self.joined(now),
            Kind::ConnectError => {
                let message = packet.data.as_ref().and_then(|data| data.field("message")?.text());
                match message {
                    Some(message) if message.as_bytes().starts_with(b"E_") => self.refuse(message),
                    // A server that is shutting down or full refuses only for now.
                    _ => self.reconnect(now),
                }
            }
            Kind::Close | Kind::Disconnect => self.reconnect(now),
            Kind::Pong | Kind::Upgrade | Kind::Noop | Kind::Event | Kind::Ack => {}
        }
    }

    /// Handles the passing of time.
    pub fn tick(&mut self, now: Instant) {
        let Some(deadline) = self.deadline() else {
            return;
        };
        if now < deadline {
            return;
        }
        match self.state {
            State::Waiting { .. } => self.connect(now),
            State::Opening { .. } | State::Up { .. } => self.reconnect(now),
            State::Idle | State::Refused => {}
        }
    }

    /// Returns the time of the next [`tick`](Self::tick).
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Refused => None,
            State::Waiting { until } | State::Opening { until, .. } => Some(until),
            State::Up { last_received, max_silence } => Some(last_received + max_silence),
        }
    }

    /// Returns the next step.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop()
    }

    /// Returns whether the namespace is joined.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Returns whether the app wants the link, and at most one attempt has failed since it was last
    /// up.
    pub fn is_hopeful(&self) -> bool {
        !matches!(self.state, State::Idle | State::Refused) && self.failures <= 1
    }

    /// The maximum size of a request body in bytes.
    pub fn body_limit(&self) -> u64 {
        self.body_limit
    }

    fn opened<P: Payload>(&mut self, now: Instant, handshake: Option<&P>) {
        let number = |name| handshake.and_then(|handshake| handshake.field(name)?.number());
        let timing = (number("pingInterval"), number("pingTimeout"));
        let (State::Opening { max_silence, .. }, (Some(interval), Some(timeout))) =
            (&mut self.state, timing)
        else {
            return self.reconnect(now);
        };
        self.body_limit = number("maxPayload").unwrap_or(u64::MAX) / BODY_TOLERANCE as u64;
        *max_silence = Some(Duration::from_millis(interval.saturating_add(timeout)));
        let connect = Packet::new(Kind::Connect, None, Some(&self.auth)).encode();
        self.steps.push(Step::Send(connect));
    }

    fn joined(&mut self, now: Instant) {
        let State::Opening { max_silence: Some(max_silence), .. } = self.state else {
            return self.reconnect(now);
        };
        self.state = State::Up { last_received: now, max_silence };
        self.failures = 0;
        self.steps.push(Step::Up);
    }

    fn record_activity(&mut self, now: Instant) {
        if let State::Up { last_received, .. } = &mut self.state {
            *last_received = now;
        }
    }

    fn leave(&mut self, next: State) {
        match core::mem::replace(&mut self.state, next) {
            State::Up { .. } => {
                self.steps.push(Step::Close);
                self.steps.push(Step::Down);
            }
            State::Opening { .. } => self.steps.push(Step::Close),
            State::Idle | State::Refused | State::Waiting { .. } => {}
        }
    }

    fn send(&mut self, packet: &Packet<&str>) {
        self.steps.push(Step::Send(packet.encode()));
    }

    fn next_delay(&mut self) -> Duration {
        let ceiling = INITIAL_DELAY.saturating_mul(1 << self.failures.min(8)).min(MAX_DELAY);
        self.failures += 1;
        Duration::from_millis(self.random.below(ceiling.as_millis() as u64 + 1))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014). It is good enough for jitter, and deterministic.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
