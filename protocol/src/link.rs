//! One connection at a time, from the first attempt to the next after it broke.
//!
//! The server speaks first (`0{…}`), the client joins its namespace (`40{…}`), and when that is
//! confirmed the link is up. From then on the server pings; if nothing at all is heard for the time
//! of a ping and its timeout, the link is dead, whatever the transport believes. After any end the
//! next attempt waits a random time in [0, min(3 s, 0.5 s × 2ⁿ)], where n counts the failures since
//! the link was last up: full jitter, so that a thousand clients of a restarted server do not all
//! come at once.
//!
//! The link does not reconnect if the server refuses the connection for a permanent reason: the
//! message starts with `E_` (another version, an unknown site, an invalid token, a forbidden
//! origin).

use core::time::Duration;

use crate::names::Queue;
use crate::packet::{Kind, Packet};
use crate::payload::Payload;
use crate::time::Instant;

/// From the attempt to open until the namespace is joined.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(3);

/// An action for the owner of a link, or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Open a WebSocket; one that is still there is forgotten.
    Open,
    /// Close the WebSocket and forget it: whatever it still says is not for this link.
    Close,
    /// Send a frame.
    Send(String),
    /// The namespace is joined.
    Up,
    /// The link, which was up, is no more.
    Down,
    /// The server refuses the connection for good, with this message. The link makes no more
    /// attempts until the next [`connect`](Link::connect).
    Refused(String),
}

/// The machine. After each input, carry out all of [`next_step`](Self::next_step), and call
/// [`tick`](Self::tick) at [`deadline`](Self::deadline).
#[derive(Debug)]
pub struct Link {
    state: State,
    /// JSON object sent with the connect.
    auth: String,
    /// Attempts that failed since the link was last up.
    failures: u32,
    /// Bytes of a request's body that the server takes.
    body_limit: u64,
    random: Random,
    steps: Queue<Step>,
}

#[derive(Debug)]
enum State {
    /// Not wanted.
    Idle,
    /// The app wants the link, but the server refuses it for good.
    Refused,
    /// Until the next attempt.
    Waiting { until: Instant },
    /// Opened, or being so; not joined yet.
    Opening { until: Instant, silence: Option<Duration> },
    /// Joined. Dead if nothing is heard within `silence`.
    Up { heard: Instant, silence: Duration },
}

impl Link {
    /// An idle link. `auth` is a JSON object, `seed` decides the jitter.
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
            self.state = State::Opening { until: now + CONNECT_TIMEOUT, silence: None };
        }
    }

    /// It may be worth trying now: ends the wait for the next attempt, if there is one.
    pub fn hurry(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            self.connect(now);
        }
    }

    /// Gives the connection up until the next [`connect`](Self::connect).
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

    /// The connection is doubted: drop it and try again.
    pub fn reconnect(&mut self, now: Instant) {
        if matches!(self.state, State::Opening { .. } | State::Up { .. }) {
            let delay = self.next_delay();
            self.leave(State::Waiting { until: now + delay });
        }
    }

    /// The WebSocket closed, or could not be opened.
    pub fn closed(&mut self, now: Instant) {
        self.reconnect(now);
    }

    /// A packet came. Events and acks only count as a sign of life here.
    pub fn received<P: Payload>(&mut self, now: Instant, packet: &Packet<P>) {
        self.hear(now);
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

    /// Time has passed.
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

    /// When [`tick`](Self::tick) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Refused => None,
            State::Waiting { until } | State::Opening { until, .. } => Some(until),
            State::Up { heard, silence } => Some(heard + silence),
        }
    }

    /// Returns the next step.
    pub fn next_step(&mut self) -> Option<Step> {
        self.steps.pop()
    }

    /// Whether the namespace is joined.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Whether the link is wanted and nothing has failed since it was last up.
    pub fn is_hopeful(&self) -> bool {
        !matches!(self.state, State::Idle | State::Refused) && self.failures <= 1
    }

    /// Bytes of a request's body that the server takes.
    pub fn body_limit(&self) -> u64 {
        self.body_limit
    }

    fn opened<P: Payload>(&mut self, now: Instant, handshake: Option<&P>) {
        let number = |name| handshake.and_then(|handshake| handshake.field(name)?.number());
        let timing = (number("pingInterval"), number("pingTimeout"));
        let (State::Opening { silence, .. }, (Some(interval), Some(timeout))) =
            (&mut self.state, timing)
        else {
            return self.reconnect(now);
        };
        // The server reads frames of four times what it takes, so that it can refuse in words what is
        // too large by a little.
        self.body_limit = number("maxPayload").unwrap_or(u64::MAX) / 4;
        *silence = Some(Duration::from_millis(interval.saturating_add(timeout)));
        let hello = Packet::new(Kind::Connect, None, Some(&self.auth)).encode();
        self.steps.push(Step::Send(hello));
    }

    fn joined(&mut self, now: Instant) {
        let State::Opening { silence: Some(silence), .. } = self.state else {
            return self.reconnect(now);
        };
        self.state = State::Up { heard: now, silence };
        self.failures = 0;
        self.steps.push(Step::Up);
    }

    fn hear(&mut self, now: Instant) {
        if let State::Up { heard, .. } = &mut self.state {
            *heard = now;
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
        let ceiling = FIRST_DELAY.saturating_mul(1 << self.failures.min(8)).min(LONGEST_DELAY);
        self.failures += 1;
        Duration::from_millis(self.random.below(ceiling.as_millis() as u64 + 1))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for jitter, and the same from the same seed.
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
