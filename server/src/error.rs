//! The errors of requests.
//!
//! In reading order: `kind` is the only place where an error gets a status and a code; `response`
//! makes the body.
//!
//! The body is the same over HTTP and sockets: `{code, message, field?, limit?}`. `normalize_error`
//! gives the same shape to errors of other sources (a route of the user, axum's 404 and 405, a
//! caught panic), so a client reads one kind of error only.

mod kind;
mod response;
mod sails_response;

use std::time::Duration;

use backwire_engine::{self as engine, OutOfMemory};
use backwire_records::change::{Id, Resource};
use backwire_records::counted::counted;
use backwire_records::criteria;
use backwire_records::write::WriteError;

use crate::settings::Limit;

pub use response::PlainText;
pub(crate) use response::normalize_error;

/// The result of a handler.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request is refused. Errors of the configuration and of a start are
/// [`StartError`](crate::server::StartError)s.
///
/// ```
/// use backwire::Error;
///
/// let error = Error::Unauthenticated;
/// assert_eq!((error.status().as_u16(), error.code()), (401, "E_UNAUTHORIZED"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No route answers this url.
    #[error("there is no route for {0}")]
    NoRoute(String),
    /// A request over a socket that no route answers. HTTP may have an answer.
    #[error("{0} is available over HTTP only")]
    HttpOnly(String),
    /// The body is not JSON.
    #[error("this is not JSON: {0}")]
    BadJson(String),
    /// The body is JSON, but does not have the expected shape.
    #[error("{0}")]
    BadBody(&'static str),
    /// The body is not a valid form.
    #[error("{0}")]
    BadForm(String),
    /// A field of the request is invalid.
    #[error("{1}")]
    BadField(&'static str, &'static str),
    /// A header of the request has a value that the server does not support.
    #[error("{}", unsupported(header, value, supported))]
    Unsupported {
        /// The header, in lower case.
        header: &'static str,
        /// The value of the header. It is empty if the header is missing.
        value: String,
        /// The supported values.
        supported: &'static str,
    },
    /// A name that cannot be the name of a resource.
    #[error(
        "{0:?} cannot be the name of a resource: use up to 64 of a-z, 0-9, _ and -, a letter first, and not the name of a route of the server"
    )]
    InvalidResourceName(String),
    /// A request over a socket without a valid url.
    #[error(
        "the url of the request is missing or invalid: it has to be a string that starts with /"
    )]
    BadUrl,
    /// A request for Socket.IO with an ambiguous parameter.
    #[error("the parameter {0:?} of the query is repeated or encoded; give it once, as plain text")]
    AmbiguousQuery(&'static str),
    /// A method or an event that the server does not support here.
    #[error("{0} is not supported here")]
    UnknownVerb(String),
    /// An event with attachments.
    #[error(
        "events have no binary attachments here; send binary data as text, for example in Base64, or upload it to your own server"
    )]
    Binary,
    /// An update or a destroy without the id of a record.
    #[error("the id of the record is missing: send it in the url, or as {0:?} in the body")]
    MissingId(String),
    /// A record is not associated with the named one.
    #[error("{}", not_associated(resource, id, attribute, member.as_ref()))]
    NotAssociated {
        /// The resource of the record that has the association.
        resource: Resource,
        /// The id of the record that has the association.
        id: Id,
        /// The attribute of the association.
        attribute: String,
        /// The record that is not associated, if the request names one.
        member: Option<Id>,
    },
    /// Invalid criteria.
    #[error(transparent)]
    BadCriteria(#[from] criteria::CriteriaError),
    /// The url and the body name different records.
    #[error("the url has the id {url}, but the body has {body}: send one id")]
    BadId {
        /// The id in the url.
        url: Id,
        /// The id in the body.
        body: String,
    },
    /// The body is too large.
    #[error("the body has {size}, at most {limit} are allowed: send less at a time")]
    TooLarge {
        /// The size as text, because the exact size of a body may be unknown.
        size: String,
        /// How many bytes are allowed.
        limit: usize,
    },
    /// The url and the headers of a handshake of Socket.IO are too large.
    #[error(
        "the url and the headers of the handshake have {bytes} bytes, at most {limit} are allowed: send smaller cookies, or \
         the token in the `auth` of the CONNECT"
    )]
    HeadTooLarge {
        /// How many bytes they have.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The body has too many values.
    #[error(
        "the body has {count} values or more, at most {limit} are allowed (body_values): send fewer of them, or send them as one string"
    )]
    TooManyValues {
        /// How many were counted.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// An invalid idempotency key.
    #[error("the idempotency key is invalid: it has to be 1 to 255 visible ASCII characters")]
    BadKey,
    /// One connection has too many requests in flight.
    #[error(
        "this connection has {} without an answer already (requests_in_flight): wait for answers before you send more",
        counted(*.limit, "request")
    )]
    TooManyRequests {
        /// How many are allowed.
        limit: usize,
    },
    /// The requests that one connection has in flight are too large.
    #[error(
        "the requests of this connection without an answer would have more than {limit} bytes (request_bytes): wait for answers before you send more"
    )]
    TooManyBytes {
        /// How many bytes are allowed.
        limit: usize,
    },
    /// The server has no memory left for requests.
    #[error(
        "no memory is free for this request now ({limit}): read the answers that wait, then try again"
    )]
    Busy {
        /// The limit that is reached.
        limit: Limit,
        /// The value of the limit in bytes.
        bytes: usize,
    },
    /// A limit does not allow another connection, or another request of a client of a proxy.
    #[error("{}", too_many_connections(*limit, *max))]
    TooManyConnections {
        /// The limit that is reached.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },
    /// A limit does not allow another resource or session.
    #[error("{}", quota_reached(*limit, *max))]
    QuotaReached {
        /// The limit that is reached.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },
    /// The client has not sent the rest of a request in time.
    #[error("{}", request_timeout(*limit, *deadline))]
    RequestTimeout {
        /// The limit that is reached.
        limit: Limit,
        /// The time limit.
        deadline: Duration,
    },
    /// A stock client would join too many rooms of records.
    #[error("this connection would follow too many records ({}: {limit}): read fewer of them, with `limit` or criteria", which.name())]
    TooManyRooms {
        /// The limit that is reached.
        which: Limit,
        /// How many rooms it may join.
        limit: usize,
    },
    /// Messages arrive faster than they are stored.
    #[error(
        "too many messages of this site wait to be stored, at most {limit} are allowed: send again later"
    )]
    TooManyMessages {
        /// How many messages may wait.
        limit: usize,
    },
    /// Publishing over HTTP is not enabled.
    #[error("POST /publish is off: set --api-key, or `api_key` in the configuration, to allow it")]
    NoApiKey,
    /// A request of a back end without a site or without a key.
    #[error("Missing query param 'site' or 'apiKey'.")]
    MissingCredentials(&'static str),
    /// The site is unknown, or the key is wrong.
    #[error("unknown site, or wrong apiKey")]
    BadApiKey,
    /// A caller that is not the operator of the server.
    #[error(
        "only the operator of the server may do this: send the key of --api-key as `Authorization: Bearer KEY`, or call from the server's machine"
    )]
    OperatorOnly,
    /// A session cannot store this value, or stores a value of another type than requested.
    #[error("the session value {0:?} cannot be read or stored: {1}")]
    Session(String, String),
    /// A page that may not use this server.
    #[error(
        "pages of {0} may not use this server: allow them with --origin {0}, or `origins` in its configuration. \
         For a site of the push service, add the origin to `origins` of the site"
    )]
    Origin(String),
    /// A page that may use only the sites that allow its origin.
    #[error(
        "pages of {0} may connect to their site, and use nothing else of this server: allow them everything with \
         --origin {0}, or `origins` in its configuration"
    )]
    SitesOnly(String),
    /// A request for a host that the server does not allow.
    #[error(
        "the host {0} is not allowed: allow it with --allowed-host {0}, or `allowed_hosts` in the configuration"
    )]
    Host(String),
    /// A request without a valid host, or with two hosts.
    #[error("a request must have exactly one valid Host header")]
    BadHost,
    /// A request for a WebSocket that is not a valid handshake.
    #[error("this is not a valid WebSocket handshake: {header} must be {expected}, exactly once")]
    BadHandshake {
        /// The part of the request.
        header: &'static str,
        /// The expected value.
        expected: &'static str,
    },
    /// The request requires a user who has signed in.
    #[error("sign in first")]
    Unauthenticated,
    /// The access rules do not allow the request.
    #[error("the access rules do not allow you to do this")]
    Forbidden,
    /// A write without a CSRF token of the caller's session.
    #[error(
        "the write needs a CSRF token of your session: send the _csrf of GET /csrfToken in the header X-CSRF-Token, or as \
         _csrf in the query or the body"
    )]
    Csrf,
    /// A record with an id, of a resource whose ids the server generates.
    #[error("the server generates the ids of {0}: send the record without an id")]
    GeneratedId(Resource),
    /// A handler's answer or event cannot be sent over a socket.
    #[error("the answer or event of the handler cannot be sent: {0}")]
    BadAnswer(String),
    /// The client of a socket wants no session, and the handler needs one.
    #[error("this request needs a session: connect without the header nosession")]
    NoSession,
    /// A client has not acked an event of a handler.
    #[error("{0}")]
    NoAck(&'static str),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

fn too_many_connections(limit: Limit, max: usize) -> String {
    let what = match limit {
        Limit::ConnectionsPerAddress => "connections or forwarded requests from your address",
        Limit::UnconnectedSessionsPerAddress => "sessions without a CONNECT from your address",
        Limit::UnconnectedSessions => "sessions without a CONNECT",
        _ => "connections",
    };
    format!("there are {max} {what} already ({}): close some, or try again later", limit.name())
}

fn request_timeout(limit: Limit, deadline: Duration) -> String {
    let (seconds, name) = (deadline.as_secs_f64(), limit.name());
    match limit {
        Limit::BodyDeadline => format!("no byte of the body arrived within {seconds} s ({name})"),
        _ => format!("the rest of the request did not arrive within {seconds} s ({name})"),
    }
}

fn quota_reached(limit: Limit, max: usize) -> String {
    let what = match limit {
        Limit::UndeclaredResources => "the server allows {} undeclared resources: declare this one",
        Limit::UndeclaredResourcesPerAddress => {
            "your address may create {} undeclared resources per hour: declare this one"
        }
        _ => "your address may create {} sessions per hour: try again later",
    };
    format!("{} ({})", what.replace("{}", &max.to_string()), limit.name())
}

fn unsupported(header: &str, value: &str, supported: &str) -> String {
    // The usual form of the name: Content-Type.
    let words = header.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    let header = words.collect::<Vec<_>>().join("-");
    match value {
        "" => format!("{header} is missing; expected {supported}"),
        value => format!("{header}: {value:?} is not supported; expected {supported}"),
    }
}

impl Error {
    /// Creates the error for a body of `size` bytes where `limit` are allowed.
    pub fn too_large(size: usize, limit: usize) -> Self {
        Self::TooLarge { size: format!("{size} bytes"), limit }
    }
}

impl From<WriteError> for Error {
    fn from(refused: WriteError) -> Self {
        Self::Engine(refused.into())
    }
}

fn not_associated(resource: &Resource, id: &Id, attribute: &str, member: Option<&Id>) -> String {
    match member {
        Some(member) => format!("{member} is not in the {attribute} of {resource} {id}"),
        None => format!("{resource} {id} has no {attribute}"),
    }
}

impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Self::Engine(error.into())
    }
}
