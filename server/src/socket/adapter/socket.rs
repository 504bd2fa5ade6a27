//! One connection of Socket.IO, as the logic uses it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use serde::ser::{Serialize, SerializeTuple, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answer::Answer;
use crate::dialect::runtime::Push;
use crate::dialect::to_bytes;
use crate::socket::input::Input;
use crate::socket::output::Output;

/// A connection to a namespace.
pub(crate) trait Socket: Send + Sync + 'static {
    /// Returns the id of the connection.
    fn id(&self) -> String;

    /// Returns the request that opened the connection.
    fn handshake(&self) -> &Parts;

    /// Returns what the client has sent and is not answered, and what it was sent and has not read.
    /// The connections of one session of Engine.IO share them.
    fn buffers(&self) -> (Arc<Input>, Arc<Output>);

    /// Whether packets can be sent. This begins a moment after the answer to the CONNECT.
    fn can_send(&self) -> bool;

    /// Whether the connection is a WebSocket now. Otherwise the client polls.
    fn is_websocket(&self) -> bool;

    /// Whether this is a client of Socket.IO 1 or 2. Such a client is connected to the main
    /// namespace before any other, and takes a refusal of it for a refusal of all its namespaces.
    fn is_legacy(&self) -> bool;

    /// Returns the names of the rooms that the connection is in.
    fn rooms(&self) -> Vec<Cow<'static, str>>;

    /// Joins a room.
    fn join(&self, room: String);

    /// Joins rooms.
    fn join_all(&self, rooms: Vec<String>);

    /// Leaves a room.
    fn leave(&self, room: String);

    /// Leaves all rooms.
    fn leave_all(&self);

    /// Sends an event.
    fn send(&self, event: &str, arguments: Arguments<'_>) -> Result<(), SendError>;

    /// Sends an event that the client acks.
    fn send_for_ack(&self, event: &str, arguments: Arguments<'_>) -> Result<AckFuture, SendError>;

    /// Answers the event with this ack id. A large answer may bypass the buffers of the transport;
    /// then it is serialized.
    fn answer(
        self: Arc<Self>,
        ack: Option<i64>,
        answer: &mut Answer,
        is_large: bool,
    ) -> Result<(), SendError>;

    /// Ends the transport, so that the client connects again. This goes on if the future is
    /// dropped. When the future resolves, nothing reaches the client any more.
    fn end(self: Arc<Self>) -> BoxFuture<'static, ()>;

    /// Resolves when the client has ended its transport. If that cannot be noticed, it never
    /// resolves.
    fn ended(&self) -> BoxFuture<'static, ()>;
}

/// The arguments of an event.
#[derive(Clone)]
pub(crate) enum Arguments<'a> {
    /// A push to our runtime.
    Push(&'a Push),
    /// One argument.
    One(&'a RawValue),
    /// Any number of arguments.
    List(&'a [Box<RawValue>]),
    /// The text of large arguments, separated by commas. Connections share it.
    Text(Bytes),
}

impl Arguments<'_> {
    /// Serializes the arguments of a push or of a list, which have about this size.
    pub(crate) fn to_text(&self, size: usize) -> serde_json::Result<Bytes> {
        let json = to_bytes(self, size)?;
        Ok(json.slice(1..json.len() - 1))
    }
}

impl Serialize for Arguments<'_> {
    /// Socket.IO makes each item of an array of a fixed length an argument.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Push(push) => push.serialize(serializer),
            Self::One(argument) => argument.serialize(serializer),
            Self::List(list) => {
                let mut arguments = serializer.serialize_tuple(list.len())?;
                list.iter().try_for_each(|argument| arguments.serialize_element(argument))?;
                arguments.end()
            }
            Self::Text(_) => Err(serde::ser::Error::custom("it is serialized already")),
        }
    }
}

/// Resolves when an event has been acked: to the first value of the ack or null, or to `None` if
/// the connection has ended.
pub(crate) type AckFuture = BoxFuture<'static, Option<Value>>;

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The send buffer is full. There may be room later.
    NoRoom,
    /// The connection is closed.
    Closed,
}
