//! `POST /revoke`: ends the connections of a person whose rights have changed, for the back ends of sites.
//!
//! The clients connect again by themselves, and the site's `authUrl` is asked about them again. A site
//! that is not there and a key that is wrong are refused alike, as at `POST /send`.

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;

use crate::delivery::connected::Revocation;
use crate::delivery::courier::Courier;
use crate::error::{Error, Result};
use crate::http::caller::Caller;
use crate::parse_claim::parse;
use crate::sites::Sites;

/// The path.
pub(super) const PATH: &str = "/revoke";

/// The route, for back ends of these sites.
pub(crate) fn router(sites: Sites, courier: Courier) -> Router {
    Router::new().route(PATH, post(revoke)).with_state((sites, courier))
}

/// How many connections were ended.
#[derive(Serialize)]
struct Ended {
    connections: usize,
}

async fn revoke(
    State((sites, courier)): State<(Sites, Courier)>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<Ended>> {
    let (name, _) = caller.admitted(&sites)?;
    let body: Value = parse(&body).map_err(|error| Error::BadJson(error.to_string()))?;
    let connections = courier.revoke(&name, &revocation(&body)?).await;
    tracing::info!(site = %name, connections, "connections are revoked");
    Ok(Json(Ended { connections }))
}

/// The body is `{"user": …}` or `{"session": …}`.
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
        _ => Err(Error::BadBody("it has either user or session")),
    }
}

/// A text that is not empty, or an integer as a text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        _ => None,
    }
}
