//! Whether this server can do its work.

use std::time::Duration;

use axum::Json;
use http::StatusCode;
use serde::Serialize;
use tokio::time::timeout;

use crate::change::{Id, Resource};
use crate::engine::Engine;

/// An engine that has not answered by then does not do its work.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub(crate) struct Health {
    status: &'static str,
}

/// Asks the engine for a record there need not be.
pub(crate) async fn report(engine: &dyn Engine) -> (StatusCode, Json<Health>) {
    let resource = Resource::parse("health-check").expect("it is a name and not a reserved one");
    let asked = timeout(PATIENCE, engine.find_one(&resource, &Id::Integer(0))).await;
    match asked {
        Ok(Ok(_)) => (StatusCode::OK, Json(Health { status: "ok" })),
        _ => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "the engine does not answer" }))
        }
    }
}
