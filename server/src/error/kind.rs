//! The status and the code of each error, and the limit that it is about.

use backwire_engine::{self as engine, OutOfMemory};
use backwire_protocol::wire::header::IDEMPOTENCY_KEY;
use backwire_records::model::Violation;
use backwire_records::write::WriteError;
use http::StatusCode;
use serde_json::Number;

use super::Error;
use crate::settings::Limit;

impl Error {
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
    pub(super) fn kind(&self) -> (StatusCode, &'static str, Option<&str>) {
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
            Self::BadKey => (StatusCode::BAD_REQUEST, "E_BAD_KEY", Some(IDEMPOTENCY_KEY)),
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
            Self::Csrf => (StatusCode::FORBIDDEN, "E_CSRF", Some("_csrf")),
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
            Self::NoSession => (StatusCode::BAD_REQUEST, "E_NO_SESSION", Some("nosession")),
            Self::NoAck(_) => (StatusCode::GATEWAY_TIMEOUT, "E_NO_ACK", None),
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
            Self::Engine(engine::Error::TooMuchToScan { .. }) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "E_ANSWER_TOO_LARGE", Some("where"))
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
                    (StatusCode::UNPROCESSABLE_ENTITY, "E_KEY_REUSED", Some(IDEMPOTENCY_KEY))
                }
            },
        }
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

    pub(super) fn limit(&self) -> Option<Number> {
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
                | engine::Error::TooMuchToSort(limit)
                | engine::Error::TooMuchToScan { limit, .. },
            ) => Some((*limit).into()),
            Self::Engine(engine::Error::Refused(
                WriteError::TooManyRecords { limit } | WriteError::TooManyOfResource { limit, .. },
            )) => Some((*limit).into()),
            _ => self.problems().first()?.limit.clone(),
        }
    }

    pub(super) fn problems(&self) -> &[Violation] {
        match self {
            Self::Engine(engine::Error::Refused(WriteError::Invalid { wrong, .. })) => wrong,
            _ => &[],
        }
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
