//! How requests travel: over the link, or over HTTP while there is none.
//!
//! A link that is wanted has [`GRACE`] to come up. After that requests go over HTTP until it is up,
//! so that a page works where WebSockets do not.

use core::time::Duration;

use crate::time::Instant;

/// How long a link may be missing before requests go over HTTP.
const GRACE: Duration = Duration::from_secs(3);

/// After HTTP did not reach the server either: until a write is tried again.
pub(crate) const HTTP_RETRY: Duration = Duration::from_secs(3);

/// How a request that is made now travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Not at all: the app does not want a connection. Requests wait.
    Disconnected,
    /// The link is wanted and may come up soon. Requests wait until then.
    Connecting(Instant),
    /// Over the link.
    Link,
    /// Over HTTP, by which the server was reached the last time, or not (yet).
    Http { is_reached: bool },
}

impl Transport {
    /// The app wants a connection.
    pub(crate) fn connect(&mut self, now: Instant) {
        if *self == Self::Disconnected {
            *self = Self::Connecting(now + GRACE);
        }
    }

    /// The link is gone, and wanted.
    pub(crate) fn link_down(&mut self, now: Instant) {
        *self = Self::Connecting(now + GRACE);
    }

    /// There will be no link: the server is there and has said so.
    pub(crate) fn refused(&mut self) {
        *self = Self::Http { is_reached: true };
    }

    /// A request over HTTP has reached the server, or has not.
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

    /// Whether a write that is made now has to wait, as far as is known. The first seconds without a
    /// link do not count, and neither does a page whose requests go over HTTP.
    pub(crate) fn is_offline(self) -> bool {
        matches!(self, Self::Disconnected | Self::Http { is_reached: false })
    }
}
