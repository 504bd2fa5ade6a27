//! Clients that wait for authentication: all of them connect in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use backwire::settings::{Heartbeat, Settings, Store};
use backwire::sites::{Site, Sites};
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::push_service::PushService;
use crate::client::{Socket, builder, start};

/// A back end that answers one request for each permit, after a latency.
struct BackEnd {
    latency: Duration,
    permits: Semaphore,
    asked: AtomicUsize,
    /// The number of requests.
    arrival: Notify,
}

impl BackEnd {
    fn new(latency: Duration, permits: usize) -> Arc<Self> {
        let permits = Semaphore::new(permits);
        Arc::new(Self { latency, permits, asked: AtomicUsize::new(0), arrival: Notify::new() })
    }

    /// Accepts all tokens except those that begin with `bad`.
    async fn answer(State(back_end): State<Arc<Self>>, headers: HeaderMap) -> Response {
        back_end.asked.fetch_add(1, Ordering::SeqCst);
        back_end.arrival.notify_one();
        back_end.permits.acquire().await.unwrap().forget();
        sleep(back_end.latency).await;
        let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
        match token.starts_with("bad") {
            true => StatusCode::UNAUTHORIZED.into_response(),
            false => axum::Json([token]).into_response(),
        }
    }

    fn serve(self: &Arc<Self>, listener: TcpListener) {
        let app = Router::new().fallback(Self::answer).with_state(Arc::clone(self));
        tokio::spawn(async { axum::serve(listener, app).await });
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Starts a push service whose site `shop` authenticates at this listener.
async fn service_at(listener: &TcpListener) -> PushService {
    let url = format!("http://{}/rooms", listener.local_addr().unwrap());
    let mut site = Site::new(url.parse().unwrap(), "54321".parse().unwrap());
    site.user_room_prefix = Some("user_".to_owned());
    site.auth_timeout = Duration::from_secs(60);
    let sites = Sites::default();
    sites.replace([("shop".parse().unwrap(), site)]);
    // A client that waits long receives pings, so the tests see that it is still connected.
    let heartbeat = Heartbeat { interval: Duration::from_secs(5), ..Heartbeat::default() };
    let (store, sites_of) = (Store::Memory, sites.clone());
    let settings = Settings { port: 0, store, sites: sites_of, heartbeat, ..Settings::default() };
    PushService { server: start(builder().settings(settings)).await, sites }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Connects like a stock client: it retries with a growing delay while its transport ends, but not
/// after a refusal. `ended` counts the ends.
async fn connect(
    service: &PushService,
    token: &str,
    ended: &AtomicUsize,
) -> Result<Socket, String> {
    let mut delay = Duration::from_millis(100);
    loop {
        let mut socket = Socket::open(&service.server, &[]).await.unwrap();
        socket.send(format!(r#"40/shop,{{"token":"{token}"}}"#)).await;
        match socket.frame().await {
            Some(answer) if answer.starts_with("40/shop,") => return Ok(socket),
            Some(refusal) => return Err(refusal),
            None => ended.fetch_add(1, Ordering::SeqCst),
        };
        sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_clients_connect_through_an_auth_url_that_takes_250_ms() {
    let listener = listener().await;
    let service = service_at(&listener).await;
    BackEnd::new(Duration::from_millis(250), Semaphore::MAX_PERMITS).serve(listener);
    let ended = AtomicUsize::new(0);
    let clients = (0..1000).map(async |number| {
        connect(&service, &format!("user_{number}"), &ended)
            .await
            .map_err(|refusal| (number, refusal))
    });
    let clients = join_all(clients).await;
    let refused: Vec<_> = clients.iter().filter_map(|client| client.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    service.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_connect_once_an_auth_url_that_was_down_is_back() {
    const CLIENTS: usize = 200;
    let listener = listener().await;
    let service = service_at(&listener).await;
    let ended = AtomicUsize::new(0);
    let down = async {
        // Each attempt makes two requests, so this many attempts have failed.
        for _ in 0..2 * 2 * CLIENTS {
            drop(listener.accept().await.unwrap());
        }
        BackEnd::new(Duration::ZERO, Semaphore::MAX_PERMITS).serve(listener);
    };
    let clients =
        (0..CLIENTS).map(async |number| connect(&service, &format!("user_{number}"), &ended).await);
    let (clients, ()) = tokio::join!(join_all(clients), down);
    let refused: Vec<_> = clients.iter().filter_map(|client| client.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(ended.load(Ordering::SeqCst) >= CLIENTS);
    service.server.shutdown().await;
}

#[tokio::test]
async fn flood_of_bad_tokens_from_one_address_does_not_delay_others() {
    const AT_ONCE: usize = 16;
    const FLOOD: usize = 300;
    const HONEST: usize = 20;
    let listener = listener().await;
    let service = service_at(&listener).await;
    let back_end = BackEnd::new(Duration::ZERO, 0);
    back_end.serve(listener);
    let client = async |address: String, token: String| {
        let headers = [("x-forwarded-for", address.as_str())];
        let mut socket = Socket::open(&service.server, &headers).await.unwrap();
        socket.send(format!(r#"40/shop,{{"token":"{token}"}}"#)).await;
        // The server reads a connection in order, so the CONNECT waits when this is answered.
        socket.send("40").await;
        assert!(socket.next_frame().await.starts_with("40{"));
        socket
    };
    let mut flood = Vec::new();
    for number in 0..FLOOD {
        flood.push(client("6.6.6.6".to_owned(), format!("bad_{number}")).await);
    }
    while back_end.asked() < AT_ONCE {
        back_end.arrival.notified().await;
    }
    let mut honest = Vec::new();
    for number in 0..HONEST {
        honest.push(client(format!("1.1.1.{number}"), format!("user_{number}")).await);
    }
    // All running requests, one more of the flood (its address takes turns with each of the
    // others), and those that the back end may receive before the last honest one.
    back_end.permits.add_permits(AT_ONCE + 1 + HONEST + AT_ONCE);
    for socket in &mut honest {
        assert!(socket.next_frame().await.starts_with("40/shop,"));
    }
    back_end.permits.add_permits(FLOOD);
    for socket in &mut flood {
        assert!(socket.next_frame().await.starts_with("44/shop,"));
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn client_that_leaves_while_waiting_causes_no_auth_request() {
    let listener = listener().await;
    let service = service_at(&listener).await;
    let back_end = BackEnd::new(Duration::ZERO, 0);
    back_end.serve(listener);
    let waits = async |token: String| {
        let mut socket = Socket::open(&service.server, &[]).await.unwrap();
        socket.send(format!(r#"40/shop,{{"token":"{token}"}}"#)).await;
        socket.send("40").await;
        assert!(socket.next_frame().await.starts_with("40{"));
        socket
    };
    let mut first = Vec::new();
    for number in 0..16 {
        first.push(waits(format!("user_{number}")).await);
    }
    let mut leaves = waits("user_leaves".to_owned()).await;
    let mut stays = waits("user_stays".to_owned()).await;
    leaves.send("1").await;
    leaves.wait_for_close().await;
    back_end.permits.add_permits(17);
    assert!(stays.next_frame().await.starts_with("40/shop,"));
    assert_eq!(back_end.asked(), 17);
    service.server.shutdown().await;
}

/// Starts a push service whose `authUrl` closes every connection.
async fn service_without_auth_url() -> PushService {
    service_and_failures().await.0
}

/// Starts the same push service, and returns a semaphore with a permit for each closed connection.
async fn service_and_failures() -> (PushService, Arc<Semaphore>) {
    let listener = listener().await;
    let service = service_at(&listener).await;
    let failures = Arc::new(Semaphore::new(0));
    let failed = Arc::clone(&failures);
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
            failed.add_permits(1);
        }
    });
    (service, failures)
}

#[tokio::test]
async fn transport_of_the_runtime_ends_while_the_auth_url_is_down() {
    let service = service_without_auth_url().await;
    let mut socket = Socket::open(&service.server, &[]).await.unwrap();
    socket.send(r#"40{"backwire":1,"site":"shop","token":"user_1"}"#).await;
    assert_eq!(socket.frame().await, None);
    service.server.shutdown().await;
}

/// A polling session, as a stock client opens it before it upgrades.
struct Polling {
    http: reqwest::Client,
    url: String,
    sid: String,
}

impl Polling {
    async fn open(service: &PushService) -> Self {
        let http = reqwest::Client::new();
        let url = format!("http://{}/socket.io/?EIO=4&transport=polling", service.server.addr());
        let opened = http.get(&url).send().await.unwrap().text().await.unwrap();
        let opened: serde_json::Value =
            serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
        let sid = opened["sid"].as_str().unwrap().to_owned();
        Self { http, url: format!("{url}&sid={sid}"), sid }
    }

    async fn post(&self, packet: &'static str) {
        let posted = self.http.post(&self.url).body(packet).send().await.unwrap();
        assert_eq!(posted.text().await.unwrap(), "ok");
    }

    async fn poll(&self) -> (u16, String) {
        let polled = self.http.get(&self.url).send().await.unwrap();
        (polled.status().as_u16(), polled.text().await.unwrap())
    }
}

const CONNECT: &str = r#"40/shop,{"token":"user_1"}"#;

#[tokio::test]
async fn polling_session_ends_while_the_auth_url_is_down() {
    let service = service_without_auth_url().await;
    let polling = Polling::open(&service).await;
    polling.post(CONNECT).await;
    loop {
        match polling.poll().await {
            (200, packets) => assert!(!packets.contains("44"), "{packets}"),
            (status, _) => {
                assert_eq!(status, 400);
                break;
            }
        }
    }
    service.server.shutdown().await;
}

#[tokio::test]
async fn upgraded_transport_ends_while_the_auth_url_is_down() {
    let service = service_without_auth_url().await;
    let polling = Polling::open(&service).await;
    let mut socket = Socket::upgraded(&service.server, &polling.sid).await;
    socket.send(CONNECT).await;
    assert_eq!(socket.frame().await, None);
    service.server.shutdown().await;
}

/// A stock client whose upgrade fails after it has paused its polling does not notice that for 45
/// seconds.
#[tokio::test]
async fn session_being_upgraded_ends_after_the_upgrade() {
    let (service, failures) = service_and_failures().await;
    let polling = Polling::open(&service).await;
    let mut socket = Socket::upgrading(&service.server, &polling.sid).await;
    polling.post(CONNECT).await;
    failures.acquire_many(2).await.unwrap().forget();
    for _ in 0..20 {
        assert_eq!(polling.poll().await, (200, "6".to_owned()));
    }
    socket.send("5").await;
    assert_eq!(socket.frame().await, None);
    service.server.shutdown().await;
}
