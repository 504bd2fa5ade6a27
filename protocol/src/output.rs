//! What the core wants done in the world.

use crate::push::Delivery;
use crate::request::{Failure, Reply, Token};

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output<P> {
    /// Open a WebSocket to the server; one that is still there is forgotten.
    Open,
    /// Close the WebSocket and forget it: nothing it says after this is for the client.
    Close,
    /// Send one text frame: these parts joined.
    Send(Frame<P>),
    /// Answer the app. Once for each token, unless the app aborted it.
    Finish {
        /// Which request it is.
        token: Token,
        /// The answer, or why there is none.
        result: Result<Reply<P>, Failure>,
        /// It is a write that could not be sent when the app made it.
        waited: bool,
    },
    /// Send the request over HTTP and report the answer with
    /// [`answered_over_http`](crate::Client::answered_over_http). A shell without HTTP does nothing:
    /// the request waits for the link. The app may have aborted it meanwhile.
    Http(Token),
    /// Tell the app news.
    Deliver(Delivery<P>),
    /// This room lost its place: read it again.
    Refresh(String),
    /// Show how we stand.
    Status(Status),
    /// A write that had waited was answered 401. It is sent again after
    /// [`authenticate`](crate::Client::authenticate), or on the next connection.
    Unauthorized,
    /// The server refuses the connection for good, with this message.
    Refused(String),
}

/// A text frame, its body left in the shell's form.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame<P> {
    /// What comes before the body.
    pub head: String,
    /// JSON of the app.
    pub body: Option<P>,
    /// What comes after it.
    pub tail: &'static str,
}

/// How we stand with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whether what is asked now is sent now.
    pub state: Connection,
    /// Writes that the server has not answered and that cannot be sent now.
    pub unsent: usize,
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The link is up.
    Online,
    /// It is about to be: the first attempt, or the first after it broke.
    Connecting,
    /// Attempts fail, or none is made, as when the server refuses the connection.
    Offline,
}
