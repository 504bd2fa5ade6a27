//! Faults of Redis, of the network and of servers: clients stay connected, every request is
//! answered in time, and afterwards everything is current without a restart. The results are
//! compared with the writes that were accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backwire::Server;
use backwire::engine::{Engine, Redis, RedisOptions, Window};
use backwire::server::Builder;
use backwire::settings::Flake;
use futures_util::future::join_all;
use rand::Rng;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::live_list::LiveList;
use super::node_process::{NodeProcess, serve_if_child, signal};
use super::proxy::Proxy;
use super::random_writes::{RandomWrites, send};
use super::{DURABLE, RECOVERY, on_redis};
use crate::client::{position, start};
use crate::deliveries::{DeviceConnection, PushService};
use crate::limits_reached::CapturedLog;
use crate::polling::poll;
use crate::redis_server::RedisServer;

/// How long one command may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// Makes a server wait at most that long for a command of Redis.
fn with_short_deadline(builder: Builder, url: String, worker: u8) -> Builder {
    let open = move |tail| {
        let mut options = RedisOptions::new(url);
        options.deadline = DEADLINE;
        let opening = Redis::open(options, Window::default(), tail);
        Ok(Arc::new(Handle::current().block_on(opening)?) as Arc<dyn Engine>)
    };
    builder.engine(open).flake(Flake { worker, ..Flake::default() })
}

/// Two servers, a client with a list at each, and the device of a person at the second one.
pub(super) struct Cluster {
    services: [PushService; 2],
    pub(super) lists: [LiveList; 2],
    person: &'static str,
    device: DeviceConnection,
}

impl Cluster {
    /// Starts servers that reach Redis by these ports.
    async fn start(ports: [u16; 2]) -> Self {
        Self::at(ports.map(|port| format!("redis://127.0.0.1:{port}"))).await
    }

    /// Starts servers that reach Redis by these addresses.
    pub(super) async fn at(urls: [String; 2]) -> Self {
        let service = async |url: &String, worker| {
            let configure = |builder| with_short_deadline(builder, url.clone(), worker);
            PushService::build(|_| {}, configure).await
        };
        let services = [service(&urls[0], 1).await, service(&urls[1], 2).await];
        let [one, two] = services.each_ref().map(|service| service.server.addr());
        let lists = [LiveList::open(one).await, LiveList::open(two).await];
        let device = services[1].connect("user_ann").await;
        Self { services, lists, person: "user_ann", device }
    }

    /// Makes writes that a replica gets as well. Returns the epoch of their positions.
    pub(super) async fn write_kept(&mut self, writes: &mut RandomWrites) -> u64 {
        let count = writes.random.random_range(5..40);
        writes.many(&self.addrs(), count).await;
        self.epoch().await
    }

    /// Makes writes that a replica misses, so that they will be lost.
    pub(super) async fn write_lost(&mut self, writes: &mut RandomWrites) {
        let (addrs, kept) = (self.addrs(), writes.expected.clone());
        let count = writes.random.random_range(1..40);
        writes.many(&addrs, count).await;
        let [one, two] = &mut self.lists;
        writes.check(&addrs, &mut [one, two]).await;
        writes.expected = kept;
        self.use_person("user_bob").await;
    }

    /// Checks that the epoch is new, and that everything is current without the lost writes.
    pub(super) async fn check_new_epoch(mut self, before: u64, writes: &mut RandomWrites) {
        assert_ne!(self.epoch().await, before);
        self.check(writes).await;
    }

    async fn epoch(&mut self) -> u64 {
        position(&self.lists[0].ask(json!(["get", { "url": "/todo" }])).await).0
    }

    /// Continues with the device of another person.
    async fn use_person(&mut self, person: &'static str) {
        self.person = person;
        self.device = self.services[1].connect(person).await;
    }

    pub(super) fn addrs(&self) -> [SocketAddr; 2] {
        self.services.each_ref().map(|service| service.server.addr())
    }

