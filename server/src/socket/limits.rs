//! The limits of one client.

use tokio::sync::Semaphore;

use super::session::ConnectLimits;
use crate::http::limit::TOLERANCE;
use crate::settings::{Heartbeat, Settings, Transports};

/// The limits of one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes in a message or a payload.
    pub(crate) message: usize,
    /// Requests that have not been answered yet.
    pub(crate) in_flight: usize,
    /// Bytes of requests that have not been answered yet.
    pub(crate) request_bytes: usize,
    /// Bytes that wait for the client to read them.
    pub(crate) unread_bytes: usize,
    /// Sessions that have not sent a CONNECT.
    pub(super) connect: ConnectLimits,
    /// Packets that wait for the client to read them.
    pub(crate) unread_packets: usize,
    /// When a client that does not answer is disconnected.
    pub(crate) heartbeat: Heartbeat,
    /// The transports that the client may use.
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
                total: settings.limits.unconnected_sessions,
                deadline: settings.limits.connect_deadline,
            },
            // A larger number would be an error of the queue.
            unread_packets: settings.limits.unread_packets.min(Semaphore::MAX_PERMITS),
            heartbeat: settings.heartbeat,
            transports: settings.socket_io.transports,
        }
    }
}
