//! `GET /metrics`: how often each limit was reached, and what the engine measures, in the text format of Prometheus.
//!
//! The numbers are for the operator: a caller shows the API key of `POST /publish`, or is on the machine of the server.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;

use super::caller::Caller;
use super::client_address::client_address;
use crate::engine::{Engine, Gauge};
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::settings::ApiKey;

/// The content type of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who may ask, and what the numbers come from.
type Measured = (Option<ApiKey>, Arc<LimitMonitor>, Arc<dyn Engine>);

/// The route.
pub(crate) fn router(
    key: Option<ApiKey>,
    limits: Arc<LimitMonitor>,
    engine: Arc<dyn Engine>,
) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state((key, limits, engine))
}

async fn metrics(
    State((key, limits, engine)): State<Measured>,
    caller: Caller,
    request: Request,
) -> Response {
    let is_key = |shown: String| key.as_ref().is_some_and(|key| key.is(&shown));
    let is_local =
        || client_address(request.extensions()).is_some_and(|it| IpAddr::is_loopback(&it));
    if !caller.key.map_or_else(is_local, is_key) {
        return Error::OperatorOnly.into_response();
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&limits, &*engine)).into_response()
}

fn text(limits: &LimitMonitor, engine: &dyn Engine) -> String {
    const NAME: &str = "backwire_limit_reached_total";
    let mut text = format!(
        "# HELP {NAME} How often clients have reached a limit since the start (see docs/limits.md).\n\
         # TYPE {NAME} counter\n"
    );
    for (limit, count) in limits.counts() {
        writeln!(text, "{NAME}{{limit=\"{}\"}} {count}", limit.name()).expect("a string grows");
    }
    for Gauge { name, help, value } in engine.gauges() {
        write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
            .expect("a string grows");
    }
    text
}
