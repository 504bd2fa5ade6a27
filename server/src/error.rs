//! The errors of requests, and the only place where an error becomes a status and a body.
//!
//! The body is the same over HTTP and sockets: `{code, message, field?, limit?}`. `normalize_error`
//! gives the same shape to errors of other sources (a route of the user, axum's 404 and 405, a
//! caught panic), so a client reads one kind of error only.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use backwire_engine::{self as engine, OutOfMemory};
use backwire_records::change::{Id, Resource};
use backwire_records::criteria;
use backwire_records::model::Violation;
use backwire_records::write::WriteError;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::Number;
use serde_json::value::{RawValue, to_raw_value};

use crate::settings::Limit;

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
    #[error("{0:?} cannot be a resource")]
    InvalidResourceName(String),
    /// A request over a socket without a valid url.
    #[error("a request has a url, and it starts with /")]
    BadUrl,
    /// A request for Socket.IO with an ambiguous parameter.
    #[error("the parameter {0:?} of the query is repeated or encoded; give it once, as plain text")]
    AmbiguousQuery(&'static str),
    /// A verb or an event that the server does not handle.
    #[error("{0} is not understood here")]
    UnknownVerb(String),
    /// An event with attachments.
    #[error(
        "events have no binary attachments here; send binary data as text, for example in Base64, or upload it to your own server"
    )]
    Binary,
    /// An update or a destroy without the id of a record.
    #[error("this is about one record: its id has to be in the url, or as {0:?} in the body")]
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
    #[error("the url is about {url} and the body about {body}")]
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
    #[error("an idempotency key is 1 to 255 visible ASCII characters")]
    BadKey,
    /// One connection has too many requests in flight.
    #[error(
        "this connection has {limit} requests without an answer already (requests_in_flight): wait for answers before you send more"
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
    #[error("POST /publish is off: the server was started without --api-key")]
    NoApiKey,
    /// A request of a back end without a site or without a key.
    #[error("Missing query param 'site' or 'apiKey'.")]
    MissingCredentials(&'static str),
    /// The site is unknown, or the key is wrong.
    #[error("unknown site, or wrong apiKey")]
    BadApiKey,
    /// A caller that is not the operator of the server.
    #[error(
        "this is for the operator: show the key of --api-key, or call from the server's machine"
    )]
    OperatorOnly,
    /// A session cannot store this value, or stores a value of another type than requested.
    #[error("{0:?} of the session: {1}")]
    Session(String, String),
    /// A page that may not use this server.
    #[error(
        "pages of {0} may not use this server: --origin {0}, or `origins` in its configuration, allows them. \
         For a site of the push service, name the origin in `origins` of the site"
    )]
    Origin(String),
    /// A page that may use only the sites that allow its origin.
    #[error(
        "pages of {0} may connect to their site, and use nothing else of this server: --origin {0}, or \
         `origins` in its configuration, allows them everything"
    )]
    SitesOnly(String),
    /// A request for a host that the server does not allow.
    #[error(
        "the host {0} is not allowed: --allowed-host {0}, or `allowed_hosts` in the configuration, allows it"
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
    /// A record with an id, of a resource whose ids the server generates.
    #[error("the server generates the ids of {0}: send the record without an id")]
    GeneratedId(Resource),
    /// A handler's answer cannot be passed on over a socket.
    #[error("the answer cannot be passed on: {0}")]
    BadAnswer(String),
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

/// The body of an error response.
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Number>,
    /// All violations of a record. The fields above describe the first one.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [Violation],
}

impl Error {
    /// Creates the error for a body of `size` bytes where `limit` are allowed.
    pub fn too_large(size: usize, limit: usize) -> Self {
        Self::TooLarge { size: format!("{size} bytes"), limit }
    }

