//! The limit of pushes that are not sent yet, while clients come and go: changes of a resource that
//! nobody follows are left out, and never count as pushes that are to be sent.

use std::time::Duration;

use backwire::Server;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::on_redis;
use crate::client::{Socket, start};
use crate::polling::poll;
use crate::redis_server::RedisServer;

/// Stock clients, which get a packet for each change.
const CLIENTS: usize = 40;

/// As many writes would claim more packets than there may be, if none of them were released: half
/// of 32,768 for one client.
const WRITES: usize = 16_384 / CLIENTS + 100;

/// The longest time for all writes.
const TIMEOUT: Duration = Duration::from_secs(60);

async fn connect(server: &Server) -> Vec<Socket> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Socket::stock(server).await;
        client.get("/todo").await;
        clients.push(client);
    }
    clients
}

async fn write(server: &Server, count: usize) {
    let mut writer = Socket::runtime(server).await;
    for n in 0..count {
        let answer = writer.post("/todo", json!({ "n": n })).await;
        assert_eq!(answer["statusCode"], 201, "{answer}");
    }
}

async fn wait_until_nobody_follows(server: &Server) {
    let todos = server.publisher().pubsub("todo").unwrap();
    let is_empty = async || todos.class_subscribers().is_empty().then_some(());
    poll("nobody follows", TIMEOUT, is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_when_the_clients_that_slowed_them_have_left() {
    let redis = RedisServer::start(&["--save", ""]);
    let server = start(on_redis(Server::builder(), redis.port, 1)).await;
    let test = async {
        let mut clients = connect(&server).await;
        // From now on, a change is known to cost many packets.
        write(&server, 3).await;
        for client in &mut clients {
            client.event().await;
        }
        drop(clients);
        wait_until_nobody_follows(&server).await;
        write(&server, WRITES).await;
        // And those that come back get the next change at once.
        let mut clients = connect(&server).await;
        let todos = server.publisher().pubsub("todo").unwrap();
        todos.publish(&json!("marker"), None).unwrap();
        write(&server, 1).await;
        for client in &mut clients {
            assert_eq!(client.event().await, json!(["todo", "marker"]));
            assert_eq!(client.event().await[1]["verb"], "created");
        }
    };
    timeout(TIMEOUT, test).await.expect("writes wait for pushes that are never sent");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_end_while_many_clients_come_and_go() {
    const ROUNDS: usize = 4;
    let redis = RedisServer::start(&["--save", ""]);
    let server = start(on_redis(Server::builder(), redis.port, 1)).await;
    let test = async {
        for _ in 0..ROUNDS {
            let clients = connect(&server).await;
            let writers = join_all((0..10).map(|_| write(&server, WRITES / 10 / ROUNDS)));
            let leave = async {
                for client in clients {
                    drop(client);
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::join!(writers, leave);
        }
        wait_until_nobody_follows(&server).await;
        write(&server, WRITES).await;
    };
    timeout(TIMEOUT, test).await.expect("writes wait for pushes that are never sent");
    server.shutdown().await;
}
