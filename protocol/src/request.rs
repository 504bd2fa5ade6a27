//! The requests of the app, and the responses to them.

use crate::payload::Payload;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read records, and subscribe to them.
    Get,
    /// Create a record.
    Post,
    /// Update a record.
    Put,
    /// Update only the given attributes of a record.
    Patch,
    /// Destroy a record.
    Delete,
}

impl Verb {
    /// Returns the name of the Socket.IO event for this method.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// Returns the method with this event name.
    pub fn from_event(event: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|verb| verb.event() == event)
    }
}

/// The sender of a request, and whether the request may have been sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// The client sends it, for the first time.
    New,
    /// The client sends it. A former client of the same app made the request, may have sent it, and
    /// received no response.
    Restored,
    /// The app sends it by other means and reports the response. The client only holds the echo
    /// back.
    External,
}

/// A request of the app.
#[derive(Debug, Clone)]
pub struct Request<P> {
    /// The method.
    pub verb: Verb,
    /// The path and the query. It begins with `/`.
    pub url: String,
    /// A JSON object of header names in lower case and string values, without white space around
    /// it. It does not contain `idempotency-key`, which is in `key`.
    pub headers: Option<String>,
    /// The body, in the form in which the shell sends it.
    pub body: Option<P>,
    /// The idempotency key of a write. If there is none, the client generates one.
    pub key: Option<String>,
    /// The sender.
    pub kind: RequestKind,
}

impl<P> Request<P> {
    /// Creates a new request without headers, body and idempotency key.
    pub fn new(verb: Verb, url: impl Into<String>) -> Self {
        let (headers, body, key) = (None, None, None);
        Self { verb, url: url.into(), headers, body, key, kind: RequestKind::New }
    }
}

/// A response of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<P> {
    /// The status code, as in HTTP.
    pub status: u16,
    /// The body, if the response has one.
    pub body: Option<P>,
    /// An object of header names in lower case.
    pub headers: Option<P>,
}

impl<P: Payload> Reply<P> {
    pub(crate) fn header(&self, name: &'static str) -> Option<String> {
        self.headers.as_ref()?.field(name)?.text()
    }
}

/// The reason why a request has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server is reachable neither by the link nor over HTTP.
    Unreachable,
    /// The body is larger than the limit of the server, in bytes. The request was not sent.
    TooLarge(u64),
    /// The write was sent a week ago or more and is unanswered. It may have been committed. It
    /// cannot be sent again, because the server no longer knows its idempotency key.
    Outdated,
}

/// Identifies a request until it is finished. The app allocates tokens and never reuses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);
