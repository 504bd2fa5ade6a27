//! What one client may do.

use crate::settings::{Heartbeat, Settings};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes in the body of a request.
    pub(crate) body: usize,
    /// Requests that have not been answered yet.
    pub(crate) in_flight: usize,
    /// Packets that wait for it to read them.
    pub(crate) unread: usize,
    /// When a client is given up that does not answer.
    pub(crate) heartbeat: Heartbeat,
}

impl Limits {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            body: settings.body_limit,
            in_flight: settings.in_flight,
            unread: settings.unread,
            heartbeat: settings.heartbeat,
        }
    }
}
