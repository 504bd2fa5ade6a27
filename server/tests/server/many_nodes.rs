//! Several servers that share a Redis server.

mod back_pressure;
mod costs;
mod counts;
mod failover;
mod faults;
mod live_list;
mod new_members;
mod node_process;
mod proxy;
mod random_writes;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use backwire::Server;
use backwire::engine::Window;
use backwire::model::{Attribute, Model};
use backwire::server::Builder;
use backwire::settings::{Flake, Store};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::access::{notes, signed_in, with_sign_in};
use crate::client::{Socket, position, refusal, start};
use crate::deliveries::PushService;
use crate::redis_server::RedisServer;
use faults::{health, wait_for_health};
use proxy::Proxy;

/// Everything that Redis has replied to is on the disk.
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// The longest time until servers notice that Redis is back.
const RECOVERY: Duration = Duration::from_secs(20);

fn on_redis(builder: Builder, port: u16, worker: u8) -> Builder {
    let store: Store = format!("redis://127.0.0.1:{port}").parse().unwrap();
    builder.port(0).store(store).flake(Flake { worker, ..Flake::default() })
}

/// Starts two servers on one Redis.
async fn two(redis: &RedisServer, configure: impl Fn(Builder) -> Builder) -> (Server, Server) {
    let begin =
        async |worker| start(configure(on_redis(Server::builder(), redis.port, worker))).await;
    (begin(1).await, begin(2).await)
}

async fn shut_down(servers: (Server, Server)) {
    servers.0.shutdown().await;
    servers.1.shutdown().await;
}

async fn post(server: &Server, path: &str, key: &str, body: &Value) -> Response {
    let url = format!("http://{}{path}", server.addr());
    Client::new().post(url).header("idempotency-key", key).json(body).send().await.unwrap()
}

/// Receives the next push that is not older than what a client has read. The server of a reader may
/// receive a change later than the reader has read it.
async fn push_after(socket: &mut Socket, offset: u64) -> Value {
    loop {
        let push = socket.event().await;
        if push[3].as_u64() >= Some(offset) {
            return push;
        }
    }
}

#[tokio::test]
async fn write_at_one_server_is_pushed_by_the_other() {
    let redis = RedisServer::start(&[]);
    let servers = two(&redis, |builder| builder).await;
    let mut writer = Socket::runtime(&servers.0).await;
    let mut reader = Socket::runtime(&servers.1).await;
    let mut stock = Socket::stock(&servers.1).await;
    reader.get("/todo").await;
    stock.get("/todo").await;
    let created = writer.post("/todo", json!({ "title": "Milk" })).await["body"].clone();
    let push = reader.event().await;
    assert_eq!((&push[1], &push[4][0][3]), (&json!("todo"), &created));
    assert_eq!(stock.event().await[1]["data"], created);
    shut_down(servers).await;
}

#[tokio::test]
async fn client_resumes_at_another_server() {
    let redis = RedisServer::start(&[]);
    let servers = two(&redis, |builder| builder).await;
    let mut writer = Socket::runtime(&servers.0).await;
    let mut reader = Socket::runtime(&servers.1).await;
    writer.post("/todo", json!({})).await;
    let (epoch, offset) = position(&reader.get("/todo").await);
    drop(reader);
    writer.post("/todo", json!({})).await;
    let mut reader = Socket::runtime(&servers.0).await;
    let missed = reader.ask(json!(["resume", [["todo", epoch, offset]]])).await;
    assert_eq!(missed[0][3].as_array().unwrap().len(), 1, "{missed}");
    writer.post("/todo", json!({})).await;
    assert_eq!(reader.event().await[3], offset + 1);
    shut_down(servers).await;
}

