//! A connection to a site, as the delivery service uses it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use socketioxide::socket::Socket;
use socketioxide::{AckError, SocketError};

use super::connection::Client;
use super::{LARGE_PACKET, emit, large_packets, transport};
use crate::delivery::site_client::OutgoingEvent;
use crate::rooms;
use crate::sites::Name;

/// A connection to a site.
#[derive(Clone)]
pub(crate) enum SiteConnection {
    /// A stock client in the namespace of the site.
    Stock(Arc<Socket>),
    /// A connection of our runtime.
    Runtime(Client),
}

/// Resolves when a delivery has been acked: to `true`, or to `false` if the connection has ended.
pub(crate) type AckFuture = BoxFuture<'static, bool>;

/// Why an event was not sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The send buffer is full. There may be room later.
    NoRoom,
    /// The connection is closed.
    Closed,
}

impl From<socketioxide::SendError> for SendError {
    fn from(error: socketioxide::SendError) -> Self {
        match error {
            socketioxide::SendError::Socket(SocketError::InternalChannelFull) => Self::NoRoom,
            _ => Self::Closed,
        }
    }
}

/// The arguments of an event.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a>(pub(crate) &'a [Box<RawValue>]);

impl SiteConnection {
    fn socket(&self) -> &Arc<Socket> {
        match self {
            Self::Stock(socket) => socket,
            Self::Runtime(client) => &client.socket,
        }
    }

    /// Makes [`Sockets::close_site`] find a connection of our runtime.
    pub(crate) fn join(&self, site: &Name) {
        if let Self::Runtime(client) = self {
            client.socket.join(rooms::site_name(site));
        }
    }

    /// Leaves all rooms. It is also called when the connection is gone, because it may have joined
    /// a room after that.
    pub(crate) fn leave(&self) {
        self.socket().leave_all();
    }

    /// Sends an event.
    pub(crate) fn send(&self, event: &str, arguments: Arguments<'_>) -> Result<(), SendError> {
        let socket = self.socket();
        let sent = match arguments.large() {
            Some(text) => emit::emit(socket, event, text),
            None => socket.emit(event, &arguments),
        };
        sent.map_err(SendError::from)
    }

    /// Sends an event that needs an ack. A stock client acks each event by itself, and our runtime
    /// acks all events up to the last.
    pub(crate) fn send_for_ack(
        &self,
        OutgoingEvent { event, arguments, last }: &OutgoingEvent,
    ) -> Result<AckFuture, SendError> {
        let arguments = Arguments(arguments);
        match self {
            Self::Stock(socket) => {
                let acked = match arguments.large() {
                    Some(text) => emit::emit_by(socket, text, |token| {
                        socket.emit_with_ack::<_, Json>(event, token)
                    })?,
                    None => socket.emit_with_ack::<_, Json>(event, &arguments)?,
                };
                // An ack without a value is an ack.
                Ok(acked.map(|ack| matches!(ack, Ok(_) | Err(AckError::Decode(_)))).boxed())
            }
            Self::Runtime(client) => {
                // The ack may arrive as soon as the event is sent.
                let done = client.expect_ack(*last);
                self.send(event, arguments).inspect_err(|_| client.cancel_expected_ack(*last))?;
                Ok(done.map(|it| it.is_ok()).boxed())
            }
        }
    }

    /// Ends the connection, also if its buffers are full. The client connects again. The caller may
    /// await the returned future, and need not.
    pub(crate) fn disconnect(&self) -> impl Future<Output = ()> + use<> {
        transport::begin_end(self.socket())
    }
}

impl Arguments<'_> {
    /// Returns their text, if it is large.
    fn large(&self) -> Option<Bytes> {
        let size = self.0.iter().map(|argument| argument.get().len()).sum();
        let text = (size >= LARGE_PACKET).then(|| large_packets::arguments(self, size));
        text?.ok()
    }
}

impl Serialize for Arguments<'_> {
    /// Socket.IO makes each item of an array of a fixed length an argument.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|argument| arguments.serialize_element(argument))?;
        arguments.end()
    }
}