    /// Returns the code for programs, which does not change. Error responses have it, and
    /// `docs/reference/error-codes.md` lists all.
    pub fn code(&self) -> &'static str {
        self.kind().1
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// Returns the status, the code, and the part of the request that the error is about.
    fn kind(&self) -> (StatusCode, &'static str, Option<&str>) {
        match self {
            Self::NoRoute(_) | Self::HttpOnly(_) => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::BadJson(_) => (StatusCode::BAD_REQUEST, "E_BAD_JSON", None),
            Self::BadBody(_) => (StatusCode::BAD_REQUEST, "E_BAD_BODY", Some("body")),
            Self::BadForm(_) => (StatusCode::BAD_REQUEST, "E_BAD_FORM", Some("body")),
            Self::BadField(field, _) => (StatusCode::BAD_REQUEST, "E_BAD_BODY", Some(field)),
            Self::Unsupported { header, .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "E_UNSUPPORTED", Some(header))
            }
            Self::InvalidResourceName(_) => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::BadUrl => (StatusCode::BAD_REQUEST, "E_BAD_URL", Some("url")),
            Self::AmbiguousQuery(name) => (StatusCode::BAD_REQUEST, "E_BAD_URL", Some(name)),
            Self::Binary => (StatusCode::BAD_REQUEST, "E_BINARY", Some("data")),
            Self::UnknownVerb(_) => (StatusCode::METHOD_NOT_ALLOWED, "E_UNKNOWN_VERB", None),
            Self::NotAssociated { .. } => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::MissingId(key) => (StatusCode::BAD_REQUEST, "E_NO_ID", Some(key)),
            Self::BadCriteria(bad) => (StatusCode::BAD_REQUEST, "E_BAD_CRITERIA", Some(&bad.at)),
            Self::BadId { .. } => (StatusCode::BAD_REQUEST, "E_BAD_ID", Some("id")),
            Self::TooLarge { .. } | Self::TooManyValues { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "E_TOO_LARGE", Some("body"))
            }
            Self::HeadTooLarge { .. } => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "E_TOO_LARGE", Some("headers"))
            }
            Self::TooManyRooms { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "E_TOO_MANY_ROOMS", None),
            Self::BadKey => (StatusCode::BAD_REQUEST, "E_BAD_KEY", Some("idempotency-key")),
            Self::TooManyRequests { .. }
            | Self::TooManyBytes { .. }
            | Self::TooManyMessages { .. } => (StatusCode::TOO_MANY_REQUESTS, "E_TOO_MANY", None),
            Self::Busy { .. } | Self::Engine(engine::Error::OutOfMemory(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "E_BUSY", None)
            }
            Self::TooManyConnections {
                limit: Limit::ConnectionsPerAddress | Limit::UnconnectedSessionsPerAddress,
                ..
            } => (StatusCode::TOO_MANY_REQUESTS, "E_TOO_MANY", None),
            Self::TooManyConnections { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "E_TOO_MANY", None)
            }
            Self::QuotaReached { limit: Limit::SessionsPerAddress, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "E_TOO_MANY", None)
            }
            Self::QuotaReached { .. } | Self::Engine(engine::Error::TooManySessions { .. }) => {
                (StatusCode::INSUFFICIENT_STORAGE, "E_FULL", None)
            }
            Self::RequestTimeout { .. } => (StatusCode::REQUEST_TIMEOUT, "E_TIMEOUT", None),
            Self::NoApiKey => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::MissingCredentials(field) => (StatusCode::BAD_REQUEST, "E_NO_SITE", Some(field)),
            Self::BadApiKey => (StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", Some("apiKey")),
            Self::OperatorOnly => (StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", None),
            Self::Session(..) => (StatusCode::INTERNAL_SERVER_ERROR, "E_SESSION", Some("session")),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", None),
            Self::Forbidden => (StatusCode::FORBIDDEN, "E_FORBIDDEN", None),
            Self::GeneratedId(_) => (StatusCode::BAD_REQUEST, "E_BAD_ID", Some("id")),
            Self::Origin(_) | Self::SitesOnly(_) => {
                (StatusCode::FORBIDDEN, "E_ORIGIN", Some("origin"))
            }
            Self::BadHost => (StatusCode::BAD_REQUEST, "E_BAD_HOST", Some("host")),
            Self::BadHandshake { header, .. } => {
                (StatusCode::BAD_REQUEST, "E_BAD_HANDSHAKE", Some(header))
            }
            Self::Host(_) => (StatusCode::MISDIRECTED_REQUEST, "E_HOST", Some("host")),
            Self::BadAnswer(_) => (StatusCode::INTERNAL_SERVER_ERROR, "E_BAD_ANSWER", None),
            Self::Engine(engine::Error::DiskFull) => {
                (StatusCode::SERVICE_UNAVAILABLE, "E_DISK_FULL", None)
            }
            Self::Engine(engine::Error::Unavailable(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "E_UNAVAILABLE", None)
            }
            Self::Engine(engine::Error::ReadDeadline(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "E_READ_DEADLINE", None)
            }
            Self::Engine(engine::Error::TooManyRecords(_) | engine::Error::TooManyBytes(_)) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "E_ANSWER_TOO_LARGE", Some("limit"))
            }
            Self::Engine(engine::Error::TooMuchToSort(_)) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "E_ANSWER_TOO_LARGE", Some("sort"))
            }
            Self::Engine(engine::Error::Refused(refused)) => match refused {
                WriteError::NotFound { .. } => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
                WriteError::Exists { .. } => (StatusCode::CONFLICT, "E_EXISTS", Some("id")),
                WriteError::BadId | WriteError::WrongId(_) => {
                    (StatusCode::BAD_REQUEST, "E_BAD_ID", Some("id"))
                }
                WriteError::NoIdLeft { .. } => (StatusCode::CONFLICT, "E_NO_ID_LEFT", Some("id")),
                WriteError::NoId { key, .. } => (StatusCode::BAD_REQUEST, "E_NO_ID", Some(key)),
                WriteError::Invalid { is_new, wrong } => (
                    StatusCode::BAD_REQUEST,
                    if *is_new { "E_INVALID_NEW_RECORD" } else { "E_INVALID_VALUES_TO_SET" },
                    wrong.first().map(|wrong| &*wrong.attribute),
                ),
                WriteError::BadName(name) => (StatusCode::BAD_REQUEST, "E_BAD_NAME", Some(name)),
                WriteError::Taken { attribute, .. } => {
                    (StatusCode::CONFLICT, "E_UNIQUE", Some(attribute))
                }
                WriteError::Owner { attribute, .. } => {
                    (StatusCode::FORBIDDEN, "E_FORBIDDEN", Some(attribute))
                }
                WriteError::OutsideAccess { .. } => (StatusCode::FORBIDDEN, "E_FORBIDDEN", None),
                WriteError::TooManyRecords { .. } | WriteError::TooManyOfResource { .. } => {
                    (StatusCode::INSUFFICIENT_STORAGE, "E_FULL", None)
                }
                WriteError::KeyReused => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "E_KEY_REUSED", Some("idempotency-key"))
                }
            },
        }
    }

    /// Returns the status and the body of the response.
    pub(crate) fn refusal(&self) -> (StatusCode, Box<RawValue>) {
        if let Self::Engine(engine::Error::Unavailable(reason)) = self {
            tracing::error!(%reason, "the engine cannot do its work");
        }
        let (status, code, field) = self.kind();
        let message = self.to_string();
        let refusal = Refusal {
            code,
            message: &message,
            field,
            limit: self.limit(),
            problems: self.problems(),
        };
        (status, to_raw_value(&refusal).expect("it is made of strings and a number"))
    }

    /// Returns the value of `Retry-After` in seconds, for temporary errors. Within this time, a
    /// working store commits the writes that wait for it.
    pub(crate) fn retry_after(&self) -> Option<&'static str> {
        let is_temporary = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE]
            .contains(&self.status());
        // A read that took too long takes as long the next time.
        let is_read_deadline = matches!(self, Self::Engine(engine::Error::ReadDeadline(_)));
        (is_temporary && !is_read_deadline).then_some(match self {
            Self::Engine(engine::Error::DiskFull) => "30",
            Self::QuotaReached { .. } => "60",
            _ => "1",
        })
    }

    /// Returns the limit of the settings that the caller has reached.
    pub(crate) fn limit_reached(&self) -> Option<Limit> {
        match self {
            Self::TooLarge { .. } => Some(Limit::BodyLimit),
            Self::TooManyValues { .. } => Some(Limit::BodyValues),
            Self::TooManyRequests { .. } => Some(Limit::RequestsInFlight),
            Self::TooManyBytes { .. } => Some(Limit::RequestBytes),
            Self::TooManyRooms { which: limit, .. }
            | Self::Busy { limit, .. }
            | Self::TooManyConnections { limit, .. }
            | Self::QuotaReached { limit, .. } => Some(*limit),
            Self::Engine(error) => limit_of_engine(error),
            _ => None,
        }
    }

    fn limit(&self) -> Option<Number> {
        match self {
            Self::TooLarge { limit, .. }
            | Self::HeadTooLarge { limit, .. }
            | Self::TooManyValues { limit, .. }
            | Self::TooManyRequests { limit }
            | Self::TooManyBytes { limit }
            | Self::Busy { bytes: limit, .. }
            | Self::Engine(engine::Error::OutOfMemory(OutOfMemory { limit }))
            | Self::TooManyRooms { limit, .. }
            | Self::TooManyMessages { limit }
            | Self::Engine(engine::Error::TooManySessions { limit })
            | Self::TooManyConnections { max: limit, .. }
            | Self::QuotaReached { max: limit, .. } => Some((*limit).into()),
            Self::RequestTimeout { deadline, .. } => Number::from_f64(deadline.as_secs_f64()),
            Self::BadCriteria(bad) => bad.limit().map(Number::from),
            Self::Engine(engine::Error::ReadDeadline(deadline)) => {
                Number::from_f64(deadline.as_secs_f64())
            }
            Self::Engine(
                engine::Error::TooManyRecords(limit)
                | engine::Error::TooManyBytes(limit)
                | engine::Error::TooMuchToSort(limit),
            ) => Some((*limit).into()),
            Self::Engine(engine::Error::Refused(
                WriteError::TooManyRecords { limit } | WriteError::TooManyOfResource { limit, .. },
            )) => Some((*limit).into()),
            _ => self.problems().first()?.limit.clone(),
        }
    }

    fn problems(&self) -> &[Violation] {
        match self {
            Self::Engine(engine::Error::Refused(WriteError::Invalid { wrong, .. })) => wrong,
            _ => &[],
        }
    }
}

