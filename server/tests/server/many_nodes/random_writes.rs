//! Random writes that are repeated until a server accepts them, and the records that there must be
//! afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::RECOVERY;
use super::live_list::{LiveList, stored};
use crate::polling::poll;

/// A client that writes, and what it knows.
pub(super) struct RandomWrites {
    pub(super) random: StdRng,
    /// The number of writes so far.
    count: u64,
    /// The value of each record, by its number.
    pub(super) expected: BTreeMap<u64, u64>,
}

impl RandomWrites {
    /// Draws a seed and prints it. `BACKWIRE_SEED` repeats a run.
    pub(super) fn begin() -> Self {
        let given = std::env::var("BACKWIRE_SEED").ok();
        let seed = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
        eprintln!("BACKWIRE_SEED={seed}");
        Self { random: StdRng::seed_from_u64(seed), count: 0, expected: BTreeMap::new() }
    }

    /// Has this many random writes accepted, each by one of the servers.
    pub(super) async fn many(&mut self, servers: &[SocketAddr], count: u64) {
        for _ in 0..count {
            self.next(servers).await;
        }
    }

    async fn next(&mut self, servers: &[SocketAddr]) {
        self.count += 1;
        let (value, known) = (self.count, self.expected.len());
        let action = self.random.random_range(0..10);
        if known == 0 || action < 5 {
            let record = json!({ "id": value, "n": value, "value": value });
            self.accepted(servers, Method::POST, "/todo", record).await;
            self.expected.insert(value, value);
            return;
        }
        let number = *self.expected.keys().nth(self.random.random_range(0..known)).unwrap();
        let path = format!("/todo/{number}");
        if action < 9 {
            self.accepted(servers, Method::PUT, &path, json!({ "value": value })).await;
            self.expected.insert(number, value);
        } else {
            self.accepted(servers, Method::DELETE, &path, Value::Null).await;
            self.expected.remove(&number);
        }
    }

    /// Repeats a write with its key until it is accepted.
    async fn accepted(&mut self, servers: &[SocketAddr], verb: Method, path: &str, body: Value) {
        let key = format!("\"{}\"", self.count);
        let attempt = async || {
            let server = servers[self.random.random_range(0..servers.len())];
            // The server may have been killed.
            let sent = send(server, verb.clone(), path, &key, &body).await.ok()?;
            if sent.status().is_success() {
                return Some(());
            }
            assert_eq!(sent.status(), 503, "{verb} {path}");
            assert!(sent.headers().contains_key("retry-after"));
            None
        };
        poll(&format!("{verb} {path} is accepted"), RECOVERY, attempt).await;
    }

    /// Checks that the servers have the expected records, and that all lists become the same.
    pub(super) async fn check(&mut self, servers: &[SocketAddr], lists: &mut [&mut LiveList]) {
        self.count += 1;
        let last = self.count;
        let record = json!({ "id": last, "n": last, "value": last });
        self.accepted(servers, Method::POST, "/todo", record).await;
        self.expected.insert(last, last);
        let records = stored(servers[0]).await;
        // A write without a value was refused, and may have been done although Redis was too slow.
        let value = |record: &Value| Some((record["n"].as_u64()?, record["value"].as_u64()?));
        let found: BTreeMap<_, _> = records.values().filter_map(value).collect();
        assert_eq!(found, self.expected);
        for list in lists {
            list.receive_until(last).await;
            assert_eq!(list.records, records);
        }
    }
}

/// Sends a write, without a body if that is null.
pub(super) async fn send(
    server: SocketAddr,
    verb: Method,
    path: &str,
    key: &str,
    body: &Value,
) -> reqwest::Result<Response> {
    let request = Client::new().request(verb, format!("http://{server}{path}"));
    let request = request.header("idempotency-key", key);
    if body.is_null() { request } else { request.json(body) }.send().await
}