    /// Checks that everything is current, and that messages arrive at the device once.
    pub(super) async fn check(mut self, writes: &mut RandomWrites) {
        let addrs = self.addrs();
        wait_for_health(&addrs, 200).await;
        let [one, two] = &mut self.lists;
        writes.check(&addrs, &mut [one, two]).await;
        let ([first, second], person) = (&self.services, self.person);
        for (number, sender) in [(101, first), (102, second)] {
            sender.send(json!(person), "news", number).await;
            assert_eq!(self.device.take().await, json!(["news", number]));
        }
        // Messages that it has acked are not sent again.
        self.device.leave(first, person).await;
        let mut again = first.connect(person).await;
        second.send(json!(person), "fence", 0).await;
        assert_eq!(again.take().await, json!(["fence", 0]));
        drop((again, self.lists));
        for service in self.services {
            service.server.shutdown().await;
        }
    }
}

pub(super) async fn health(server: SocketAddr) -> u16 {
    reqwest::get(format!("http://{server}/health")).await.unwrap().status().as_u16()
}

/// Waits until `GET /health` of servers has this status. A success is cached for a second.
pub(super) async fn wait_for_health(servers: &[SocketAddr], status: u16) {
    for server in servers {
        let is_so = async || (health(*server).await == status).then_some(());
        poll(&format!("the health of {server} is {status}"), RECOVERY, is_so).await;
    }
}