impl From<WriteError> for Error {
    fn from(refused: WriteError) -> Self {
        Self::Engine(refused.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, body) = self.refusal();
        let mut response = (status, Json(body)).into_response();
        // For the limit monitor.
        if let Some(limit) = self.limit_reached() {
            response.extensions_mut().insert(limit);
        }
        if let Self::HttpOnly(_) = self {
            let http = HeaderValue::from_static("http");
            response.headers_mut().insert("backwire-transport", http);
        }
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

fn not_associated(resource: &Resource, id: &Id, attribute: &str, member: Option<&Id>) -> String {
    match member {
        Some(member) => format!("{member} is not in the {attribute} of {resource} {id}"),
        None => format!("{resource} {id} has no {attribute}"),
    }
}

/// Gives an error response of another source (plain text or an empty body) the shape of [`Error`].
pub(crate) async fn normalize_error(response: Response) -> Response {
    let is_refusal = response.status().is_client_error() || response.status().is_server_error();
    if !is_refusal || !is_plain(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = text_of(body).await;
    let reason = parts.status.canonical_reason().unwrap_or("refused");
    let message = if text.is_empty() { reason } else { &text };
    let code = code_of(parts.status);
    let refusal = Json(Refusal { code: &code, message, field: None, limit: None, problems: &[] });
    // These headers describe the old body. Other headers, such as `allow`, stay.
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::ETAG] {
        parts.headers.remove(name);
    }
    let mut response = (parts.status, refusal).into_response();
    response.headers_mut().extend(parts.headers);
    response
}

fn is_plain(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

/// Returns the text of an error response. Drops a text that is much longer than a sentence.
async fn text_of(body: Body) -> String {
    const MAX_TEXT_BYTES: usize = 4096;
    let whole = Limited::new(body, MAX_TEXT_BYTES).collect().await;
    whole.map_or_else(
        |_| String::new(),
        |text| String::from_utf8_lossy(&text.to_bytes()).into_owned(),
    )
}

fn code_of(status: StatusCode) -> String {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "E_UNKNOWN_VERB".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => "E_TOO_LARGE".to_owned(),
        _ => {
            let reason = status.canonical_reason().unwrap_or("refused");
            format!("E_{}", reason.to_ascii_uppercase().replace([' ', '-', '\''], "_"))
        }
    }
}

impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Self::Engine(error.into())
    }
}