#[tokio::test]
async fn write_that_is_repeated_at_another_server_is_done_once() {
    let redis = RedisServer::start(&[]);
    let servers = two(&redis, |builder| builder).await;
    let todo = json!({ "title": "Milk" });
    let mut ids = Vec::new();
    for server in [&servers.0, &servers.1] {
        let created = post(server, "/todo", "\"k\"", &todo).await;
        assert_eq!(created.status(), 201);
        ids.push(created.json::<Value>().await.unwrap()["id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    let all = Socket::runtime(&servers.1).await.get("/todo").await;
    assert_eq!(all["body"].as_array().unwrap().len(), 1);
    shut_down(servers).await;
}

#[tokio::test]
async fn clients_of_a_server_that_missed_changes_resume_or_reconnect() {
    let redis = RedisServer::start(&[]);
    let proxy = Proxy::start(redis.port).await;
    let window = || Window { count: 3, age: Duration::from_secs(3600), ..Window::default() };
    let one = start(on_redis(Server::builder(), redis.port, 1).window(window())).await;
    let two = start(on_redis(Server::builder(), proxy.port, 2).window(window())).await;
    let mut writer = Socket::runtime(&one).await;
    writer.post("/todo", json!({ "n": 1 })).await;
    let (mut all, mut some) = (Socket::runtime(&two).await, Socket::runtime(&two).await);
    let mut stock = Socket::stock(&two).await;
    let (epoch, offset) = position(&all.get("/todo").await);
    let read = some.get("/todo?n=1").await;
    let room = read["headers"]["backwire-room"].clone();
    stock.get("/todo").await;
    proxy.close();
    for n in [1, 2] {
        for _ in 0..20 {
            writer.post("/todo", json!({ "n": n })).await;
        }
    }
    proxy.open();
    // The position in the pushes is not that of the clients, so they notice that they are behind.
    let behind = push_after(&mut all, offset).await;
    assert!(behind[1] == "todo" && behind[3].as_u64() > Some(offset), "{behind}");
    let behind = push_after(&mut some, offset).await;
    assert!(behind[1] == room && behind[3].as_u64() > Some(offset), "{behind}");
    stock.wait_for_close().await;
    let missed = some.ask(json!(["resume", [[room, epoch, offset]]])).await;
    assert_eq!(missed, json!([[room, null]]));
    shut_down((one, two)).await;
}

#[tokio::test]
async fn room_of_a_collection_is_invalid_after_its_server_missed_changes_of_the_pairs() {
    let redis = RedisServer::start(&[]);
    let proxy = Proxy::start(redis.port).await;
    let declare = |builder: Builder| {
        let window = Window { count: 3, age: Duration::from_secs(3600), ..Window::default() };
        let teams = Attribute { dominant: true, ..Attribute::collection("team", "members") };
        let user = Model::default().attribute("teams", teams);
        let members = Attribute::collection("user", "teams");
        let team = Model::default().attribute("members", members);
        builder.window(window).resource("user", user).unwrap().resource("team", team).unwrap()
    };
    let one = start(declare(on_redis(Server::builder(), redis.port, 1))).await;
    let two = start(declare(on_redis(Server::builder(), proxy.port, 2))).await;
    let mut writer = Socket::runtime(&one).await;
    for path in ["/user", "/user", "/team"] {
        writer.post(path, json!({})).await;
    }
    let mut reader = Socket::runtime(&two).await;
    let read = reader.get("/user/1/teams").await;
    let room = read["headers"]["backwire-room"].clone();
    assert!(room.is_string(), "{read}");
    proxy.close();
    // The log of the pairs keeps only changes of the other user.
    writer.put("/user/1/teams/1", Value::Null).await;
    for _ in 0..10 {
        writer.put("/user/2/teams/1", Value::Null).await;
        writer.delete("/user/2/teams/1").await;
    }
    proxy.open();
    while reader.event().await[1] != room {}
    shut_down((one, two)).await;
}

#[tokio::test]
async fn message_reaches_a_device_at_another_server_in_order_and_once() {
    let redis = RedisServer::start(&[]);
    let service = async |worker| {
        PushService::build(|_| {}, |builder| on_redis(builder, redis.port, worker)).await
    };
    let (one, two) = (service(1).await, service(2).await);
    let mut ann = two.connect("user_1+staff").await;
    for number in 0..30 {
        let sender = if number % 3 == 0 { &two } else { &one };
        let rooms = if number % 5 == 0 { json!(["user_1", "staff"]) } else { json!("user_1") };
        sender.send(rooms, "news", number).await;
    }
    for number in 0..30 {
        assert_eq!(ann.take().await, json!(["news", number]));
    }
    one.send(json!(["staff"]), "lunch", 1).await;
    assert_eq!(ann.next().await, (None, json!(["lunch", 1])));
    // A message that was acked at one server is not sent by the other.
    ann.leave(&one, "user_1").await;
    two.send(json!("user_1"), "later", 1).await;
    let mut ann = one.connect("user_1").await;
    assert_eq!(ann.take().await, json!(["batch", [["later", 1]]]));
    let message = json!({ "rooms": "user_1", "event": "keyed", "args": [1] });
    for service in [&two, &one] {
        assert_eq!(service.post("shop", Some("\"k\""), message.clone()).await.0, 200);
    }
    one.send(json!("user_1"), "fence", 2).await;
    assert_eq!(ann.take().await, json!(["keyed", 1]));
    assert_eq!(ann.take().await, json!(["fence", 2]));
    shut_down((one.server, two.server)).await;
}

#[tokio::test]
async fn messages_that_a_server_missed_are_read_from_the_queues() {
    let redis = RedisServer::start(&[]);
    let proxy = Proxy::start(redis.port).await;
    let service = async |port, worker| {
        PushService::build(|_| {}, |builder| on_redis(builder, port, worker)).await
    };
    let (one, two) = (service(redis.port, 1).await, service(proxy.port, 2).await);
    let mut ann = two.connect("user_1+staff").await;
    // When this message arrives, the queues have been read.
    two.send(json!("staff"), "hello", 0).await;
    assert_eq!(ann.next().await.1, json!(["hello", 0]));
    proxy.close();
    one.send(json!("user_1"), "news", 1).await;
    let others = vec![json!({ "rooms": "user_2", "event": "news" }); 1_000];
    for _ in 0..2 {
        assert_eq!(one.post("shop", None, others.clone().into()).await.0, 200);
    }
    one.send(json!("user_1"), "news", 2).await;
    proxy.open();
    for number in [1, 2] {
        assert_eq!(ann.take().await, json!(["news", number]));
    }
    one.send(json!("user_1"), "news", 3).await;
    assert_eq!(ann.take().await, json!(["news", 3]));
    shut_down((one.server, two.server)).await;
}

#[tokio::test]
async fn person_who_signs_in_and_out_at_one_server_does_so_at_all() {
    let redis = RedisServer::start(&[]);
    let servers =
        two(&redis, |builder| with_sign_in(builder).resource("note", notes()).unwrap()).await;
    let mut ann = signed_in(&servers.0, "ann", &[]).await;
    let mut socket = ann.runtime(&servers.1).await;
    let created = socket.post("/note", json!({ "text": "Milk" })).await;
    assert_eq!(created["statusCode"], 201, "{created}");
    let room = socket.get("/note").await["headers"]["backwire-room"].clone();
    ann.send(Method::DELETE, "/sign-in", None).await;
    let mut invalidated = socket.event().await;
    while invalidated[2] != 0 {
        invalidated = socket.event().await;
    }
    assert_eq!(invalidated[1], room);
    assert_eq!(refusal(&socket.get("/note").await)[0], 401);
    shut_down(servers).await;
}

#[tokio::test]
async fn revocation_at_one_server_ends_the_connections_of_all() {
    let redis = RedisServer::start(&[]);
    let service = async |worker| {
        PushService::build(|_| {}, |builder| on_redis(builder, redis.port, worker)).await
    };
    let (one, two) = (service(1).await, service(2).await);
    for (body, meant, other_room) in [
        (json!({ "user": "1" }), "user_1", "user_2"),
        (json!({ "session": "user_3" }), "user_3", "user_4"),
    ] {
        let (mut meant, mut other) = (two.connect(meant).await, two.connect(other_room).await);
        let url = format!("http://{}/revoke?site=shop&apiKey=54321", one.server.addr());
        let answer = Client::new().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        // Those of the other server are counted, too.
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "connections": 1 }));
        meant.socket.wait_for_close().await;
        one.send(json!(other_room), "still", 1).await;
        assert_eq!(other.take().await, json!(["still", 1]));
    }
    shut_down((one.server, two.server)).await;
}

