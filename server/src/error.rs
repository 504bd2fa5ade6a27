//! Why a request is refused, and the one place where that becomes a status and a body.
//!
//! The body is the same over HTTP and sockets: `{code, message, field?, limit?}`. Refusals that are
//! not ours (a route's own, axum's 404 and 405, a caught panic) get the same shape in
//! `in_our_words`, so a client reads one kind of error and no other.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use backwire_engine::{self as engine, OutOfMemory};
use backwire_records::change::{Id, Resource};
use backwire_records::criteria;
use backwire_records::model::Violation;
use backwire_records::write::Refused;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::Number;
use serde_json::value::{RawValue, to_raw_value};

use crate::settings::Limit;

/// What a handler gives back.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers this url.
    #[error("there is no route for {0}")]
    NoRoute(String),
    /// A request over a socket that no route answers. HTTP may have an answer.
    #[error("{0} is available over HTTP only")]
    HttpOnly(String),
    /// What arrived is not JSON.
    #[error("this is not JSON: {0}")]
    BadJson(String),
    /// It is JSON, but not of the shape that is asked for.
    #[error("{0}")]
    BadBody(&'static str),
    /// A form that is not understood.
    #[error("{0}")]
    BadForm(String),
    /// A part of what arrived is not as it has to be.
    #[error("{1}")]
    BadField(&'static str, &'static str),
    /// A header of the request names something that is not understood here.
    #[error("{}", unsupported(header, value, supported))]
    Unsupported {
        /// The header, in lower case.
        header: &'static str,
        /// What it says; nothing if it is not there.
        value: String,
        /// What it may say.
        supported: &'static str,
    },
    /// A name that cannot be that of a resource.
    #[error("{0:?} cannot be a resource")]
    NoResource(String),
    /// A request over a socket without a usable url.
    #[error("a request has a url, and it starts with /")]
    BadUrl,
    /// A request for Socket.IO whose parameter could be read in more than one way.
    #[error("the parameter {0:?} of the query is repeated or encoded; give it once, as plain text")]
    AmbiguousQuery(&'static str),
    /// A verb or an event nobody handles.
    #[error("{0} is not understood here")]
    UnknownVerb(String),
    /// An event with attachments.
    #[error(
        "events have no binary attachments here; send binary data as text, for example in Base64, or upload it to your own server"
    )]
    Binary,
    /// An update or a destroy that does not say of what.
    #[error("this is about one record: its id has to be in the url, or as {0:?} in the body")]
    NoId(String),
    /// A record is not associated with the one that is meant.
    #[error("{}", not_in(resource, id, attribute, member.as_ref()))]
    NotIn {
        /// Whose association it is.
        resource: Resource,
        /// Of which record.
        id: Id,
        /// The attribute.
        attribute: String,
        /// Who is not in it, if one was named.
        member: Option<Id>,
    },
    /// Criteria that are not understood.
    #[error(transparent)]
    BadCriteria(#[from] criteria::Bad),
    /// The url says one record and the body another.
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
        /// In words, because a body may be too large without having said how large.
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
        /// How many there are.
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
    /// An idempotency key that is none.
    #[error("an idempotency key is 1 to 255 visible ASCII characters")]
    BadKey,
    /// One connection has too many requests in flight.
    #[error(
        "this connection has {limit} requests without an answer already (requests_in_flight): wait for answers before you send more"
    )]
    TooMany {
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
        /// The limit that is used up.
        limit: Limit,
        /// Its value.
        bytes: usize,
    },
    /// There is no room for another connection, or for another request of a client of a proxy.
    #[error("{}", no_room(*limit, *max))]
    NoRoom {
        /// The limit that is reached.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },
    /// There is no room for another resource or session.
    #[error("{}", full(*limit, *max))]
    Full {
        /// The limit that is reached.
        limit: Limit,
        /// How many are allowed.
        max: usize,
    },
    /// The client has not sent the rest of a request in time.
    #[error("{}", overdue(*limit, *deadline))]
    Overdue {
        /// The limit that is reached.
        limit: Limit,
        /// How long it may take.
        deadline: Duration,
    },
    /// A stock client would be in too many rooms of records.
    #[error("this connection would follow too many records ({}: {limit}): read fewer of them, with `limit` or criteria", which.name())]
    TooManyRooms {
        /// The limit that it has reached.
        which: Limit,
        /// How many rooms it may be in.
        limit: usize,
    },
    /// Messages come quicker than they are stored.
    #[error("too many messages of this site wait to be stored, {limit} may")]
    TooManyMessages {
        /// How many may wait.
        limit: usize,
    },
    /// Publishing over HTTP is not set up.
    #[error("POST /publish is off: the server was started without --api-key")]
    NoApiKey,
    /// A back end that does not say which site it means, or shows no key.
    #[error("Missing query param 'site' or 'apiKey'.")]
    NoCaller(&'static str),
    /// The caller has not shown that it may publish.
    #[error("unknown site, or wrong apiKey")]
    BadApiKey,
    /// A caller that is not the operator of the server.
    #[error(
        "this is for the operator: show the key of --api-key, or call from the server's machine"
    )]
    OperatorOnly,
    /// A session cannot keep this, or keeps something else than what is asked for.
    #[error("{0:?} of the session: {1}")]
    Session(String, String),
    /// A page that may not use this server.
    #[error(
        "pages of {0} may not use this server: --origin {0}, or `origins` in its configuration, allows them. \
         For a site of the push service, name the origin in `origins` of the site"
    )]
    Origin(String),
    /// A page that may use nothing but the sites that allow its origin.
    #[error(
        "pages of {0} may connect to their site, and use nothing else of this server: --origin {0}, or \
         `origins` in its configuration, allows them everything"
    )]
    SitesOnly(String),
    /// A host that this server is not.
    #[error(
        "the host {0} is not allowed: --allowed-host {0}, or `allowed_hosts` in the configuration, allows it"
    )]
    Host(String),
    /// A request that does not say which host it is for, or says it twice.
    #[error("a request must have exactly one valid Host header")]
    BadHost,
    /// A request for a WebSocket that is no handshake of one.
    #[error("this is not a valid WebSocket handshake: {header} must be {expected}, exactly once")]
    BadHandshake {
        /// The part of the request.
        header: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// Nobody has signed in, and somebody has to.
    #[error("sign in first")]
    Unknown,
    /// The caller may not do this.
    #[error("the access rules do not allow you to do this")]
    Forbidden,
    /// The ids of such records are the server's to give.
    #[error("ids of {0} are given by the server")]
    GivenId(Resource),
    /// A route answered with something that cannot be passed on.
    #[error("the answer cannot be passed on: {0}")]
    BadAnswer(String),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

fn no_room(limit: Limit, max: usize) -> String {
    let what = match limit {
        Limit::ConnectionsPerAddress => "connections or forwarded requests from your address",
        Limit::UnconnectedSessionsPerAddress => "sessions without a CONNECT from your address",
        Limit::UnconnectedSessions => "sessions without a CONNECT",
        _ => "connections",
    };
    format!("there are {max} {what} already ({}): close some, or try again later", limit.name())
}

fn overdue(limit: Limit, deadline: Duration) -> String {
    let (seconds, name) = (deadline.as_secs_f64(), limit.name());
    match limit {
        Limit::BodyDeadline => format!("no byte of the body arrived within {seconds} s ({name})"),
        _ => format!("the rest of the request did not arrive within {seconds} s ({name})"),
    }
}

fn full(limit: Limit, max: usize) -> String {
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
    // As people write it: Content-Type.
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

/// The body of a refusal.
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Number>,
    /// Of a record with several mistakes, each: the first is told above.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [Violation],
}

impl Error {
    /// A body of `size` bytes where `limit` are allowed.
    pub fn too_large(size: usize, limit: usize) -> Self {
        Self::TooLarge { size: format!("{size} bytes"), limit }
    }

    /// Status, code, and the part of the request it is about.
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
            Self::NoResource(_) => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::BadUrl => (StatusCode::BAD_REQUEST, "E_BAD_URL", Some("url")),
            Self::AmbiguousQuery(name) => (StatusCode::BAD_REQUEST, "E_BAD_URL", Some(name)),
            Self::Binary => (StatusCode::BAD_REQUEST, "E_BINARY", Some("data")),
            Self::UnknownVerb(_) => (StatusCode::METHOD_NOT_ALLOWED, "E_UNKNOWN_VERB", None),
            Self::NotIn { .. } => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::NoId(key) => (StatusCode::BAD_REQUEST, "E_NO_ID", Some(key)),
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
            Self::TooMany { .. } | Self::TooManyBytes { .. } | Self::TooManyMessages { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "E_TOO_MANY", None)
            }
            Self::Busy { .. } | Self::Engine(engine::Error::OutOfMemory(_)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "E_BUSY", None)
            }
            Self::NoRoom {
                limit: Limit::ConnectionsPerAddress | Limit::UnconnectedSessionsPerAddress,
                ..
            } => (StatusCode::TOO_MANY_REQUESTS, "E_TOO_MANY", None),
            Self::NoRoom { .. } => (StatusCode::SERVICE_UNAVAILABLE, "E_TOO_MANY", None),
            Self::Full { limit: Limit::SessionsPerAddress, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "E_TOO_MANY", None)
            }
            Self::Full { .. } | Self::Engine(engine::Error::TooManySessions { .. }) => {
                (StatusCode::INSUFFICIENT_STORAGE, "E_FULL", None)
            }
            Self::Overdue { .. } => (StatusCode::REQUEST_TIMEOUT, "E_TIMEOUT", None),
            Self::NoApiKey => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
            Self::NoCaller(field) => (StatusCode::BAD_REQUEST, "E_NO_SITE", Some(field)),
            Self::BadApiKey => (StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", Some("apiKey")),
            Self::OperatorOnly => (StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", None),
            Self::Session(..) => (StatusCode::INTERNAL_SERVER_ERROR, "E_SESSION", Some("session")),
            Self::Unknown => (StatusCode::UNAUTHORIZED, "E_UNAUTHORIZED", None),
            Self::Forbidden => (StatusCode::FORBIDDEN, "E_FORBIDDEN", None),
            Self::GivenId(_) => (StatusCode::BAD_REQUEST, "E_BAD_ID", Some("id")),
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
                Refused::NotFound { .. } => (StatusCode::NOT_FOUND, "E_NOT_FOUND", None),
                Refused::Exists { .. } => (StatusCode::CONFLICT, "E_EXISTS", Some("id")),
                Refused::BadId | Refused::WrongId(_) => {
                    (StatusCode::BAD_REQUEST, "E_BAD_ID", Some("id"))
                }
                Refused::NoIdLeft { .. } => (StatusCode::CONFLICT, "E_NO_ID_LEFT", Some("id")),
                Refused::NoId { key, .. } => (StatusCode::BAD_REQUEST, "E_NO_ID", Some(key)),
                Refused::Invalid { is_new, wrong } => (
                    StatusCode::BAD_REQUEST,
                    if *is_new { "E_INVALID_NEW_RECORD" } else { "E_INVALID_VALUES_TO_SET" },
                    wrong.first().map(|wrong| &*wrong.attribute),
                ),
                Refused::BadName(name) => (StatusCode::BAD_REQUEST, "E_BAD_NAME", Some(name)),
                Refused::Taken { attribute, .. } => {
                    (StatusCode::CONFLICT, "E_UNIQUE", Some(attribute))
                }
                Refused::Owner { attribute, .. } => {
                    (StatusCode::FORBIDDEN, "E_FORBIDDEN", Some(attribute))
                }
                Refused::Beyond { .. } => (StatusCode::FORBIDDEN, "E_FORBIDDEN", None),
                Refused::TooManyRecords { .. } | Refused::TooManyOfResource { .. } => {
                    (StatusCode::INSUFFICIENT_STORAGE, "E_FULL", None)
                }
                Refused::KeyReused => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "E_KEY_REUSED", Some("idempotency-key"))
                }
            },
        }
    }

    /// Status and body.
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

    /// The value of `Retry-After` in seconds, for temporary errors. By then, a working store has
    /// committed the writes that wait for it.
    pub(crate) fn retry_after(&self) -> Option<&'static str> {
        let (status, ..) = self.kind();
        let is_temporary =
            [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        // A read that took too long takes as long the next time.
        let is_late = matches!(self, Self::Engine(engine::Error::ReadDeadline(_)));
        (is_temporary && !is_late).then_some(match self {
            Self::Engine(engine::Error::DiskFull) => "30",
            Self::Full { .. } => "60",
            _ => "1",
        })
    }

    /// The limit of the settings that the caller has reached.
    pub(crate) fn limit_reached(&self) -> Option<Limit> {
        match self {
            Self::TooLarge { .. } => Some(Limit::BodyLimit),
            Self::TooManyValues { .. } => Some(Limit::BodyValues),
            Self::TooMany { .. } => Some(Limit::RequestsInFlight),
            Self::TooManyBytes { .. } => Some(Limit::RequestBytes),
            Self::TooManyRooms { which: limit, .. }
            | Self::Busy { limit, .. }
            | Self::NoRoom { limit, .. }
            | Self::Full { limit, .. } => Some(*limit),
            Self::Engine(error) => limit_of_engine(error),
            _ => None,
        }
    }

    fn limit(&self) -> Option<Number> {
        match self {
            Self::TooLarge { limit, .. }
            | Self::HeadTooLarge { limit, .. }
            | Self::TooManyValues { limit, .. }
            | Self::TooMany { limit }
            | Self::TooManyBytes { limit }
            | Self::Busy { bytes: limit, .. }
            | Self::Engine(engine::Error::OutOfMemory(OutOfMemory { limit }))
            | Self::TooManyRooms { limit, .. }
            | Self::TooManyMessages { limit }
            | Self::Engine(engine::Error::TooManySessions { limit })
            | Self::NoRoom { max: limit, .. }
            | Self::Full { max: limit, .. } => Some((*limit).into()),
            Self::Overdue { deadline, .. } => Number::from_f64(deadline.as_secs_f64()),
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
                Refused::TooManyRecords { limit } | Refused::TooManyOfResource { limit, .. },
            )) => Some((*limit).into()),
            _ => self.problems().first()?.limit.clone(),
        }
    }

    fn problems(&self) -> &[Violation] {
        match self {
            Self::Engine(engine::Error::Refused(Refused::Invalid { wrong, .. })) => wrong,
            _ => &[],
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
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

fn not_in(resource: &Resource, id: &Id, attribute: &str, member: Option<&Id>) -> String {
    match member {
        Some(member) => format!("{member} is not in the {attribute} of {resource} {id}"),
        None => format!("{resource} {id} has no {attribute}"),
    }
}

/// Gives a refusal that is not ours (plain text, or nothing at all) the shape of ours.
pub(crate) async fn in_our_words(response: Response) -> Response {
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
    // Whatever described the old body; `allow` and the like stay.
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

/// A refusal's text is a sentence; one that is much longer is not shown.
async fn text_of(body: Body) -> String {
    const MOST: usize = 4096;
    let whole = Limited::new(body, MOST).collect().await;
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

/// The limit that a caller has reached in the engine.
fn limit_of_engine(error: &engine::Error) -> Option<Limit> {
    Some(match error {
        engine::Error::ReadDeadline(_) => Limit::ReadDeadline,
        engine::Error::TooManyRecords(_) => Limit::AnswerRecords,
        engine::Error::TooManyBytes(_) => Limit::AnswerBytes,
        engine::Error::TooMuchToSort(_) => Limit::SortBytes,
        engine::Error::OutOfMemory(_) => Limit::TotalUnreadBytes,
        engine::Error::TooManySessions { .. } => Limit::Sessions,
        engine::Error::Refused(Refused::TooManyRecords { .. }) => Limit::Records,
        engine::Error::Refused(Refused::TooManyOfResource { .. }) => Limit::RecordsPerResource,
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
    async fn a_refusal_names_the_limit_it_is_about() {
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
    async fn a_refusal_in_plain_text_gets_our_shape_and_keeps_its_status_and_headers() {
        let theirs =
            (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "no").into_response();
        let ours = in_our_words(theirs).await;
        assert_eq!(ours.status(), 405);
        assert_eq!(ours.headers()["allow"], "GET");
        assert_eq!(ours.headers()["content-type"], "application/json");
        assert_eq!(
            body_of(ours).await,
            serde_json::json!({ "code": "E_UNKNOWN_VERB", "message": "no" })
        );
    }

    #[tokio::test]
    async fn a_refusal_in_json_is_left_alone() {
        let theirs = (StatusCode::FORBIDDEN, Json("mine")).into_response();
        assert_eq!(body_of(in_our_words(theirs).await).await, "mine");
    }
}