/// Returns the limit that a caller has reached in the engine.
fn limit_of_engine(error: &engine::Error) -> Option<Limit> {
    Some(match error {
        engine::Error::ReadDeadline(_) => Limit::ReadDeadline,
        engine::Error::TooManyRecords(_) => Limit::AnswerRecords,
        engine::Error::TooManyBytes(_) => Limit::AnswerBytes,
        engine::Error::TooMuchToSort(_) => Limit::SortBytes,
        engine::Error::OutOfMemory(_) => Limit::TotalUnreadBytes,
        engine::Error::TooManySessions { .. } => Limit::Sessions,
        engine::Error::Refused(WriteError::TooManyRecords { .. }) => Limit::Records,
        engine::Error::Refused(WriteError::TooManyOfResource { .. }) => Limit::RecordsPerResource,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(response: Response) -> serde_json::Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn error_names_its_limit() {
        let response = Error::too_large(2_097_152, 1_048_576).into_response();
        assert_eq!(response.status(), 413);
        assert_eq!(
            body_of(response).await,
            serde_json::json!({
                "code": "E_TOO_LARGE",
                "message": "the body has 2097152 bytes, at most 1048576 are allowed: send less at a time",
                "field": "body",
                "limit": 1_048_576,
            })
        );
    }

    #[tokio::test]
    async fn plain_text_error_gets_the_json_shape_and_keeps_status_and_headers() {
        let theirs =
            (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "no").into_response();
        let ours = normalize_error(theirs).await;
        assert_eq!(ours.status(), 405);
        assert_eq!(ours.headers()["allow"], "GET");
        assert_eq!(ours.headers()["content-type"], "application/json");
        assert_eq!(
            body_of(ours).await,
            serde_json::json!({ "code": "E_UNKNOWN_VERB", "message": "no" })
        );
    }

    #[tokio::test]
    async fn json_error_is_unchanged() {
        let theirs = (StatusCode::FORBIDDEN, Json("mine")).into_response();
        assert_eq!(body_of(normalize_error(theirs).await).await, "mine");
    }
}
