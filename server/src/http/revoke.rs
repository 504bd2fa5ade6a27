//! `POST /revoke`: ends the connections of a person whose rights have changed, for the back ends of
//! sites.
//!
//! The clients reconnect by themselves, and the server authenticates them at the site's `authUrl`
//! again. An unknown site and a wrong key get the same refusal, as at `POST /send`.

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;

use crate::announcements::Total;
use crate::delivery::service::DeliveryService;
use crate::delivery::site_connections::Revocation;
use crate::error::{Error, Result};
use crate::http::caller::Caller;
use crate::parse_claim::parse;
use crate::sites::Sites;

/// The path of the route.
pub(crate) const PATH: &str = "/revoke";

/// Creates the route, for back ends of these sites.
pub(crate) fn router(sites: Sites, delivery_service: DeliveryService) -> Router {
    Router::new().route(PATH, post(revoke)).with_state((sites, delivery_service))
}

/// The answer: how many connections were ended, and how many servers have not answered.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    connections: usize,
    #[serde(skip_serializing_if = "is_zero")]
    missing_servers: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

async fn revoke(
    State((sites, delivery_service)): State<(Sites, DeliveryService)>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<Ended>> {
    let (name, _) = caller.authenticate(&sites)?;
    let body: Value = parse(&body).map_err(|error| Error::BadJson(error.to_string()))?;
    let Total { sum: connections, missing_servers } =
        delivery_service.revoke(&name, &revocation(&body)?).await?;
    tracing::info!(site = %name, connections, missing_servers, "connections are revoked");
    Ok(Json(Ended { connections, missing_servers }))
}

/// Parses the body: `{"user": …}` or `{"session": …}`.
fn revocation(body: &Value) -> Result<Revocation> {
    let body = body.as_object().ok_or(Error::BadBody("the body has to be a JSON object"))?;
    match (body.get("user"), body.get("session")) {
        (Some(user), None) => text(user).map(Revocation::User).ok_or(Error::BadField(
            "user",
            "it has to be the id of a person: a text or an integer",
        )),
        (None, Some(session)) => text(session)
            .map(Revocation::Session)
            .ok_or(Error::BadField("session", "it has to be a token")),
        _ => Err(Error::BadBody("the body must have either user or session")),
    }
}

/// Returns a text that is not empty, or an integer as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        _ => None,
    }
}
