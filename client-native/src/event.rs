//! The values that the app receives: responses and events.

use backwire_protocol::{Delivery, Resumed, Status};

use crate::json::Json;

/// The response of the server to a request: status, body and headers.
pub type Reply = backwire_protocol::Reply<Json>;

/// An event that the app receives without a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Changes in a room that the client has read: each change once, in the order of the commits,
    /// as `[offset, verb, id, data, mark]`. The verb is the number of a
    /// [`ChangeVerb`](backwire_protocol::wire::ChangeVerb). Writes of this client are not among
    /// them: the app gets them with the response.
    Changes(Delivery<Json>),
    /// The server can no longer send the changes that this room missed. The app must read the room
    /// again.
    Refresh(String),
    /// A resume was answered: the app has got the changes that it had missed.
    Resumed(Resumed),
    /// The state of the connection or the number of unsent writes has changed.
    Status(Status),
    /// A write that had waited was answered with 401. The client sends it again after
    /// [`Client::authenticate`](crate::Client::authenticate), or on the next connection.
    Unauthorized,
    /// The server refuses the connection for good, with this message. The client does not try again
    /// until [`Client::reconnect`](crate::Client::reconnect).
    Refused(String),
}
