//! A Redis Cluster of three masters.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backwire_engine::{RedisOptions, Window};

use crate::polling::poll_blocking;
use crate::redis::commit_when_possible;
use crate::redis_server::{RedisServer, free_port, unused_prefix};
use crate::store::{Store, milk, redis_with};

/// The longest time until the nodes know each other.
const START: Duration = Duration::from_secs(30);

/// The slots of each master.
const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];

/// Starts three masters, and waits until they are a cluster.
fn cluster() -> [RedisServer; 3] {
    let nodes = SLOTS.map(|slots| {
        let bus = free_port().to_string();
        let options = ["--save", "", "--cluster-enabled", "yes", "--cluster-port", &bus];
        let options = [&options[..], &["--cluster-require-full-coverage", "no"]].concat();
        let node = RedisServer::start(&options);
        node.command(&["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        (node, bus)
    });
    for (node, bus) in &nodes[1..] {
        let port = node.port.to_string();
        nodes[0].0.command(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
    }
    let knows_all = |node: &RedisServer| {
        let info = node.command(&["CLUSTER", "INFO"]);
        info.contains("cluster_slots_assigned:16384") && info.contains("cluster_state:ok")
    };
    poll_blocking("the nodes are a cluster", START, || {
        nodes.iter().all(|(node, _)| knows_all(node)).then_some(())
    });
    nodes.map(|(node, _)| node)
}

/// Opens a store at any node of the cluster that all tests of the process share.
pub(crate) fn open(window: Window, capacity: usize) -> Store {
    static CLUSTER: OnceLock<[RedisServer; 3]> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let nodes = CLUSTER.get_or_init(cluster);
    let node = NEXT.fetch_add(1, Ordering::Relaxed) % nodes.len();
    redis_with(options_at(&nodes[node]), window, capacity)
}

fn options_at(node: &RedisServer) -> RedisOptions {
    let mut options = RedisOptions::new(node.url());
    options.prefix = unused_prefix();
    options.deadline = Duration::from_secs(20);
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn store_needs_the_configured_node_of_a_cluster_only_at_the_start() {
    let [mut first, second, third] = cluster();
    // The last node has the keys.
    let store = redis_with(options_at(&first), Window::default(), 1024);
    store.apply(milk()).await;
    first.stop();
    for node in [&second, &third] {
        node.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    assert_eq!(commit_when_possible(&store, milk()).await.position.offset, 2);
}
