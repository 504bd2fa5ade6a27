//! `GET /metrics`: how often each limit was reached, how many bytes clients have not read and
//! resumes hold, what resumes have read, and the gauges of the engine, in the text format of
//! Prometheus.
//!
//! The metrics are for the operator: a caller shows the API key of `POST /publish`, or is on the
//! machine of the server.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use backwire_engine::{Engine, Gauge};
use http::header;

use super::address::client_address;
use super::caller::Caller;
use crate::error::Error;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::push_backlog::PushBacklog;
use crate::resume::ResumeCounts;
use crate::settings::ApiKey;
use crate::socket::OutputBudget;

/// The path of the metrics.
pub(crate) const PATH: &str = "/metrics";

/// The content type of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The sources of the metrics.
#[derive(Clone)]
pub(crate) struct MetricsSources {
    pub(crate) limits: Arc<LimitMonitor>,
    pub(crate) output: Arc<OutputBudget>,
    /// The changes that resumes hold.
    pub(crate) resumes: Arc<MemoryBudget>,
    pub(crate) resume_counts: Arc<ResumeCounts>,
    pub(crate) backlog: Arc<PushBacklog>,
    pub(crate) engine: Arc<dyn Engine>,
}

/// Creates the route, for callers that show this key.
pub(crate) fn router(key: Option<ApiKey>, sources: MetricsSources) -> Router {
    Router::new().route(PATH, get(metrics)).with_state((key, sources))
}

async fn metrics(
    State((key, sources)): State<(Option<ApiKey>, MetricsSources)>,
    caller: Caller,
    request: Request,
) -> Response {
    let is_key = |shown: String| key.as_ref().is_some_and(|key| key.is(&shown));
    let is_local =
        || client_address(request.extensions()).is_some_and(|it| IpAddr::is_loopback(&it));
    if !caller.key.map_or_else(is_local, is_key) {
        return Error::OperatorOnly.into_response();
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&sources)).into_response()
}

fn text(sources: &MetricsSources) -> String {
    let MetricsSources { limits, output, resumes, resume_counts, backlog, engine } = sources;
    const NAME: &str = "backwire_limit_reached_total";
    let mut text = format!(
        "# HELP {NAME} How often clients have reached a limit since the start (see docs/reference/limits.md).\n\
         # TYPE {NAME} counter\n"
    );
    for (limit, count) in limits.counts() {
        writeln!(text, "{NAME}{{limit=\"{}\"}} {count}", limit.name()).expect("a string grows");
    }
    let unread = Gauge {
        name: "backwire_unread_bytes",
        help: "Bytes of large answers that are being made, and of what clients have not read (limit total_unread_bytes).",
        value: output.claimed() as u64,
    };
    let resumes = Gauge {
        name: "backwire_resume_bytes",
        help: "Bytes of the changes that resumes hold in memory (limit total_resume_bytes).",
        value: resumes.claimed() as u64,
    };
    let unsent = Gauge {
        name: "backwire_unsent_packets",
        help: "Packets to stock clients that are committed and not sent yet (limit unsent_packets).",
        value: backlog.claimed() as u64,
    };
    let resume_counts = [
        Gauge {
            name: "backwire_resumes_total",
            help: "Resumes of clients since the start.",
            value: resume_counts.resumes(),
        },
        Gauge {
            name: "backwire_resume_changes_read_total",
            help: "Changes that were read from logs for resumes since the start. Clients that come back within a short time share them.",
            value: resume_counts.changes_read(),
        },
    ];
    let gauges = [unread, resumes, unsent].into_iter().chain(engine.gauges());
    let kinds = resume_counts.into_iter().map(|it| ("counter", it));
    for (kind, Gauge { name, help, value }) in kinds.chain(gauges.map(|it| ("gauge", it))) {
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
            .expect("a string grows");
    }
    text
}