/// Returns the metrics of a server whose names begin with this.
async fn metrics(server: SocketAddr, name: &str) -> Vec<String> {
    let text = reqwest::get(format!("http://{server}/metrics")).await.unwrap().text().await;
    let text = text.unwrap();
    text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

async fn create(server: SocketAddr) -> Response {
    let record = json!({ "id": "refused" });
    send(server, Method::POST, "/todo", "\"refused\"", &record).await.unwrap()
}

/// Checks that a server refuses writes, and says when to try again.
pub(super) async fn assert_unavailable(server: SocketAddr) {
    let refused = create(server).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    wait_for_health(&[server], 503).await;
}

/// Returns the number of the process of Redis.
fn process_of(redis: &RedisServer) -> u32 {
    info(redis, "process_id").unwrap().parse().unwrap()
}

/// Returns the value of a line of `INFO`.
fn info(redis: &RedisServer, name: &str) -> Option<String> {
    let info = redis.command(&["INFO"]);
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}

// Redis
// -----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_of_redis_loses_no_accepted_write_and_no_connection() {
    let mut redis = RedisServer::start(DURABLE);
    let cluster = Cluster::start([redis.port; 2]).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    writes.many(&addrs, 20).await;
    let restart = tokio::task::spawn_blocking(move || {
        redis.restart();
        redis
    });
    writes.many(&addrs, 40).await;
    let _redis = restart.await.unwrap();
    cluster.check(&mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_connected_while_redis_is_gone_and_become_current() {
    let mut redis = RedisServer::start(DURABLE);
    let mut cluster = Cluster::start([redis.port; 2]).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    writes.many(&addrs, 20).await;
    cluster.services[0].send(json!("user_ann"), "news", 1).await;
    let (ack, news) = cluster.device.next().await;
    assert_eq!(news, json!(["news", 1]));
    redis.stop();
    cluster.device.ack(ack).await;
    for (addr, list) in addrs.iter().zip(&mut cluster.lists) {
        assert_unavailable(*addr).await;
        let write = json!(["post", { "url": "/todo", "data": {} }]);
        let refused = list.ask(write).await;
        assert_eq!(refused["statusCode"], 503, "{refused}");
        assert_eq!(refused["headers"]["retry-after"], "1");
    }
    let message = json!({ "rooms": "user_ann", "event": "news" });
    assert_eq!(cluster.services[0].post("shop", None, message).await.0, 503);
    redis.restart();
    cluster.check(&mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_answered_in_time_while_redis_hangs() {
    let redis = RedisServer::start(DURABLE);
    let cluster = Cluster::start([redis.port; 2]).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    writes.many(&addrs, 20).await;
    let process = process_of(&redis);
    signal("STOP", process);
    // The first requests have a connection, and the others wait until there is another one.
    for _ in 0..2 {
        let begin = Instant::now();
        let requests = (0..120).map(async |number: usize| match number % 3 {
            0 => create(addrs[number % 2]).await.status().as_u16(),
            1 => health(addrs[number % 2]).await,
            _ => {
                let url = format!("http://{}/todo/{number}", addrs[number % 2]);
                reqwest::get(url).await.unwrap().status().as_u16()
            }
        });
        assert_eq!(join_all(requests).await, [503; 120]);
        // A check of the health takes up to 4 seconds, and a request may come during another one.
        assert!(begin.elapsed() < 10 * DEADLINE, "{:?}", begin.elapsed());
    }
    signal("CONT", process);
    cluster.check(&mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_that_loses_writes_begins_a_new_epoch_and_clients_read_again() {
    let mut master = RedisServer::start(&[DURABLE, &["--repl-diskless-sync-delay", "0"]].concat());
    let port = master.port.to_string();
    let replica = RedisServer::start(&[DURABLE, &["--replicaof", "127.0.0.1", &port]].concat());
    let proxy = Proxy::start(master.port).await;
    let mut cluster = Cluster::start([proxy.port; 2]).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    let before = cluster.write_kept(&mut writes).await;
    let is_current = async || {
        let offset = info(&replica, "slave_repl_offset");
        (offset == info(&master, "master_repl_offset")).then_some(())
    };
    poll("the replica is current", RECOVERY, is_current).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    cluster.write_lost(&mut writes).await;
    proxy.close();
    master.stop();
    assert_unavailable(addrs[0]).await;
    proxy.set_target_port(replica.port);
    proxy.open();
    wait_for_health(&addrs, 200).await;
    cluster.check_new_epoch(before, &mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_redis_delays_writes_and_too_slow_redis_refuses_them() {
    let redis = RedisServer::start(DURABLE);
    let proxy = Proxy::start(redis.port).await;
    let cluster = Cluster::start([proxy.port; 2]).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    proxy.delay(Duration::from_millis(writes.random.random_range(5..60)));
    writes.many(&addrs, 10).await;
    proxy.delay(2 * DEADLINE);
    let begin = Instant::now();
    assert_unavailable(addrs[0]).await;
    assert!(begin.elapsed() < 8 * DEADLINE, "{:?}", begin.elapsed());
    proxy.open();
    cluster.check(&mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_memory_of_redis_refuses_writes_and_keeps_reads_deletes_and_connections() {
    let redis = RedisServer::start(&["--save", "", "--maxmemory-policy", "noeviction"]);
    let mut cluster = Cluster::start([redis.port; 2]).await;
    let (addrs, mut writes) = (cluster.addrs(), RandomWrites::begin());
    writes.many(&addrs, 20).await;
    let extra = json!({ "id": "extra" });
    let created = send(addrs[0], Method::POST, "/todo", "\"extra\"", &extra).await.unwrap();
    assert_eq!(created.status(), 201);
    cluster.services[0].send(json!("user_ann"), "news", 1).await;
    let (ack, _) = cluster.device.next().await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_unavailable(addrs[0]).await;
    assert_unavailable(addrs[1]).await;
    let message = json!({ "rooms": "user_ann", "event": "news" });
    assert_eq!(cluster.services[0].post("shop", None, message).await.0, 503);
    let read = reqwest::get(format!("http://{}/todo/extra", addrs[1])).await.unwrap();
    assert_eq!(read.status(), 200);
    let delete = send(addrs[1], Method::DELETE, "/todo/extra", "\"delete\"", &Value::Null);
    assert_eq!(delete.await.unwrap().status(), 200);
    cluster.device.ack(ack).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    cluster.check(&mut writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_show_whether_redis_is_connected_and_nothing_of_other_engines() {
    let mut redis = RedisServer::start(DURABLE);
    let server = start(on_redis(Server::builder(), redis.port, 1)).await;
    let addr = server.addr();
    let wait_for = async |value: &str| {
        let is_so =
            async || (metrics(addr, "backwire_redis_connected").await == [value]).then_some(());
        poll(&format!("the metric is {value}"), RECOVERY, is_so).await;
    };
    wait_for("backwire_redis_connected 1").await;
    for name in ["backwire_wal_bytes", "backwire_disk_full"] {
        assert_eq!(metrics(addr, name).await, Vec::<String>::new());
    }
    assert_eq!(metrics(addr, "backwire_unread_bytes").await.len(), 1);
    redis.stop();
    wait_for("backwire_redis_connected 0").await;
    redis.restart();
    wait_for("backwire_redis_connected 1").await;
    server.shutdown().await;
}

#[tokio::test]
async fn redis_that_evicts_records_is_a_warning_at_the_start() {
    for (policy, warns) in [("allkeys-lru", true), ("noeviction", false)] {
        let redis = RedisServer::start(&["--save", "", "--maxmemory-policy", policy]);
        let log = CapturedLog::start();
        let server = start(on_redis(Server::builder(), redis.port, 1)).await;
        let warning = "(maxmemory-policy: allkeys-lru), including records of";
        assert_eq!(log.text().contains(warning), warns, "{}", log.text());
        server.shutdown().await;
    }
}

// The network
// -----------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_a_way_to_redis_refuses_writes_and_is_current_afterwards() {
    let redis = RedisServer::start(DURABLE);
    for cut in [Proxy::close, Proxy::silence] {
        let proxy = Proxy::start(redis.port).await;
        let cluster = Cluster::start([redis.port, proxy.port]).await;
        let ([one, two], mut writes) = (cluster.addrs(), RandomWrites::begin());
        writes.many(&[one, two], 10).await;
        cut(&proxy);
        assert_unavailable(two).await;
        writes.many(&[one], 10).await;
        assert_eq!((health(one).await, health(two).await), (200, 503));
        proxy.open();
        cluster.check(&mut writes).await;
        redis.command(&["FLUSHALL"]);
    }
}

// Servers
// -------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_paused_server_are_current_when_it_continues() {
    const LOG_COUNT: u64 = 30;
    serve_if_child().await;
    let redis = RedisServer::start(DURABLE);
    let window = Window { count: LOG_COUNT, ..Window::default() };
    let server = start(on_redis(Server::builder(), redis.port, 1).window(window)).await;
    let test = "many_nodes::faults::clients_of_a_paused_server_are_current_when_it_continues";
    let paused = NodeProcess::start(test, redis.port, 2, LOG_COUNT);
    let mut writes = RandomWrites::begin();
    let servers = [server.addr(), paused.addr];
    let mut list = LiveList::open(paused.addr).await;
    // First the log has all that the server misses, and then it has not.
    for count in [LOG_COUNT / 2, 3 * LOG_COUNT] {
        writes.many(&servers, 5).await;
        paused.pause();
        writes.many(&servers[..1], count).await;
        paused.resume();
        writes.check(&servers, &mut [&mut list]).await;
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_server_go_on_at_another_one() {
    serve_if_child().await;
    let redis = RedisServer::start(DURABLE);
    let server = start(on_redis(Server::builder(), redis.port, 1)).await;
    let test = "many_nodes::faults::clients_of_a_killed_server_go_on_at_another_one";
    let mut killed = NodeProcess::start(test, redis.port, 2, 1_000);
    let servers = [server.addr(), killed.addr];
    let mut writes = RandomWrites::begin();
    let mut list = LiveList::open(killed.addr).await;
    writes.many(&servers, 20).await;
    let kill = tokio::task::spawn_blocking(move || killed.kill());
    writes.many(&servers, 20).await;
    kill.await.unwrap();
    list.reconnect(server.addr()).await;
    writes.check(&servers[..1], &mut [&mut list]).await;
    server.shutdown().await;
}
