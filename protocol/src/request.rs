//! What the app asks for, and how it is answered.

use crate::payload::Payload;

/// What is done to a url.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read, and subscribe to what was read.
    Get,
    /// Create.
    Post,
    /// Update.
    Put,
    /// Update the attributes given.
    Patch,
    /// Destroy.
    Delete,
}

impl Verb {
    /// The event it travels as.
    pub const fn event(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// The verb that travels as this event.
    pub fn from_event(event: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|verb| verb.event() == event)
    }
}

/// Who sends a request, and whether it may have been sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// The client sends it, for the first time.
    New,
    /// The client sends it. An earlier client of the same app made it, did not receive an answer,
    /// and may have sent it.
    Restored,
    /// The app sends it by other means and reports the answer. The client only holds the echo.
    Elsewhere,
}

/// One request of the app.
#[derive(Debug, Clone)]
pub struct Request<P> {
    /// What to do.
    pub verb: Verb,
    /// Path and query, from `/`.
    pub url: String,
    /// A JSON object of header names in lower case and string values, without white space around
    /// it and without `idempotency-key`, which is in `key`.
    pub headers: Option<String>,
    /// The body in whatever form the shell sends it.
    pub body: Option<P>,
    /// The idempotency key of a write; the client generates one if there is none.
    pub key: Option<String>,
    /// Who sends it.
    pub kind: RequestKind,
}

impl<P> Request<P> {
    /// A new request without headers, body and key of its own.
    pub fn new(verb: Verb, url: impl Into<String>) -> Self {
        let (headers, body, key) = (None, None, None);
        Self { verb, url: url.into(), headers, body, key, kind: RequestKind::New }
    }
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<P> {
    /// As in HTTP.
    pub status: u16,
    /// Absent where the answer has none.
    pub body: Option<P>,
    /// An object, names in lower case.
    pub headers: Option<P>,
}

impl<P: Payload> Reply<P> {
    /// Reads the argument of an ack: `{"statusCode":…,"body":…,"headers":…}`.
    pub(crate) fn read(answer: &P) -> Self {
        let status = answer.field("statusCode").and_then(|status| status.number());
        let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        Self { status, body: answer.field("body"), headers: answer.field("headers") }
    }

    pub(crate) fn header(&self, name: &'static str) -> Option<String> {
        self.headers.as_ref()?.field(name)?.text()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The server is reachable neither by the link nor over HTTP.
    Unreachable,
    /// The body is larger than the server takes, which is this many bytes; it was not sent.
    TooLarge(u64),
    /// It was sent a week ago or more and never answered. It may have been committed, and cannot
    /// be sent again: the server no longer knows its key.
    Outdated,
}

/// Identifies a request from when it is made until it is finished. The app allocates tokens and
/// never uses one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);
