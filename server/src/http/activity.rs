//! The activity of a TCP connection, and how long it may wait for its client.
//!
//! Three places report to an [`Activity`]: the stream, when bytes arrive; the service, when a
//! request begins and its response ends; and the body of a request, when its reader has to wait.
//! The task of the connection reads the next [deadline](Activity::deadline), so that one timer is
//! enough. There is no deadline while the server works on a request. There is none after an upgrade
//! either: Engine.IO has deadlines of its own.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::settings::{Limit, Limits};

/// How long a client may take for each part of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    pub(crate) header: Duration,
    pub(crate) body: Duration,
    pub(crate) idle: Duration,
}

/// The activity of a connection: what it does or waits for, and since when.
#[derive(Debug)]
pub(crate) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Wakes the reader of a request's body while it waits.
    body_reader: Option<Waker>,
    is_body_overdue: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No part of a request has arrived.
    Idle,
    /// A part of a request's head has arrived.
    Head,
    /// The server works on a request.
    Busy,
    /// The server waits for more of a request's body.
    Body,
    Upgraded,
}

/// The part of a request that the next bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestPart {
    /// The head of a request.
    Head,
    /// The rest of a request whose head is complete.
    Other,
    /// No part of a request has arrived, and the server handles none; or the connection is upgraded
    /// and does not use HTTP any more.
    Nothing,
}

impl Deadlines {
    pub(crate) fn of(limits: &Limits) -> Self {
        let (header, body) = (limits.header_deadline, limits.body_deadline);
        Self { header, body, idle: limits.idle_deadline }
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(State {
            phase: Phase::Idle,
            since: Instant::now(),
            body_reader: None,
            is_body_overdue: false,
        }))
    }
}

impl Activity {
    /// Reports that bytes have arrived.
    pub(super) fn received(&self) {
        let mut state = self.0.lock();
        if state.phase == Phase::Idle {
            state.enter(Phase::Head);
        }
    }

    /// Returns the part of a request that the next bytes belong to.
    pub(super) fn request_part(&self) -> RequestPart {
        match self.0.lock().phase {
            Phase::Idle | Phase::Upgraded => RequestPart::Nothing,
            Phase::Head => RequestPart::Head,
            Phase::Busy | Phase::Body => RequestPart::Other,
        }
    }

    /// Whether the server waits for its client, or does not know because the connection is
    /// upgraded.
    pub(super) fn awaits_client(&self) -> bool {
        self.0.lock().phase != Phase::Busy
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.0.lock().phase == Phase::Upgraded
    }

    /// Reports that the head of a request is complete.
    pub(super) fn request_begins(&self) {
        self.0.lock().phase = Phase::Busy;
    }

    /// Reports that the response to a request is complete.
    pub(super) fn response_ends(&self) {
        let mut state = self.0.lock();
        if state.phase != Phase::Upgraded {
            state.enter(Phase::Idle);
        }
    }

    /// Reports that the connection does not use HTTP any more.
    pub(super) fn upgraded(&self) {
        self.0.lock().phase = Phase::Upgraded;
    }

    /// Reports that more of a body has arrived, or that no reader waits for it.
    pub(super) fn body_progresses(&self) {
        let mut state = self.0.lock();
        if state.phase == Phase::Body {
            state.phase = Phase::Busy;
            state.body_reader = None;
        }
    }

    /// Waits for more of a body. Is ready if the body is overdue.
    pub(super) fn poll_body_overdue(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.is_body_overdue {
            return Poll::Ready(());
        }
        if state.phase == Phase::Busy {
            state.enter(Phase::Body);
        }
        state.body_reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reports that the body has missed its deadline. Its reader gets an error.
    pub(super) fn body_is_overdue(&self) {
        let mut state = self.0.lock();
        state.phase = Phase::Busy;
        state.is_body_overdue = true;
        if let Some(reader) = state.body_reader.take() {
            reader.wake();
        }
    }

    pub(super) fn has_overdue_body(&self) -> bool {
        self.0.lock().is_body_overdue
    }

    /// Returns the time until which the client must act, and the limit that it reaches otherwise.
    pub(super) fn deadline(&self, deadlines: &Deadlines) -> Option<(Instant, Limit)> {
        let state = self.0.lock();
        let (within, limit) = match state.phase {
            Phase::Idle => (deadlines.idle, Limit::IdleDeadline),
            Phase::Head => (deadlines.header, Limit::HeaderDeadline),
            Phase::Body => (deadlines.body, Limit::BodyDeadline),
            Phase::Busy | Phase::Upgraded => return None,
        };
        Some((state.since + within, limit))
    }

    /// Resolves to the limit that a client has reached because it was too slow. The timer is reset
    /// only when it ends or when the deadline is earlier: most connections act long before it ends.
    pub(super) fn poll_overdue(
        &self,
        deadlines: &Deadlines,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Limit> {
        let Some((deadline, limit)) = self.deadline(deadlines) else { return Poll::Pending };
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(limit);
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Returns since when the connection waits for its client, as a key for sorting. Connections
    /// that sort first are the least useful: they have no request, or wait longest for more of it.
    pub(super) fn waiting(&self) -> Option<(bool, Instant)> {
        let state = self.0.lock();
        match state.phase {
            Phase::Idle | Phase::Head => Some((false, state.since)),
            Phase::Body => Some((true, state.since)),
            Phase::Busy | Phase::Upgraded => None,
        }
    }
}

impl State {
    fn enter(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DEADLINES: Deadlines = Deadlines {
        header: Duration::from_secs(10),
        body: Duration::from_secs(30),
        idle: Duration::from_secs(75),
    };

    /// Returns the seconds until the connection is overdue, and the limit that it then reaches.
    fn left(activity: &Activity) -> Option<(u64, Limit)> {
        let (deadline, limit) = activity.deadline(&DEADLINES)?;
        Some((deadline.duration_since(Instant::now()).as_secs(), limit))
    }

    fn wait_for_body(activity: &Activity) -> bool {
        activity.poll_body_overdue(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn header_deadline_counts_from_the_first_byte() {
        let activity = Activity::default();
        advance(50 * SECOND).await;
        assert_eq!(left(&activity), Some((25, Limit::IdleDeadline)));
        activity.received();
        advance(4 * SECOND).await;
        activity.received();
        assert_eq!(left(&activity), Some((6, Limit::HeaderDeadline)));
        activity.request_begins();
        assert_eq!(left(&activity), None);
        activity.response_ends();
        assert_eq!(left(&activity), Some((75, Limit::IdleDeadline)));
    }

    #[tokio::test(start_paused = true)]
    async fn body_deadline_counts_from_the_last_byte_while_a_handler_reads() {
        let activity = Activity::default();
        activity.received();
        activity.request_begins();
        advance(100 * SECOND).await;
        for _ in 0..3 {
            assert!(!wait_for_body(&activity));
            advance(20 * SECOND).await;
            assert!(!wait_for_body(&activity));
            assert_eq!(left(&activity), Some((10, Limit::BodyDeadline)));
            activity.body_progresses();
            assert_eq!(left(&activity), None);
        }
        assert!(!wait_for_body(&activity));
        activity.body_is_overdue();
        assert!(wait_for_body(&activity) && activity.has_overdue_body());
    }

    #[tokio::test(start_paused = true)]
    async fn upgraded_connection_has_no_deadline() {
        let activity = Activity::default();
        activity.received();
        activity.request_begins();
        activity.upgraded();
        activity.response_ends();
        activity.received();
        assert_eq!((left(&activity), activity.waiting()), (None, None));
    }
}
