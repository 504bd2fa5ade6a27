//! Random requests with reused idempotency keys, compared with a map from each key to its first
//! request.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use reqwest::Client;
use serde_json::{Value, json};

use super::push_service::PushService;
use crate::client::{builder, start};

/// A body: one value, or a list of values. `None` is an invalid value.
#[derive(Debug, Clone, PartialEq)]
enum Body {
    One(u8),
    List(Vec<Option<u8>>),
}

impl Body {
    fn values(&self) -> Vec<Option<u8>> {
        match self {
            Self::One(value) => vec![Some(*value)],
            Self::List(values) => values.clone(),
        }
    }

    fn json(&self, item: impl Fn(Option<u8>) -> Value) -> Value {
        match self {
            Self::One(value) => item(Some(*value)),
            Self::List(values) => values.iter().copied().map(item).collect(),
        }
    }
}

/// Returns requests with a few keys and bodies, so that each occurs often.
fn requests() -> impl Strategy<Value = Vec<(u8, Body)>> {
    let body = prop_oneof![
        (0..3u8).prop_map(Body::One),
        vec(option::weighted(0.8, 0..3u8), 1..4).prop_map(Body::List),
    ];
    vec((0..3u8, body), 1..20)
}

/// The first request of each key, and the stored values.
#[derive(Default)]
struct Expected {
    used: HashMap<u8, Body>,
    stored: Vec<u8>,
}

impl Expected {
    /// Applies a request, which stores its valid values. Returns whether its key is refused.
    fn take(&mut self, key: u8, body: &Body) -> bool {
        let valid: Vec<_> = body.values().into_iter().flatten().collect();
        if valid.is_empty() {
            return false;
        }
        match self.used.get(&key) {
            Some(used) => used != body,
            None => {
                self.stored.extend(valid);
                self.used.insert(key, body.clone());
                false
            }
        }
    }
}

fn run<F: Future<Output = Result<(), TestCaseError>>>(test: F) -> Result<(), TestCaseError> {
    tokio::runtime::Runtime::new().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn key_identifies_one_message_or_one_list_of_messages(requests in requests()) {
        run(async {
            let service = PushService::open().await;
            let mut expected = Expected::default();
            for (key, body) in requests {
                let event = |value: Option<u8>| value.map(|_| "news");
                let message =
                    |value| json!({ "rooms": "user_1", "event": event(value), "args": [value] });
                let sent = service.post("shop", Some(&key.to_string()), body.json(message)).await;
                let is_whole = body.values().iter().all(Option::is_some);
                let status = match expected.take(key, &body) {
                    true => 422,
                    false if is_whole => 200,
                    false => 207,
                };
                prop_assert_eq!(sent.0, status, "{} {:?}: {}", key, body, sent.1);
            }
            service.send(json!(["user_1"]), "news", 99).await;
            let batch = service.connect("user_1").await.take().await;
            let batch = batch[1].as_array().unwrap();
            let stored: Vec<_> = batch.iter().map(|it| it[1].as_u64().unwrap()).collect();
            expected.stored.push(99);
            prop_assert_eq!(stored, Vec::from_iter(expected.stored.into_iter().map(u64::from)));
            service.server.shutdown().await;
            Ok(())
        })?;
    }

    #[test]
    fn key_identifies_one_record_or_one_list_of_records(requests in requests()) {
        run(async {
            let server = start(builder()).await;
            let url = format!("http://{}/todo", server.addr());
            let mut expected = Expected::default();
            for (key, body) in requests {
                let record = |value: Option<u8>| value.map_or(json!(7), |value| json!({ "n": value }));
                let post = Client::new().post(&url).header("idempotency-key", key.to_string());
                let answer = post.json(&body.json(record)).send().await.unwrap();
                // A list with an item that is not a record creates nothing.
                let is_valid = body.values().iter().all(Option::is_some);
                let status = match is_valid && expected.take(key, &body) {
                    true => 422,
                    false if is_valid => 201,
                    false => 400,
                };
                prop_assert_eq!(answer.status().as_u16(), status, "{} {:?}", key, body);
            }
            let read: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
            let stored: Vec<_> = read.as_array().unwrap().iter().map(|it| it["n"].clone()).collect();
            prop_assert_eq!(stored, Vec::from_iter(expected.stored.into_iter().map(Value::from)));
            server.shutdown().await;
            Ok(())
        })?;
    }
}
