//! Sends large events, whose packets bypass the buffers of the transport.

use bytes::Bytes;
use socketioxide::SendError;
use socketioxide::socket::Socket;

use super::session::Session;

/// Sends an event with these arguments.
pub(super) fn emit(socket: &Socket, event: &str, arguments: Bytes) -> Result<(), SendError> {
    emit_by(socket, arguments, |token| socket.emit(event, token))
}

/// Like [`emit`], with a function that sends the event with one argument.
pub(super) fn emit_by<T>(
    socket: &Socket,
    arguments: Bytes,
    send: impl FnOnce(&str) -> Result<T, SendError>,
) -> Result<T, SendError> {
    let Some(session) = Session::of(socket) else {
        return Err(SendError::Socket(socketioxide::SocketError::Closed));
    };
    session.large_packets.send(arguments, send)
}