#[tokio::test]
async fn messages_of_handlers_reach_the_clients_of_all_servers_once() {
    let redis = RedisServer::start(&[]);
    let listen = async |cx: backwire::Context| {
        cx.listen("lobby");
        let pubsub = cx.pubsub("todo")?;
        pubsub.subscribe(cx.client());
        pubsub.subscribe_to(cx.client(), [7])
    };
    let (one, two) =
        two(&redis, |builder| builder.route("/listen", axum::routing::post(listen))).await;
    let (mut here, mut there) = (Socket::stock(&one).await, Socket::stock(&two).await);
    for socket in [&mut here, &mut there] {
        socket.post("/listen", json!({})).await;
    }
    let publisher = one.publisher();
    publisher.broadcast("lobby", "message", &json!(1), None).unwrap();
    let todos = publisher.pubsub("todo").unwrap();
    todos.publish(&json!(2), None).unwrap();
    todos.publish_to([7], &json!(3), None).unwrap();
    todos.publish_update(7, json!({ "n": 4 }), None).await.unwrap();
    for socket in [&mut here, &mut there] {
        // Nothing orders announcements with each other, and each arrives once.
        let mut received = Vec::new();
        for _ in 0..4 {
            received.push(socket.event().await[1].to_string());
        }
        received.sort();
        assert_eq!(received[..3], ["1", "2", "3"], "{received:?}");
        assert!(received[3].contains("\"n\":4"), "{received:?}");
    }
    shut_down((one, two)).await;
}

