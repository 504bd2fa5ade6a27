//! The choice between the link and HTTP for requests.
//!
//! The client waits for the link for [`HTTP_FALLBACK_DELAY`]. After that, requests go over HTTP
//! until the link is up, so that a page works without WebSockets. A client with auth waits on: see
//! `Client::flush`.

use core::time::Duration;

use crate::time::Instant;

/// The time without a link after which requests go over HTTP.
const HTTP_FALLBACK_DELAY: Duration = Duration::from_secs(3);

/// The time after which a write is sent again over HTTP, if the server was unreachable.
pub(crate) const HTTP_RETRY: Duration = Duration::from_secs(3);

/// The transport of a request that the app makes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// None: the app wants no connection. Requests wait.
    Disconnected,
    /// None yet: the link may come up until this time. Requests wait until then.
    Connecting(Instant),
    /// The link.
    Link,
    /// HTTP. `is_reached` states whether the last request over HTTP reached the server.
    Http { is_reached: bool },
}

impl Transport {
    /// Starts to wait for the link, if the app wanted no connection before.
    pub(crate) fn connect(&mut self, now: Instant) {
        if *self == Self::Disconnected {
            *self = Self::Connecting(now + HTTP_FALLBACK_DELAY);
        }
    }

    /// Starts to wait for the link after it was lost.
    pub(crate) fn link_down(&mut self, now: Instant) {
        *self = Self::Connecting(now + HTTP_FALLBACK_DELAY);
    }

    /// Waits for the link again if the time for that has passed while the device has slept.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.link_down(now);
        }
    }

    /// Switches to HTTP, because the server is reachable and refuses the link for good.
    pub(crate) fn refused(&mut self) {
        *self = Self::Http { is_reached: true };
    }

    /// Records whether a request over HTTP reached the server.
    pub(crate) fn tried_http(&mut self, has_reached: bool) {
        if let Self::Http { is_reached } = self {
            *is_reached = has_reached;
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        if let Self::Connecting(until) = *self
            && until <= now
        {
            *self = Self::Http { is_reached: false };
        }
    }

    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Connecting(until) => Some(until),
            _ => None,
        }
    }

    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::Http { .. })
    }

    /// Returns whether a write that is made now must wait, as far as the client knows. That is not
    /// the case in the first seconds without a link, nor while requests succeed over HTTP.
    pub(crate) fn is_offline(self) -> bool {
        matches!(self, Self::Disconnected | Self::Http { is_reached: false })
    }
}
