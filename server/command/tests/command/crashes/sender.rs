//! A back end, which survives its server.

use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::ServerRun;

/// The pause before a message is sent again, if the server could not reach its store.
const RETRY: Duration = Duration::from_millis(10);

/// A back end that sends one message or a list at a time, and repeats it until it is answered.
pub(super) struct Sender {
    random: StdRng,
    http: Client,
    /// The numbers of sent and of answered messages.
    pub(super) sent: usize,
    pub(super) answered: usize,
    /// The number of requests that were answered with 503.
    pub(super) unavailable: usize,
    /// The unanswered messages.
    open: Option<Value>,
    pub(super) is_last: bool,
}

impl Sender {
    pub(super) fn new(random: StdRng) -> Self {
        let http = Client::new();
        Self { random, http, sent: 0, answered: 0, unavailable: 0, open: None, is_last: false }
    }

    /// Sends until the server stops, or until everything is answered in the last run.
    pub(super) async fn send(&mut self, addr: SocketAddr, run: &ServerRun) {
        let url = format!("http://{addr}/send?site=shop&apiKey=54321");
        while !(self.is_last && self.open.is_none()) {
            let messages = match self.open.take() {
                Some(open) => open,
                None => self.next(),
            };
            self.open = Some(messages.clone());
            let key = format!("upto-{}", self.sent);
            let request = self.http.post(&url).header("idempotency-key", key).json(&messages);
            let Ok(response) = request.send().await else { return };
            let status = response.status();
            if run.has_shared_store && status != StatusCode::OK {
                let Ok(answer) = response.text().await else { return };
                assert!(is_unavailable(status, &answer), "{status} {answer}");
                self.unavailable += 1;
                sleep(RETRY).await;
                continue;
            }
            assert_eq!(status, StatusCode::OK);
            (self.open, self.answered) = (None, self.sent);
            run.count(|events| events.answered += 1);
        }
    }

    /// Returns one message or a list, each with its number, for one person or both.
    fn next(&mut self) -> Value {
        let is_list = self.random.random_ratio(1, 4);
        let count = if is_list { self.random.random_range(1..100) } else { 1 };
        let mut message = || {
            self.sent += 1;
            let rooms = [json!("user_1"), json!("user_a"), json!(["user_a", "user_1"])];
            let event = ["news", "mail"][self.random.random_range(0..2)];
            let rooms = &rooms[self.random.random_range(0..3)];
            json!({ "rooms": rooms, "event": event, "args": [self.sent] })
        };
        let messages = Vec::from_iter((0..count).map(|_| message()));
        match is_list {
            true => messages.into(),
            false => messages.into_iter().next().unwrap(),
        }
    }
}

/// Whether a message cannot be stored now, or some messages of a list: those after the first of
/// these.
fn is_unavailable(status: StatusCode, answer: &str) -> bool {
    if status != StatusCode::MULTI_STATUS {
        return status == StatusCode::SERVICE_UNAVAILABLE;
    }
    let outcomes: Vec<Value> = serde_json::from_str(answer).unwrap();
    let mut failed = outcomes.iter().skip_while(|outcome| outcome["status"] == 200);
    failed.all(|outcome| outcome["status"] == 503)
}
