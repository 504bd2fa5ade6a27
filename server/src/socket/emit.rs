//! Sends large packets, which bypass the buffers of the transport.

use bytes::Bytes;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};

use super::session::Session;

/// Sends a packet with these arguments: `send` queues a placeholder with a token as its only
/// argument.
pub(super) fn emit<T>(
    socket: &Socket,
    arguments: Bytes,
    send: impl FnOnce(&str) -> Result<T, SendError>,
) -> Result<T, SendError> {
    let Some(session) = Session::of(socket) else {
        return Err(SendError::Socket(SocketError::Closed));
    };
    session.large_packets.send(arguments, send)
}
