//! Failovers that Redis does by itself: by sentinels, and in a Redis Cluster. The replica misses
//! the last writes, which are lost.

use super::faults::{Cluster, assert_unavailable, wait_for_health};
use super::random_writes::RandomWrites;
use super::{DURABLE, RECOVERY};
use crate::polling::{poll, poll_blocking};
use crate::redis_server::{RedisServer, free_port};

const PASSWORD: Option<&str> = Some("secret");

/// The options of all servers.
const OPTIONS: &[&str] =
    &["--requirepass", "secret", "--masterauth", "secret", "--repl-diskless-sync-delay", "0"];

/// How long a master is not reachable before its replica replaces it, in milliseconds.
const DOWN_AFTER: &str = "1000";

/// Waits until a condition is true.
fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    poll_blocking(what, 2 * RECOVERY, || is_true().then_some(()));
}

fn info(redis: &RedisServer, name: &str) -> Option<String> {
    let info = redis.command_as(PASSWORD, &["INFO", "replication"]);
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}

/// Writes, ends the replication, writes more, and kills the master. Afterwards everything has to be
/// as at the end of the replication, and current.
async fn fail_over(mut master: RedisServer, replica: &RedisServer, urls: [String; 2]) {
    let mut cluster = Cluster::at(urls).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    let before = cluster.write_kept(&mut writes).await;
    wait_until("the replica is current", || {
        info(replica, "slave_repl_offset").is_some()
            && info(replica, "slave_repl_offset") == info(&master, "master_repl_offset")
    });
    replica.command_as(PASSWORD, &["CONFIG", "SET", "masterauth", "wrong"]);
    master.command_as(PASSWORD, &["CLIENT", "KILL", "TYPE", "replica"]);
    wait_until("the replica is not connected", || {
        info(replica, "master_link_status").as_deref() == Some("down")
    });
    cluster.write_lost(&mut writes).await;
    tokio::task::block_in_place(|| master.stop());
    assert_unavailable(addrs[0]).await;
    // A failover takes a few seconds.
    let is_master = async || (info(replica, "role").as_deref() == Some("master")).then_some(());
    poll("the replica is the master", 2 * RECOVERY, is_master).await;
    wait_for_health(&addrs, 200).await;
    cluster.check_new_epoch(before, &mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_by_sentinels_needs_no_restart_and_clients_read_again() {
    let master = RedisServer::start(&[DURABLE, OPTIONS].concat());
    let port = master.port.to_string();
    let follow = ["--replicaof", "127.0.0.1", &port];
    let replica = RedisServer::start(&[DURABLE, OPTIONS, &follow].concat());
    let lines = format!(
        "sentinel monitor main 127.0.0.1 {port} 2\n\
         sentinel auth-pass main secret\n\
         sentinel down-after-milliseconds main {DOWN_AFTER}\n\
         sentinel failover-timeout main 10000\n"
    );
    let sentinels = [(); 3].map(|()| RedisServer::start_sentinel(&lines));
    wait_until("the sentinels do not know each other", || {
        sentinels.iter().all(|sentinel| {
            let master = sentinel.command(&["SENTINEL", "MASTER", "main"]);
            let number_of = |name: &str| {
                let mut lines = master.lines().skip_while(|line| *line != name);
                lines.nth(2).map(str::to_owned)
            };
            number_of("num-slaves").as_deref() == Some("1")
                && number_of("num-other-sentinels").as_deref() == Some("2")
        })
    });
    let ports = sentinels.each_ref().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
    let url = format!("redis+sentinel://:secret@{}/main", ports.join(","));
    fail_over(master, &replica, [url.clone(), url]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_in_a_cluster_needs_no_restart_and_clients_read_again() {
    let start = |slots: Option<[&str; 2]>| {
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let more = ["--cluster-node-timeout", DOWN_AFTER, "--cluster-replica-validity-factor", "0"];
        let node = RedisServer::start(&[DURABLE, OPTIONS, &options, &more].concat());
        if let Some(slots) = slots {
            node.command_as(PASSWORD, &["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]);
        }
        (node, bus)
    };
    let slots = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
    let [one, two, three] = slots.map(|slots| start(Some(slots)));
    let replica = start(None);
    for (node, bus) in [&two, &three, &replica] {
        let port = node.port.to_string();
        one.0.command_as(PASSWORD, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
    }
    let nodes = [&one.0, &two.0, &three.0, &replica.0];
    wait_until("the nodes do not become a cluster", || {
        nodes.iter().all(|node| {
            let info = node.command_as(PASSWORD, &["CLUSTER", "INFO"]);
            info.contains("cluster_known_nodes:4")
                && info.contains("cluster_slots_assigned:16384")
                && info.contains("cluster_state:ok")
        })
    });
    // The last master has the keys, whose hash tag is `{main}`.
    let id = three.0.command_as(PASSWORD, &["CLUSTER", "MYID"]);
    let id = id.lines().nth(1).unwrap();
    replica.0.command_as(PASSWORD, &["CLUSTER", "REPLICATE", id]);
    wait_until("the replica does not follow", || {
        info(&replica.0, "master_link_status").as_deref() == Some("up")
    });
    // One server knows the master that is killed, and the other one an other master.
    let urls = [three.0.port, one.0.port].map(|port| format!("redis://:secret@127.0.0.1:{port}"));
    fail_over(three.0, &replica.0, urls).await;
}
