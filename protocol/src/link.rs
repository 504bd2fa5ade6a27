//! One connection at a time, with reconnects.
//!
//! The server sends the first packet (`0{…}`), and the client joins its namespace (`40{…}`). The
//! link is up when the server confirms that. From then on the server sends pings. If nothing
//! arrives within the ping interval and the ping timeout, the link closes, whatever the state of
//! the transport is. Before the next attempt, the link waits a random time in [0, min(3 s, 0.5 s ×
//! 2ⁿ)], where n counts the failures since the link was last up. This is full jitter, so that a
//! thousand clients of a restarted server do not all reconnect at once. A server that refuses the
//! connection for now may ask for a delay. It comes before the random time.
//!
//! The device may sleep, and the page may be stopped. Then no time passes for the link, and the
//! transport may fail without a sign. [`wake`](Link::wake) is the hint that this is over, and so is
//! a tick that is late: the link ends its delay, begins an old attempt again, and probes a
//! connection that may have failed.
//!
//! The link does not reconnect if the server refuses the connection for a permanent reason: the
//! message starts with `E_` (another version, an unknown site, an invalid token, a forbidden
//! origin).

use core::time::Duration;

use crate::names::Queue;
use crate::packet::{Kind, Packet};
use crate::payload::Payload;
use crate::time::Instant;
use crate::wire::{BODY_TOLERANCE, PROBE, REFUSAL_DATA, RETRY_AFTER};

/// The time from the attempt to open until the namespace must be joined.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const INITIAL_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(3);
/// The longest delay that a server can ask for.
const MAX_ASKED_DELAY: u64 = 10 * 60 * 1_000;

/// A tick that is later than this after its deadline shows that the device or the page has slept.
const LATE: Duration = Duration::from_secs(5);
/// A wake begins an attempt again if it is older than this.
const OLD_ATTEMPT: Duration = Duration::from_secs(5);
/// A wake probes the connection if nothing was received for longer than this.
const RECENT: Duration = Duration::from_secs(2);
/// The time in which something must arrive after a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// No request has this ack id, so the answer to a probe only shows that the connection works.
const PROBE_ACK: u64 = 0;

/// An action for the owner of a link, or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Open a WebSocket. An existing one is forgotten.
    Open,
    /// Close the WebSocket and forget it. Its later events are not for this link.
    Close,
    /// Send a frame.
    Send(String),
    /// The server is there. Call [`authenticate`](Link::authenticate), now or later.
    Authenticate,
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
    /// JSON object sent with the connect. `None`: the owner is asked for it each time.
    auth: Option<String>,
    /// Attempts that failed since the link was last up.
    failures: u32,
    /// The maximum size of a request body in bytes.
    body_limit: u64,
    /// The server has asked for no attempt before this time.
    not_before: Instant,
    random: Random,
    steps: Queue<Step>,
}

#[derive(Debug)]
enum State {
    /// The app wants no connection.
    Idle,
    /// The app wants the link, but the server refuses it for good.
    Refused,
    /// The link waits for the next attempt, or, without a time, for a wake.
    Waiting { until: Option<Instant> },
    /// The WebSocket is opening or open, but the namespace is not joined yet.
    Opening { until: Instant, phase: Phase },
    /// The namespace is joined. The link closes at `until` if nothing arrives before. Each arrival
    /// moves `until` by `max_silence`.
    Up { last_received: Instant, until: Instant, max_silence: Duration },
}

/// The phase of an attempt.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The server has not sent its open packet.
    Dialing,
    /// The link waits for the auth from its owner.
    Authenticating(Duration),
    /// The CONNECT is sent. From then on, `max_silence` is this.
    Joining(Duration),
}

impl Link {
    /// Creates an idle link. `auth` is a JSON object. Without it, each attempt asks for it with
    /// [`Step::Authenticate`]. `seed` decides the jitter.
    pub fn new(auth: Option<String>, seed: u64) -> Self {
        let (random, steps) = (Random(seed), Queue::new());
        let (state, body_limit, not_before) = (State::Idle, u64::MAX, Instant::default());
        Self { state, auth, failures: 0, body_limit, not_before, random, steps }
    }

    /// Sets the auth, a JSON object: of the attempt that has asked for it, or of the next ones.
    /// Returns whether an attempt has asked for it.
    pub fn authenticate(&mut self, auth: String) -> bool {
        if let State::Opening { phase, .. } = &mut self.state
            && let Phase::Authenticating(max_silence) = *phase
        {
            *phase = Phase::Joining(max_silence);
            self.send(&Packet::new(Kind::Connect, None, Some(&auth)));
            return true;
        }
        if self.auth.is_some() {
            self.auth = Some(auth);
        }
        false
    }

