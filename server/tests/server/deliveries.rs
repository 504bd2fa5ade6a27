//! What back ends send to people at sites, and who gets it when.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use backwire::Server;
use backwire::access::Access;
use backwire::engine::Error;
use backwire::model::Model;
use backwire::server::Builder;
use backwire::settings::{Settings, Store};
use backwire::sites::{EventNames, Site, Sites};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{pause, sleep};

use crate::client::{Socket, builder, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// A back end that knows people by tokens like `user_1+staff`: these are their rooms.
pub(crate) async fn back_end() -> String {
    async fn rooms(headers: HeaderMap) -> Response {
        let said = headers["authorization"].to_str().unwrap();
        match said.strip_prefix("Bearer ") {
            Some("stranger") | None => StatusCode::UNAUTHORIZED.into_response(),
            Some("broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(token) => axum::Json(token.split('+').collect::<Vec<_>>()).into_response(),
        }
    }
    let app = Router::new().route("/rooms", get(rooms));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rooms", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    url
}

async fn site(change: impl FnOnce(&mut Site)) -> Site {
    let mut site = Site::new(back_end().await.parse().unwrap(), "54321".parse().unwrap());
    site.user_room_prefix = Some("user_".to_owned());
    change(&mut site);
    site
}

/// A server with the sites `shop` and `blog`.
struct House {
    server: Server,
    sites: Sites,
}

impl House {
    async fn open() -> Self {
        Self::with(|_| {}, Store::Memory).await
    }

    async fn with_resource(name: &str, model: Model) -> Self {
        let build = |builder: Builder| builder.store(Store::Memory).resource(name, model).unwrap();
        Self::built(|site| site.resources = true, build).await
    }

    async fn with(change: impl FnOnce(&mut Site), store: Store) -> Self {
        Self::built(change, |builder| builder.store(store)).await
    }

    async fn built(change: impl FnOnce(&mut Site), build: impl FnOnce(Builder) -> Builder) -> Self {
        let sites = Sites::default();
        let (shop, blog) = (site(change).await, site(|_| {}).await);
        sites.replace([("shop".parse().unwrap(), shop), ("blog".parse().unwrap(), blog)]);
        let settings = Settings { port: 0, sites: sites.clone(), ..Settings::default() };
        Self { server: start(build(builder().settings(settings))).await, sites }
    }

    async fn post(&self, query: &str, key: Option<&str>, message: Value) -> (u16, String) {
        let url = format!("http://{}/send?apiKey=54321&site={query}", self.server.addr());
        let mut request = Client::new().post(url).json(&message);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Sends an event with its number to somebody at the shop.
    async fn send(&self, rooms: Value, event: &str, number: usize) {
        let message = json!({ "rooms": rooms, "event": event, "args": [number] });
        assert_eq!(self.post("shop", None, message).await, (200, "OK".to_owned()));
    }

    async fn phone(&self, token: &str) -> Phone {
        let token = token.replace('+', "%2B");
        self.phone_at("shop", &format!("token={token}")).await.unwrap()
    }

    async fn phone_at(&self, site: &str, said: &str) -> Result<Phone, Value> {
        let query = format!("&{said}");
        let mut socket = Socket::unjoined(&self.server, &query).await;
        let start = format!("/{site},");
        socket.send(format!("40{start}")).await;
        let answer = socket.next_frame().await;
        match answer.strip_prefix(&format!("44{start}")) {
            Some(refusal) => Err(serde_json::from_str(refusal).unwrap()),
            None => Ok(Phone { socket, start }),
        }
    }
}

/// Somebody's connection to a site.
struct Phone {
    socket: Socket,
    start: String,
}

impl Phone {
    /// The next event: by which it is to be acked, if it is, and what it says.
    async fn next(&mut self) -> (Option<u64>, Value) {
        let frame = self.socket.next_frame().await;
        let said = frame.strip_prefix(&format!("42{}", self.start)).expect("it is an event");
        let list = said.find('[').unwrap();
        (said[..list].parse().ok(), serde_json::from_str(&said[list..]).unwrap())
    }

    /// The next event, which is acked.
    async fn take(&mut self) -> Value {
        let (ack, said) = self.next().await;
        self.ack(ack).await;
        said
    }

    async fn ack(&mut self, ack: Option<u64>) {
        let ack = ack.expect("it is to be acked");
        self.socket.send(format!("43{}{ack}[]", self.start)).await;
    }

    /// Leaves when the server has taken all that was sent: acks are taken in their order.
    async fn leave(mut self, house: &House, own: &str) {
        house.send(json!([own]), "bye", 0).await;
        loop {
            let (ack, said) = self.next().await;
            self.ack(ack).await;
            if said == json!(["bye", 0]) {
                break;
            }
        }
        self.socket.send(format!("41{}", self.start)).await;
        self.socket.send("1").await;
        self.socket.is_ended().await;
    }
}

/// With so many sites that to open them takes longer than to connect.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_as_soon_as_the_server_listens_finds_their_site() {
    let (sites, shop) = (Sites::default(), site(|_| {}).await);
    let others = (0..20_000).map(|number| format!("other-{number}"));
    let names = others.chain(["shop".to_owned()]).map(|name| name.parse().unwrap());
    sites.replace(names.map(|name| (name, shop.clone())));
    let settings =
        Settings { port: 0, store: Store::Memory, sites: sites.clone(), ..Settings::default() };
    let house = House { server: start(builder().settings(settings)).await, sites };
    house.phone("user_1").await;
}

#[tokio::test]
async fn who_is_there_is_told_at_once_and_acks_it_and_others_are_not_told() {
    let house = House::open().await;
    let (mut ann, mut bob) = (house.phone("user_1").await, house.phone("user_2").await);
    house.send(json!("user_1"), "update_store", 1).await;
    house.send(json!(["user_2"]), "hello", 2).await;
    assert_eq!(ann.take().await, json!(["update_store", 1]));
    assert_eq!(bob.take().await, json!(["hello", 2]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_a_room_of_many_is_told_is_not_acked_and_not_kept() {
    let house = House::open().await;
    let mut ann = house.phone("user_1+staff").await;
    house.send(json!(["staff"]), "lunch", 1).await;
    assert_eq!(ann.next().await, (None, json!(["lunch", 1])));
    house.send(json!(["user_1"]), "fence", 2).await;
    ann.take().await;
    let mut again = house.phone("user_1+staff").await;
    house.send(json!(["staff"]), "dinner", 3).await;
    assert_eq!(again.next().await.1, json!(["dinner", 3]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_person_in_two_of_the_rooms_gets_it_once() {
    let house = House::open().await;
    let mut ann = house.phone("user_1+user_a+staff").await;
    house.send(json!(["user_1", "staff", "user_a", "user_1"]), "news", 1).await;
    house.send(json!(["user_1"]), "fence", 2).await;
    assert_eq!(ann.take().await, json!(["news", 1]));
    assert_eq!(ann.take().await, json!(["fence", 2]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_was_missed_comes_as_one_batch_in_the_order_of_sending_across_events() {
    let house = House::open().await;
    for (number, event) in ["b", "a", "b", "c", "a"].into_iter().enumerate() {
        house.send(json!(["user_1"]), event, number).await;
    }
    let mut ann = house.phone("user_1").await;
    let all = json!([["b", 0], ["a", 1], ["b", 2], ["c", 3], ["a", 4]]);
    assert_eq!(ann.take().await, json!(["batch", all]));
    house.send(json!(["user_1"]), "a", 5).await;
    assert_eq!(ann.take().await, json!(["a", 5]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_is_not_acked_comes_again_and_what_is_does_not() {
    let house = House::open().await;
    let mut ann = house.phone("user_1").await;
    for number in 1..=3 {
        house.send(json!(["user_1"]), "news", number).await;
    }
    assert_eq!(ann.next().await.1, json!(["news", 1]));
    let (second, _) = ann.next().await;
    ann.ack(second).await;
    ann.leave(&house, "user_1").await;
    let mut again = house.phone("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["news", 1]]]));
    again.leave(&house, "user_1").await;
    let mut at_last = house.phone("user_1").await;
    house.send(json!(["user_1"]), "fence", 4).await;
    assert_eq!(at_last.take().await, json!(["fence", 4]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_batch_ack_does_not_delete_what_came_after() {
    let house = House::open().await;
    house.send(json!(["user_1"]), "news", 1).await;
    let mut ann = house.phone("user_1").await;
    let (batch, said) = ann.next().await;
    assert_eq!(said, json!(["batch", [["news", 1]]]));
    house.send(json!(["user_1"]), "news", 2).await;
    ann.ack(batch).await;
    let (_, second) = ann.next().await;
    assert_eq!(second, json!(["batch", [["news", 2]]]));
    let mut again = house.phone("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["news", 2]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn two_tabs_both_receive_and_one_ack_is_enough() {
    let house = House::open().await;
    let (mut one, mut other) = (house.phone("user_1").await, house.phone("user_1").await);
    house.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(one.next().await.1, json!(["news", 1]));
    assert_eq!(other.take().await, json!(["news", 1]));
    one.socket.send("1").await;
    house.send(json!(["user_1"]), "news", 2).await;
    assert_eq!(other.take().await, json!(["news", 2]));
    other.leave(&house, "user_1").await;
    let mut again = house.phone("user_1").await;
    house.send(json!(["user_1"]), "fence", 3).await;
    assert_eq!(again.take().await, json!(["fence", 3]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn devices_with_names_each_get_everything_and_a_star_is_a_name() {
    let house = House::open().await;
    let device = async |name: &str| {
        house.phone_at("shop", &format!("token=user_1&deviceId={name}")).await.unwrap()
    };
    let (mut phone, mut star) = (device("phone").await, device("*").await);
    house.send(json!(["user_1"]), "news", 1).await;
    assert_eq!(star.take().await, json!(["news", 1]));
    assert_eq!(phone.next().await.1, json!(["news", 1]));
    drop((phone, star));
    let mut phone = device("phone").await;
    assert_eq!(phone.take().await, json!(["batch", [["news", 1]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn an_ack_out_of_order_of_what_was_sent_for_it_clears_the_queue() {
    let house = House::open().await;
    let mut ann = house.phone("user_1").await;
    for (number, resync) in [(1, "true"), (2, "true"), (3, "false"), (4, "0")] {
        let message = json!({ "rooms": ["user_1"], "event": "news", "args": number });
        let sent = house.post(&format!("shop&resync={resync}"), None, message).await;
        assert_eq!(sent.0, 200);
    }
    house.send(json!(["user_1"]), "other", 5).await;
    let mut acks = Vec::new();
    for _ in 0..5 {
        acks.push(ann.next().await.0);
    }
    // `resync=false` is false: these are out of order and nothing comes of it.
    ann.ack(acks[3]).await;
    ann.ack(acks[2]).await;
    ann.ack(acks[1]).await;
    assert_eq!(ann.next().await.1, json!(["resync"]));
    let mut again = house.phone("user_1").await;
    assert_eq!(again.take().await, json!(["batch", [["other", 5]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_large_backlog_comes_in_several_batches_and_what_comes_meanwhile_after_them() {
    let house = House::open().await;
    let messages: Vec<_> = (0..450)
        .map(|number| json!({ "rooms": "user_1", "event": "news", "args": [number] }))
        .collect();
    assert_eq!(house.post("shop", None, json!(messages)).await.0, 200);
    let mut ann = house.phone("user_1").await;
    let (first, said) = ann.next().await;
    house.send(json!(["user_1"]), "news", 450).await;
    let mut told: Vec<Value> = said[1].as_array().unwrap().clone();
    assert!(told.len() < 450);
    ann.ack(first).await;
    while told.len() < 451 {
        match ann.take().await {
            Value::Array(said) if said[0] == "batch" => {
                told.extend(said[1].as_array().unwrap().clone());
            }
            one => told.push(one),
        }
    }
    let expected: Vec<_> = (0..451).map(|number| json!(["news", number])).collect();
    assert_eq!(told, expected);
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_waits_for_several_persons_of_one_connection_is_told_once_in_the_order_of_sending() {
    let house = House::open().await;
    let rooms = |number| match number {
        0..250 => json!("user_1"),
        250..300 => json!("user_a"),
        _ => json!(["user_1", "user_a"]),
    };
    let messages: Vec<_> = (0..500)
        .map(|number| json!({ "rooms": rooms(number), "event": "news", "args": [number] }))
        .collect();
    assert_eq!(house.post("shop", None, json!(messages)).await.0, 200);
    let mut ann = house.phone("user_1+user_a").await;
    let mut told = Vec::new();
    while told.len() < 500 {
        let batch = ann.take().await[1].as_array().unwrap().clone();
        assert!(batch.len() <= 200, "{} are told at once", batch.len());
        told.extend(batch);
    }
    let expected: Vec<_> = (0..500).map(|number| json!(["news", number])).collect();
    assert_eq!(told, expected);
    ann.leave(&house, "user_1").await;
    let mut again = house.phone("user_1+user_a").await;
    house.send(json!(["user_1"]), "fence", 500).await;
    assert_eq!(again.take().await, json!(["fence", 500]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn acks_count_of_as_many_as_may_wait_for_all_persons_of_a_connection() {
    let house = House::with(|site| site.most_waiting = 3, Store::Memory).await;
    let mut ann = house.phone("user_1+user_a").await;
    for (number, person) in ["user_1", "user_a", "user_1", "user_a"].into_iter().enumerate() {
        house.send(json!(person), "news", number).await;
    }
    let mut acks = Vec::new();
    for _ in 0..4 {
        acks.push(ann.next().await.0);
    }
    ann.ack(acks[0]).await;
    ann.leave(&house, "user_1").await;
    let mut again = house.phone("user_1+user_a").await;
    let left = json!([["news", 1], ["news", 2], ["news", 3]]);
    assert_eq!(again.take().await, json!(["batch", left]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_there_was_no_room_for_while_a_batch_was_not_acked_comes_after_it_in_its_order() {
    let house = House::open().await;
    house.send(json!("user_1"), "news", 0).await;
    let mut ann = house.phone("user_1").await;
    let (first, said) = ann.next().await;
    assert_eq!(said, json!(["batch", [["news", 0]]]));
    for number in 1..=100 {
        house.send(json!("user_1"), "news", number).await;
    }
    ann.ack(first).await;
    let mut told = Vec::new();
    while told.len() < 100 {
        match ann.take().await {
            Value::Array(said) if said[0] == "batch" => {
                told.extend(said[1].as_array().unwrap().clone());
            }
            one => told.push(one),
        }
    }
    let expected: Vec<_> = (1..=100).map(|number| json!(["news", number])).collect();
    assert_eq!(told, expected);
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_message_with_a_key_is_sent_once_also_to_a_room_of_many() {
    let house = House::open().await;
    let mut ann = house.phone("user_1+staff").await;
    for rooms in [json!("user_1"), json!("staff")] {
        let message = json!({ "rooms": rooms, "event": "news", "args": [1] });
        for _ in 0..2 {
            let sent = house.post("shop", Some(&rooms.to_string()), message.clone()).await;
            assert_eq!(sent.0, 200);
        }
    }
    house.send(json!(["staff"]), "fence", 2).await;
    house.send(json!(["user_1"]), "fence", 3).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(ann.next().await.1);
    }
    told.sort_by_key(ToString::to_string);
    let news = json!(["news", 1]);
    assert_eq!(told, [json!(["fence", 2]), json!(["fence", 3]), news.clone(), news]);
    let other = json!({ "rooms": "staff", "event": "other" });
    assert_eq!(house.post("shop", Some("\"staff\""), other).await.0, 422);
    house.server.shutdown().await;
}

#[tokio::test]
async fn sites_are_apart() {
    let house = House::open().await;
    let mut shop = house.phone("user_1+staff").await;
    let mut blog = house.phone_at("blog", "token=user_1%2Bstaff").await.unwrap();
    house.send(json!(["user_1", "staff"]), "news", 1).await;
    let message = json!({ "rooms": ["user_1"], "event": "post", "args": [2] });
    assert_eq!(house.post("blog", None, message).await.0, 200);
    assert_eq!(shop.take().await, json!(["news", 1]));
    assert_eq!(blog.take().await, json!(["post", 2]));
    let url = format!("http://{}/send?apiKey=other&site=blog", house.server.addr());
    let refused = Client::new().post(url).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    house.server.shutdown().await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_in_the_words_of_the_original() {
    let house = House::open().await;
    for (said, told) in [
        ("x=y", "Authentication error"),
        ("token=stranger", "Authentication error"),
        ("token=broken", "Auth 500 error"),
        ("token=staff", "User is missing a private room"),
        (
            &format!("token=user_1&deviceId={}", "d".repeat(257)),
            "deviceId: it has at most 256 bytes",
        ),
    ] {
        let refused = house.phone_at("shop", said).await.err().unwrap();
        assert_eq!(refused, json!({ "message": told }), "{said}");
    }
    assert!(house.phone_at("nowhere", "token=user_1").await.is_err());
    house.server.shutdown().await;
}

#[tokio::test]
async fn sites_come_and_go_without_a_restart() {
    let house = House::open().await;
    let mut ann = house.phone("user_1").await;
    let mut bob = house.phone_at("blog", "token=user_2").await.unwrap();
    let mut bobs_page = runtime_at(&house, "blog", "token=user_2").await.unwrap();
    let mut anns_page = runtime(&house, "token=user_1").await.unwrap();
    let kept = house.sites.get("shop").unwrap();
    let shop = ("shop".parse().unwrap(), Site::clone(&kept));
    house.sites.replace([shop, ("news".parse().unwrap(), site(|_| {}).await)]);
    assert_eq!(bob.socket.next_frame().await, "41/blog,");
    bobs_page.is_ended().await;
    assert_eq!(anns_page.get("/todo").await["statusCode"], 200);
    let mut cyd = loop {
        if let Ok(phone) = house.phone_at("news", "token=user_3").await {
            break phone;
        }
    };
    let message = json!({ "rooms": "user_3", "event": "hi" });
    assert_eq!(house.post("news", None, message).await.0, 200);
    assert_eq!(cyd.take().await, json!(["hi", null]));
    house.send(json!("user_1"), "still", 1).await;
    assert_eq!(ann.take().await, json!(["still", 1]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_site_may_have_the_names_of_the_later_service() {
    let house = House::with(|site| site.event_names = EventNames::Underscored, Store::Memory).await;
    house.send(json!(["user_1"]), "news", 1).await;
    let mut ann = house.phone("user_1").await;
    assert_eq!(ann.next().await, (None, json!(["_settings", { "device_ttl": 3600 }])));
    assert_eq!(ann.take().await, json!(["_batch", [["news", 1]]]));
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_waits_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let file: &Path = &folder.path().join("backwire.db");
        House::with(|_| {}, Store::Sqlite(file.into())).await
    };
    let house = open().await;
    let mut ann = house.phone("user_1").await;
    house.send(json!(["user_1"]), "news", 1).await;
    ann.next().await;
    house.send(json!(["user_2"]), "news", 2).await;
    house.server.shutdown().await;
    let house = open().await;
    let (mut ann, mut bob) = (house.phone("user_1").await, house.phone("user_2").await);
    assert_eq!(ann.take().await, json!(["batch", [["news", 1]]]));
    assert_eq!(bob.take().await, json!(["batch", [["news", 2]]]));
    house.server.shutdown().await;
}

/// Our runtime, which has one connection for everything.
async fn runtime(house: &House, said: &str) -> Result<Socket, String> {
    runtime_at(house, "shop", said).await
}

async fn runtime_at(house: &House, site: &str, said: &str) -> Result<Socket, String> {
    let mut socket = Socket::unjoined(&house.server, &format!("&site={site}&{said}")).await;
    socket.send(r#"40{"backwire":1}"#).await;
    let answer = socket.next_frame().await;
    if answer.starts_with("40{") { Ok(socket) } else { Err(answer) }
}

/// The ids and what is said of the next push to a person.
async fn told(socket: &mut Socket) -> Vec<(Option<u64>, Value)> {
    let push = socket.event().await;
    assert_eq!((&push[0], &push[1]), (&json!("push"), &json!("")));
    let changes = push[4].as_array().unwrap().iter();
    let id = |change: &Value| change[2].as_str().map(|id| id.parse().unwrap());
    changes.map(|change| (id(change), change[3].clone())).collect()
}

#[tokio::test]
async fn our_runtime_is_told_on_its_one_connection_and_says_up_to_where_it_is_done() {
    let house = House::open().await;
    for number in 1..=2 {
        house.send(json!(["user_1"]), "news", number).await;
    }
    let said = "token=user_1%2Bstaff&deviceId=tab";
    let mut ann = runtime(&house, said).await.unwrap();
    let waited = told(&mut ann).await;
    let said_of = |told: &[(Option<u64>, Value)]| -> Vec<_> {
        told.iter().map(|(_, said)| said.clone()).collect()
    };
    assert_eq!(said_of(&waited), [json!(["news", 1]), json!(["news", 2])]);
    ann.send(format!(r#"42["delivered","{}"]"#, waited[1].0.unwrap())).await;
    house.send(json!(["user_1"]), "news", 3).await;
    let one = told(&mut ann).await;
    assert_eq!(said_of(&one), [json!(["news", 3])]);
    assert!(one[0].0 > waited[1].0);
    house.send(json!(["staff"]), "lunch", 4).await;
    assert_eq!(told(&mut ann).await, [(None, json!(["lunch", 4]))]);
    ann.send("1").await;
    ann.is_ended().await;
    let mut again = runtime(&house, said).await.unwrap();
    assert_eq!(said_of(&told(&mut again).await), [json!(["news", 3])]);
    assert_eq!(again.get("/todo").await["statusCode"], 200);
    house.server.shutdown().await;
}

#[tokio::test]
async fn our_runtime_is_refused_in_the_same_words() {
    let house = House::open().await;
    let refusal = runtime(&house, "token=stranger").await.err().unwrap();
    assert_eq!(refusal, r#"44{"message":"Authentication error"}"#);
    let mut socket = Socket::unjoined(&house.server, "&site=nowhere&token=user_1").await;
    socket.send(r#"40{"backwire":1}"#).await;
    let refusal = socket.next_frame().await;
    assert_eq!(refusal, r#"44{"message":"Auth error: there is no such site"}"#);
    house.server.shutdown().await;
}

#[tokio::test]
async fn who_a_site_knows_is_known_to_the_rules_of_its_resources_and_people_of_others_are_nobody() {
    let access: Access =
        serde_json::from_value(json!({ "owner": "by", "read": ["owner", { "role": "staff" }] }))
            .unwrap();
    let house = House::with_resource("note", Model { access, ..Model::default() }).await;
    let mut ann = runtime(&house, "token=user_7").await.unwrap();
    let created = ann.post("/note", json!({ "text": "Milk" })).await;
    assert_eq!((&created["statusCode"], &created["body"]["by"]), (&json!(201), &json!(7)));
    let mut bob = runtime(&house, "token=user_8").await.unwrap();
    assert_eq!(bob.get("/note").await["body"], json!([]));
    let mut boss = runtime(&house, "token=user_9%2Bstaff").await.unwrap();
    assert_eq!(boss.get("/note").await["body"][0]["text"], "Milk");
    let nobody = Socket::runtime(&house.server).await;
    // The blog calls a person of its own the same, and one of its rooms.
    let namesake = runtime_at(&house, "blog", "token=user_7%2Bstaff").await.unwrap();
    for mut stranger in [nobody, namesake] {
        assert_eq!(stranger.get("/note").await["statusCode"], 401);
        assert_eq!(stranger.post("/note", json!({})).await["statusCode"], 401);
        let ask = json!(["resume", [["note", 1, 0]]]);
        assert_eq!(stranger.ask(ask).await, json!([["note", null]]));
    }
    house.server.shutdown().await;
}

/// No messages are stored and nothing is done with acks but with permits.
struct Gate {
    permits: Semaphore,
    acked: AtomicUsize,
}

impl Gate {
    /// A gate for so many, and a house behind it.
    async fn house(permits: usize) -> (Arc<Self>, House) {
        let (permits, acked) = (Semaphore::new(permits), AtomicUsize::new(0));
        let gate = Arc::new(Self { permits, acked });
        let engine = intercepted_by(&gate);
        (gate, House::built(|_| {}, |builder| builder.engine(engine)).await)
    }
}

#[async_trait]
impl Interceptor for Gate {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if matches!(call, Call::Post | Call::Ack) {
            self.permits.acquire().await.expect("it is never closed").forget();
        }
        Ok(())
    }

    async fn after(&self, call: Call<'_>) {
        if matches!(call, Call::Ack) {
            self.acked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn a_sender_that_is_quicker_than_the_store_is_told_to_come_later_and_others_are_not() {
    let (gate, house) = Gate::house(0).await;
    let message = json!({ "rooms": "user_1", "event": "news" });
    let list = json!(vec![&message; 1000]);
    let key = |number| Some(["first", "second", "third"][number]);
    let mut lists =
        FuturesUnordered::from_iter((0..3).map(|number| {
            house.post("shop", key(number), list.clone()).map(move |it| (number, it))
        }));
    let (late, (status, told)) = lists.next().await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["code"], &told["limit"]), (429, &json!("E_TOO_MANY"), &json!(2000)));
    assert_eq!(told["message"], "too many messages of this site wait to be stored, 2000 may");
    let url = format!("http://{}/send?apiKey=54321&site=shop", house.server.addr());
    let one = Client::new().post(url).json(&message).send().await.unwrap();
    assert_eq!(
        (one.status().as_u16(), &one.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    let (other, ()) = tokio::join!(house.post("blog", None, message.clone()), async {
        gate.permits.add_permits(10_000);
    });
    assert_eq!(other.0, 200);
    while let Some((_, (status, told))) = lists.next().await {
        assert_eq!((status, told.matches("200").count()), (200, 1000));
    }
    assert_eq!(house.post("shop", key(late), list).await.0, 200);
    drop(lists);
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_was_acked_before_a_shutdown_is_done_with_after_it() {
    let (gate, house) = Gate::house(1).await;
    let mut ann = house.phone("user_1").await;
    house.send(json!("user_1"), "news", 1).await;
    let (ack, _) = ann.next().await;
    ann.ack(ack).await;
    // What a connection says is taken in its order: the ack is there when this is answered.
    ann.socket.send(r#"40/blog,{"token":"user_1"}"#).await;
    assert!(ann.socket.next_frame().await.starts_with("40/blog,"));
    let late = async {
        ann.socket.is_ended().await;
        // Time that stands goes on when there is nothing else to do: whoever does not wait has ended.
        pause();
        sleep(Duration::from_secs(1)).await;
        gate.permits.add_permits(1);
    };
    let shutdown = async {
        house.server.shutdown().await;
        gate.acked.load(Ordering::SeqCst)
    };
    assert_eq!(tokio::join!(shutdown, late).0, 1);
}
