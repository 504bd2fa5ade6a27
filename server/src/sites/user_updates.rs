//! Reports to the back end of a site when its people connect and disconnect: `updateUserUrl`.
//!
//! A report is sent once. If many people connect or disconnect at once, it waits for its turn. If
//! too many reports wait, the new one is dropped, which is logged.

use std::sync::Arc;
use std::time::Duration;

use backwire_engine::Environment;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Semaphore;

use super::UpdateUserUrl;
use crate::http::http_client::HttpClient;

/// Requests that may run at a time.
const MAX_RUNNING: usize = 16;

/// Reports that may wait for their turn.
const MAX_WAITING: usize = 10_000;

/// Bytes that an answer may have. The server ignores them.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An event in the presence of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserEvent {
    Connected,
    Disconnected,
}

/// Sends reports.
pub(crate) struct UserUpdates {
    environment: Environment,
    http: HttpClient,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl UserUpdates {
    pub(crate) fn new(environment: Environment, http: HttpClient) -> Self {
        let [running, waiting] =
            [MAX_RUNNING, MAX_RUNNING + MAX_WAITING].map(|max| Arc::new(Semaphore::new(max)));
        Self { environment, http, running, waiting }
    }

    /// Reports in the background that a person has done something now.
    pub(crate) fn report(
        &self,
        url: &UpdateUserUrl,
        person: &str,
        authorization: &HeaderValue,
        event: UserEvent,
        deadline: Duration,
    ) {
        let Some(request) =
            request(url, person, authorization, event, self.environment.unix_millis())
        else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return tracing::warn!("too many reports wait for updateUserUrl: one is dropped");
        };
        let (http, running) = (self.http.clone(), Arc::clone(&self.running));
        let environment = self.environment.clone();
        self.environment.spawn(async move {
            let _permit = permit;
            let Ok(_turn) = running.acquire().await else { return };
            let uri = request.uri().clone();
            let problem =
                match environment.timeout(deadline, http.send(request, MAX_ANSWER_BYTES)).await {
                    Ok(Ok(answer)) if answer.status().is_success() => return,
                    Ok(Ok(answer)) => format!("it answered {}", answer.status().as_u16()),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it did not answer within authTimeout".to_owned(),
                };
            tracing::warn!(%uri, problem, "updateUserUrl failed");
        });
    }
}

fn request(
    url: &UpdateUserUrl,
    person: &str,
    authorization: &HeaderValue,
    event: UserEvent,
    now: u64,
) -> Option<Request<Full<axum::body::Bytes>>> {
    let key = match event {
        UserEvent::Connected => "last_connected",
        UserEvent::Disconnected => "last_disconnected",
    };
    let now = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    let body = json!({ "id": person, "user": { key: format!("{now:.3}") } });
    Request::put(url.of(person)?)
        .header(header::AUTHORIZATION, authorization)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn person_is_named_in_the_url_without_changing_what_it_means() {
        let url: UpdateUserUrl = "http://newsite.com/users/:id?x=1".parse().unwrap();
        assert_eq!(url.of("8").unwrap(), "http://newsite.com/users/8?x=1");
        assert_eq!(url.of("../a?b").unwrap(), "http://newsite.com/users/%2E%2E%2Fa%3Fb?x=1");
        assert!("ftp://newsite.com/:id".parse::<UpdateUserUrl>().is_err());
    }
}
