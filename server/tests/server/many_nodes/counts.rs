//! Counts of subscribers over all servers, and joins of the clients of all.

use std::time::Duration;

use backwire::Server;
use serde_json::json;

use super::live_list::LiveList;
use super::node_process::{NodeProcess, serve_if_child};
use super::{RECOVERY, on_redis, post, shut_down, two};
use crate::client::{Socket, start};
use crate::polling::poll;
use crate::redis_server::RedisServer;

#[tokio::test]
async fn counts_of_subscribers_are_those_of_all_servers() {
    let redis = RedisServer::start(&["--save", ""]);
    let servers = two(&redis, |builder| builder).await;
    post(&servers.0, "/todo", "\"1\"", &json!({ "id": 1 })).await;
    let (mut here, mut there) = (Socket::stock(&servers.0).await, Socket::stock(&servers.1).await);
    let mut ours = Socket::runtime(&servers.1).await;
    for socket in [&mut here, &mut there, &mut ours] {
        socket.get("/todo").await;
    }
    for (server, local) in [(&servers.0, 1), (&servers.1, 2)] {
        let todos = server.publisher().pubsub("todo").unwrap();
        let all = todos.count_class_subscribers().await.unwrap();
        assert_eq!((all.sockets, all.missing_servers), (3, 0));
        assert_eq!(todos.class_subscribers().len(), local);
        // Our runtime follows the whole resource and not the record.
        assert_eq!(todos.count_subscribers(1).await.unwrap().sockets, 2);
        assert_eq!(todos.count_subscribers(2).await.unwrap().sockets, 0);
    }
    shut_down(servers).await;
}

#[tokio::test]
async fn clients_of_all_servers_are_introduced_to_a_record() {
    let redis = RedisServer::start(&["--save", ""]);
    let servers = two(&redis, |builder| builder).await;
    let (mut here, mut there) = (Socket::stock(&servers.0).await, Socket::stock(&servers.1).await);
    for socket in [&mut here, &mut there] {
        socket.get("/todo").await;
    }
    let todos = servers.0.publisher().pubsub("todo").unwrap();
    todos.publish_update(7, json!({ "n": 1 }), None).await.unwrap();
    todos.introduce(7, None).await.unwrap();
    // When it returns, all have joined.
    assert_eq!(todos.count_subscribers(7).await.unwrap().sockets, 2);
    todos.publish_update(7, json!({ "n": 2 }), None).await.unwrap();
    for socket in [&mut here, &mut there] {
        assert_eq!(socket.event().await[1]["data"], json!({ "n": 2 }));
    }
    shut_down(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_server_are_not_counted_and_are_missing_until_its_lease_ends() {
    /// The lease of a server, and the time until the next count.
    const LEASE: Duration = Duration::from_secs(15);
    serve_if_child().await;
    let redis = RedisServer::start(&["--save", ""]);
    let server: Server = start(on_redis(Server::builder(), redis.port, 1)).await;
    let test = "many_nodes::counts::clients_of_a_killed_server_are_not_counted_and_are_missing_until_its_lease_ends";
    let mut killed = NodeProcess::start(test, redis.port, 2, 1_000);
    let list = LiveList::open(killed.addr).await;
    let todos = server.publisher().pubsub("todo").unwrap();
    let counted = todos.count_class_subscribers().await.unwrap();
    assert_eq!((counted.sockets, counted.missing_servers), (1, 0));
    killed.kill();
    let is_forgotten = async || {
        let counted = todos.count_class_subscribers().await.unwrap();
        assert_eq!(counted.sockets, 0);
        (counted.missing_servers == 0).then_some(())
    };
    poll("its lease has ended", LEASE.min(RECOVERY), is_forgotten).await;
    drop(list);
    server.shutdown().await;
}
