//! The actions that the core requests.

use crate::delivery::Delivery;
use crate::request::{Failure, Reply, Token};

/// An action for the shell.
#[derive(Debug, Clone, PartialEq)]
pub enum Output<P> {
    /// Open a WebSocket to the server. An existing one is forgotten.
    Open,
    /// Close the WebSocket and forget it. Its later events are not for the client.
    Close,
    /// Send these parts as one text frame.
    Send(Frame<P>),
    /// The server is there. Call [`authenticate`](crate::Client::authenticate), now or later. Only
    /// a client that was created without auth asks for it.
    Authenticate,
    /// Pass a response to the app. This output occurs once for each token, unless the app aborted
    /// it.
    Finish {
        /// The request.
        token: Token,
        /// The response, or the reason why there is none.
        result: Result<Reply<P>, Failure>,
        /// The request is a write that could not be sent when the app made it.
        waited: bool,
    },
    /// Send the request over HTTP, and report the response with
    /// [`answered_over_http`](crate::Client::answered_over_http). The app may have aborted the
    /// request in the meantime. A shell without HTTP ignores this output, and the request waits for
    /// the link.
    Http(Token),
    /// Pass changes of a room, or an event for the user, to the app.
    Deliver(Delivery<P>),
    /// Read this room again. The server can no longer send its missed changes.
    Refresh(String),
    /// A resume was answered, and its changes were delivered before this output.
    Resumed(Resumed),
    /// Show this status.
    Status(Status),
    /// A write that had waited was answered with 401. The client sends it again after
    /// [`authenticate`](crate::Client::authenticate), or on the next connection.
    Unauthorized,
    /// The server refuses the connection for good, with this message.
    Refused(String),
}

/// A text frame. Its body has the form of the shell.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<P> {
    /// The text before the body.
    pub head: String,
    /// JSON of the app.
    pub body: Option<P>,
    /// The text after the body.
    pub tail: &'static str,
}

/// The result of a resume, after a reconnect or when the client has found that changes are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// Whether the server had the missed changes of all rooms. The others are read again.
    pub recovered: bool,
    /// The number of changes that have arrived. A change of the app itself counts, though the
    /// answer to its write has it.
    pub count: usize,
}

/// The state of the connection, and the number of unsent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The state of the connection.
    pub state: Connection,
    /// The number of writes that are unanswered and cannot be sent now.
    pub unsent: usize,
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The link is up.
    Online,
    /// The link is connecting: the first attempt, or the first one after an interruption.
    Connecting,
    /// Attempts fail, or the client makes none, for example because the server refuses the
    /// connection.
    Offline,
}
