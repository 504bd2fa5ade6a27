//! What the core wants done in the world.

use crate::outbox::{Failure, Reply, Token};
use crate::push::Delivery;

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
    Finish(Token, Result<Reply<P>, Failure>),
    /// Tell the app news.
    Deliver(Delivery<P>),
    /// This room lost its place: read it again.
    Refresh(String),
    /// Show how we stand.
    Status(Status),
    /// The server refused the connection, in these words.
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
    /// Writes the server has not answered and can not at the moment; 0 while online.
    pub unsent: usize,
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The link is up.
    Online,
    /// It is about to be: the first attempt, or the first after it broke.
    Connecting,
    /// Attempts fail, or none is made.
    Offline,
}