#[tokio::test]
async fn stock_clients_of_a_drained_server_are_disconnected_one_after_the_other() {
    const CLIENTS: u32 = 15;
    /// The time between the ends of few connections.
    const PAUSE: Duration = Duration::from_millis(100);
    let redis = RedisServer::start(&[]);
    let (one, two) = two(&redis, |builder| builder).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = Socket::stock(&two).await;
        clients.spawn(async move {
            client.wait_for_close().await;
            Instant::now()
        });
    }
    let begin = Instant::now();
    two.shutdown().await;
    let mut ends = clients.join_all().await;
    ends.sort_unstable();
    for (end, number) in ends.iter().zip(0..) {
        assert!(*end - begin >= PAUSE * number, "{number}: {:?}", *end - begin);
    }
    one.shutdown().await;
}

/// Waits until servers have tried this often to reach Redis, which does not run. Each attempt
/// fails.
async fn fail_attempts(port: u16, count: usize) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    for _ in 0..count {
        drop(timeout(RECOVERY, listener.accept()).await.expect("they try again").unwrap());
    }
}

#[tokio::test]
async fn servers_keep_their_clients_while_redis_is_away() {
    let mut redis = RedisServer::start(DURABLE);
    let servers = two(&redis, |builder| builder).await;
    let mut writer = Socket::runtime(&servers.0).await;
    let mut reader = Socket::runtime(&servers.1).await;
    writer.post("/todo", json!({ "title": "Milk" })).await;
    let (epoch, offset) = position(&reader.get("/todo").await);
    redis.stop();
    let refused = post(&servers.0, "/todo", "\"k\"", &json!({ "title": "Bread" })).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let addrs = [servers.0.addr(), servers.1.addr()];
    assert_eq!((health(addrs[0]).await, health(addrs[1]).await), (503, 503));
    fail_attempts(redis.port, 20).await;
    redis.restart();
    wait_for_health(&addrs, 200).await;
    let created = post(&servers.0, "/todo", "\"k\"", &json!({ "title": "Bread" })).await;
    assert_eq!(created.status(), 201);
    // The clients are still connected, and the position of before is still known.
    let push = push_after(&mut reader, offset).await;
    assert_eq!((&push[1], &push[3]), (&json!("todo"), &json!(offset)), "{push}");
    let missed = reader.ask(json!(["resume", [["todo", epoch, offset]]])).await;
    assert_eq!(missed[0][3].as_array().unwrap().len(), 1, "{missed}");
    let all = writer.get("/todo").await;
    assert_eq!(all["body"].as_array().unwrap().len(), 2);
    shut_down(servers).await;
}
