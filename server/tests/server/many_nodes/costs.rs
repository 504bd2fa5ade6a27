//! The commands of Redis that changes and clients cost.

use std::collections::BTreeMap;
use std::time::Instant;

use backwire::Server;
use futures_util::future::join_all;
use serde_json::json;

use super::{on_redis, post, shut_down, two};
use crate::client::{Socket, position, start};
use crate::redis_server::RedisServer;

/// Returns how often Redis has run each command since the last reset.
fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let stats = redis.command(&["INFO", "commandstats"]);
    let lines =
        stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="));
    let count = |text: &str| text.split(',').next().unwrap().parse().unwrap();
    lines.map(|(name, rest)| (name.to_owned(), count(rest))).collect()
}

#[tokio::test]
async fn commands_of_redis_for_a_change_do_not_grow_with_subscribers() {
    const WRITES: u64 = 20;
    let redis = RedisServer::start(&["--save", ""]);
    let servers = two(&redis, |builder| builder).await;
    let mut readers = Vec::new();
    post(&servers.0, "/todo", "\"first\"", &json!({})).await;
    let mut scripts = Vec::new();
    for subscribers in [2, 100] {
        while readers.len() < subscribers {
            let server = [&servers.0, &servers.1][readers.len() % 2];
            let mut reader = Socket::runtime(server).await;
            reader.get("/todo").await;
            readers.push(reader);
        }
        redis.command(&["CONFIG", "RESETSTAT"]);
        let begin = Instant::now();
        for n in 0..WRITES {
            let key = format!("\"{subscribers}-{n}\"");
            assert_eq!(post(&servers.0, "/todo", &key, &json!({ "n": n })).await.status(), 201);
        }
        for reader in &mut readers {
            reader.changes("todo", WRITES as usize).await;
        }
        let (commands, seconds) = (commands(&redis), begin.elapsed().as_secs() + 1);
        // The tail of each server reads each change once, and again if it waits for a second.
        assert!(commands["xread"] <= 2 * (WRITES + 1 + seconds), "{commands:?}");
        let pages = commands.get("evalsha_ro").copied().unwrap_or_default();
        assert!(pages <= 2 * (WRITES + seconds), "{commands:?}");
        // The servers renew their leases meanwhile, with two of these commands for each renewal.
        let renewals = commands.get("hkeys").copied().unwrap_or_default() / 2;
        scripts.push((commands["evalsha"] - renewals, commands["xadd"]));
    }
    assert_eq!(scripts, [(WRITES, WRITES); 2]);
    drop(readers);
    shut_down(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_clients_that_come_back_cost_redis_a_bounded_number_of_reads() {
    let redis = RedisServer::start(&["--save", ""]);
    let server = start(on_redis(Server::builder(), redis.port, 1)).await;
    let mut first = Socket::runtime(&server).await;
    let (epoch, offset) = position(&first.get("/todo").await);
    for n in 0..50 {
        post(&server, "/todo", &format!("\"{n}\""), &json!({ "n": n })).await;
    }
    let mut clients = join_all((0..1_000).map(|_| Socket::runtime(&server))).await;
    redis.command(&["CONFIG", "RESETSTAT"]);
    let begin = Instant::now();
    let resumes = clients.iter_mut().enumerate().map(async |(n, client)| {
        let at = offset + n as u64 % 10;
        let missed = client.ask(json!(["resume", [["todo", epoch, at]]])).await;
        assert_eq!(missed[0][3].as_array().unwrap().len() as u64, offset + 50 - at, "{missed}");
    });
    join_all(resumes).await;
    let (commands, seconds) = (commands(&redis), begin.elapsed().as_secs() + 1);
    // The cached end of the log is used for a second, and its changes as long as some client needs
    // them.
    assert!(commands["evalsha"] <= 20 * seconds, "{seconds} s: {commands:?}");
    drop((first, clients));
    server.shutdown().await;
}
