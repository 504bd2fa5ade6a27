//! What one client may do.

use tokio::sync::Semaphore;

use super::session::ConnectLimits;
use crate::http::limit::TOLERANCE;
use crate::settings::{Heartbeat, Settings, Transports};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes in a message or a payload.
    pub(crate) message: usize,
    /// Requests that have not been answered yet.
    pub(crate) in_flight: usize,
    /// Bytes of those requests.
    pub(crate) request_bytes: usize,
    /// Bytes that wait for it to read them.
    pub(crate) unread_bytes: usize,
    /// Sessions that have not sent a CONNECT.
    pub(super) connect: ConnectLimits,
    /// Packets that wait for it to read them.
    pub(crate) unread: usize,
    /// When a client is given up that does not answer.
    pub(crate) heartbeat: Heartbeat,
    /// The transports that it may use.
    pub(crate) transports: Transports,
}

impl Limits {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            message: settings
                .socket_io
                .max_http_buffer_size
                .unwrap_or(settings.body_limit * TOLERANCE),
            in_flight: settings.limits.requests_in_flight,
            request_bytes: settings.limits.request_bytes,
            unread_bytes: settings.limits.unread_bytes,
            connect: ConnectLimits {
                per_address: settings.limits.unconnected_sessions_per_address,
                in_all: settings.limits.unconnected_sessions,
                deadline: settings.limits.connect_deadline,
            },
            // More would be an error of the queue.
            unread: settings.limits.unread_packets.min(Semaphore::MAX_PERMITS),
            heartbeat: settings.heartbeat,
            transports: settings.socket_io.transports,
        }
    }
}
