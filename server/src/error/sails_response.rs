//! The error responses of resources by the conventions of Sails 1.x.

use axum::Json;
use axum::response::{IntoResponse, Response};
use backwire_engine as engine;
use backwire_records::change::Resource;
use backwire_records::write::WriteError;
use http::StatusCode;
use serde::Serialize;

use super::Error;

/// The body of a refusal because of a value that is not unique.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NotUnique<'a> {
    code: &'a str,
    message: &'a str,
    model_identity: &'a str,
    /// The attribute; none if it is the key.
    attr_names: &'a [&'a str],
}

/// The body of a refusal because of the parameters of a request.
#[derive(Debug, Serialize)]
struct BadParameters<'a> {
    code: &'a str,
    details: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl Error {
    /// Returns the response of a resource by the conventions of Sails. Only the refusals that
    /// differ are written here.
    pub(crate) fn into_sails_response(self) -> Response {
        let message = self.to_string();
        match &self {
            Self::Engine(engine::Error::Refused(WriteError::Taken { resource, attribute })) => {
                not_unique(&message, resource, &[attribute])
            }
            Self::Engine(engine::Error::Refused(WriteError::Exists { resource, .. })) => {
                not_unique(&message, resource, &[])
            }
            Self::BadCriteria(bad) if bad.at == "populate" => {
                bad_parameters("E_INVALID_POPULATES", &message, Some(&bad.at))
            }
            Self::BadCriteria(bad) => invalid_criteria(&message, Some(&bad.at)),
            Self::Engine(engine::Error::Refused(WriteError::WrongId(_))) => {
                bad_parameters("E_INVALID_NEW_RECORD", &message, Some("id"))
            }
            _ => self.into_response(),
        }
    }

    /// Returns the response to a url with an id that no record of the resource can have.
    pub(crate) fn no_id_in_sails(key: &str) -> Response {
        invalid_criteria(&format!("{key}: an id here is an integer"), Some(key))
    }
}

fn not_unique(message: &str, resource: &Resource, attributes: &[&str]) -> Response {
    let body = NotUnique {
        code: "E_UNIQUE",
        message,
        model_identity: resource.as_str(),
        attr_names: attributes,
    };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn invalid_criteria(message: &str, field: Option<&str>) -> Response {
    bad_parameters("E_INVALID_CRITERIA", message, field)
}

fn bad_parameters(code: &str, message: &str, field: Option<&str>) -> Response {
    let body = BadParameters { code, details: message, message, field };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
