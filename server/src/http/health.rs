//! Health checks: `/health` for load balancers, `/health/live` for process supervisors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use backwire_engine::{Engine, Environment, Error, SessionEdit};
use backwire_records::change::{Id, Resource};
use http::StatusCode;
use serde::Serialize;
use tokio::sync::Mutex;

/// An engine that has not answered within this time has failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a successful report is cached. Anybody may request it, and each check writes to the
/// disk.
const SUCCESS_CACHE_TIME: Duration = Duration::from_secs(1);

/// The id of the session that a check writes. No cookie has this id.
const CHECK_SESSION: &str = "health";

/// How long the engine keeps that session, in milliseconds.
const CHECK_SESSION_TTL_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Serialize)]
pub(crate) struct Health {
    status: &'static str,
}

type Report = (StatusCode, Json<Health>);

/// Checks an engine.
///
/// Invariant: requests that wait for a check share its outcome, so each of them waits for two
/// checks at most.
pub(crate) struct HealthCheck {
    environment: Environment,
    engine: Arc<dyn Engine>,
    last: Mutex<Option<LastCheck>>,
}

/// The last check.
#[derive(Clone, Copy)]
struct LastCheck {
    ended: Instant,
    outcome: Result<(), &'static str>,
}

impl HealthCheck {
    pub(crate) fn new(environment: Environment, engine: Arc<dyn Engine>) -> Self {
        Self { environment, engine, last: Mutex::default() }
    }

    /// Reports whether the engine can read and write.
    pub(crate) async fn report(&self) -> Report {
        let begin = self.environment.now();
        let mut last = self.last.lock().await;
        let is_current = |last: &LastCheck| {
            let cached = self.environment.now() - last.ended < SUCCESS_CACHE_TIME;
            begin < last.ended || last.outcome.is_ok() && cached
        };
        let outcome = match last.filter(is_current) {
            Some(last) => last.outcome,
            None => {
                *last = None;
                let outcome = self.check().await;
                *last = Some(LastCheck { ended: self.environment.now(), outcome });
                outcome
            }
        };
        outcome.map_or_else(failed, |()| ok())
    }

    async fn check(&self) -> Result<(), &'static str> {
        match self.environment.timeout(CHECK_TIMEOUT, self.read()).await {
            Ok(Ok(())) => {}
            _ => return Err("the engine does not answer"),
        }
        match self.environment.timeout(CHECK_TIMEOUT, self.write()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Error::DiskFull)) => {
                Err("the disk is full: only reads, deletes and acknowledgements are accepted")
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "health check: a write to the engine failed");
                Err("the engine cannot write")
            }
            Err(_) => Err("the engine does not write in time"),
        }
    }

    /// Reads a record. It does not matter whether the record exists.
    async fn read(&self) -> Result<(), Error> {
        let resource = Resource::parse("health-check").expect("it is a name and not reserved");
        self.engine.find_one(&resource, &Id::Integer(0)).await.map(drop)
    }

    async fn write(&self) -> Result<(), Error> {
        let at = self.environment.unix_millis();
        let set = [("at".to_owned(), Some(at.into()))].into();
        let edit = SessionEdit {
            id: CHECK_SESSION.into(),
            set,
            at,
            until: at + CHECK_SESSION_TTL_MS,
            ..SessionEdit::default()
        };
        self.engine.sessions().edit(edit).await
    }
}

/// Reports that the process serves requests.
pub(crate) fn live() -> Report {
    ok()
}

fn ok() -> Report {
    (StatusCode::OK, Json(Health { status: "ok" }))
}

fn failed(status: &'static str) -> Report {
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status }))
}