    /// Starts an attempt now, unless one is under way or the link is up.
    pub fn connect(&mut self, now: Instant) {
        if matches!(self.state, State::Idle | State::Refused | State::Waiting { .. }) {
            self.open(now);
        }
    }

    /// Handles a hint that the device or the page has slept, or that the network is back.
    ///
    /// - The delay before the next attempt ends, unless the server has asked for it.
    /// - An attempt that is under way for some time is replaced by a new one.
    /// - A connection over which nothing has arrived for some time is probed. It stays if the
    ///   server answers soon.
    pub fn wake(&mut self, now: Instant) {
        match &mut self.state {
            State::Waiting { until } if now < self.not_before => *until = Some(self.not_before),
            State::Waiting { .. } => self.open(now),
            State::Opening { until, .. } if *until + OLD_ATTEMPT < now + CONNECT_TIMEOUT => {
                self.open(now);
            }
            State::Up { last_received, until, .. }
                if *last_received + RECENT < now && now + PROBE_TIMEOUT < *until =>
            {
                *until = now + PROBE_TIMEOUT;
                self.send(&Packet::new(Kind::Event, Some(PROBE_ACK), Some(PROBE)));
            }
            _ => {}
        }
    }

    /// Closes the connection until the next [`wake`](Self::wake), because the page is about to be
    /// stopped.
    pub fn park(&mut self) {
        if !matches!(self.state, State::Idle | State::Refused) {
            self.leave(State::Waiting { until: None });
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
            self.leave(State::Waiting { until: Some(now.max(self.not_before) + delay) });
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
            Kind::ConnectError => self.refused(now, packet.data.as_ref()),
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
            State::Opening { .. } | State::Up { .. } => {
                self.reconnect(now);
                if deadline + LATE < now {
                    self.wake(now);
                }
            }
            State::Idle | State::Refused => {}
        }
    }

    /// Returns the time of the next [`tick`](Self::tick).
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Refused => None,
            State::Waiting { until } => until,
            State::Opening { until, .. } | State::Up { until, .. } => Some(until),
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

    /// Returns whether the app wants the link, but the server refuses it for good.
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
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

    fn open(&mut self, now: Instant) {
        self.steps.push(Step::Open);
        self.state = State::Opening { until: now + CONNECT_TIMEOUT, phase: Phase::Dialing };
    }

    fn opened<P: Payload>(&mut self, now: Instant, handshake: Option<&P>) {
        let number = |name| handshake.and_then(|handshake| handshake.field(name)?.number());
        let timing = (number("pingInterval"), number("pingTimeout"));
        let (State::Opening { phase, .. }, (Some(interval), Some(timeout))) =
            (&mut self.state, timing)
        else {
            return self.reconnect(now);
        };
        self.body_limit = number("maxPayload").unwrap_or(u64::MAX) / BODY_TOLERANCE as u64;
        let max_silence = Duration::from_millis(interval.saturating_add(timeout));
        *phase = Phase::Authenticating(max_silence);
        match self.auth.clone() {
            Some(auth) => drop(self.authenticate(auth)),
            None => self.steps.push(Step::Authenticate),
        }
    }

    fn joined(&mut self, now: Instant) {
        let State::Opening { phase: Phase::Joining(max_silence), .. } = self.state else {
            return self.reconnect(now);
        };
        self.state = State::Up { last_received: now, until: now + max_silence, max_silence };
        self.failures = 0;
        self.steps.push(Step::Up);
    }

    /// Handles a refusal of the connection. A server that is shutting down or full refuses only for
    /// now.
    fn refused<P: Payload>(&mut self, now: Instant, refusal: Option<&P>) {
        let message = refusal.and_then(|refusal| refusal.field("message")?.text());
        match message {
            Some(message) if message.as_bytes().starts_with(b"E_") => self.refuse(message),
            _ => {
                let data = refusal.and_then(|refusal| refusal.field(REFUSAL_DATA));
                if let Some(delay) = data.and_then(|data| data.field(RETRY_AFTER)?.number()) {
                    self.not_before = now + Duration::from_millis(delay.min(MAX_ASKED_DELAY));
                }
                self.reconnect(now);
            }
        }
    }

    fn record_activity(&mut self, now: Instant) {
        if let State::Up { last_received, until, max_silence } = &mut self.state {
            *last_received = now;
            *until = now + *max_silence;
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
