//! A slow store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backwire::engine::Error;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{pause, sleep};

use super::push_service::PushService;
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Blocks posts and acks until there are permits.
struct Gate {
    permits: Semaphore,
    acked: AtomicUsize,
}

impl Gate {
    /// Returns a gate with this many permits, and a push service that uses it.
    async fn service(permits: usize) -> (Arc<Self>, PushService) {
        let (permits, acked) = (Semaphore::new(permits), AtomicUsize::new(0));
        let gate = Arc::new(Self { permits, acked });
        let engine = intercepted_by(&gate);
        (gate, PushService::build(|_| {}, |builder| builder.engine(engine)).await)
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
async fn sender_faster_than_the_store_gets_429_and_others_do_not() {
    let (gate, service) = Gate::service(0).await;
    let message = json!({ "rooms": "user_1", "event": "news" });
    let list = json!(vec![&message; 1000]);
    let key = |number| Some(["first", "second", "third"][number]);
    let mut lists =
        FuturesUnordered::from_iter((0..3).map(|number| {
            service.post("shop", key(number), list.clone()).map(move |it| (number, it))
        }));
    let (late, (status, answer)) = lists.next().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["code"], &answer["limit"]),
        (429, &json!("E_TOO_MANY"), &json!(2000))
    );
    assert_eq!(
        answer["message"],
        "too many messages of this site wait to be stored, at most 2000 are allowed: send again later"
    );
    let url = format!("http://{}/send?apiKey=54321&site=shop", service.server.addr());
    let one = Client::new().post(url).json(&message).send().await.unwrap();
    assert_eq!(
        (one.status().as_u16(), &one.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    let (other, ()) = tokio::join!(service.post("blog", None, message.clone()), async {
        gate.permits.add_permits(10_000);
    });
    assert_eq!(other.0, 200);
    while let Some((_, (status, answer))) = lists.next().await {
        assert_eq!((status, answer.matches("200").count()), (200, 1000));
    }
    assert_eq!(service.post("shop", key(late), list).await.0, 200);
    drop(lists);
    service.server.shutdown().await;
}

#[tokio::test]
async fn acks_received_before_a_shutdown_are_applied() {
    let (gate, service) = Gate::service(1).await;
    let mut ann = service.connect("user_1").await;
    service.send(json!("user_1"), "news", 1).await;
    let (ack, _) = ann.next().await;
    ann.ack(ack).await;
    // The server handles frames of a connection in order, so it has received the ack when it
    // answers this.
    ann.socket.send(r#"40/blog,{"token":"user_1"}"#).await;
    assert!(ann.socket.next_frame().await.starts_with("40/blog,"));
    let late = async {
        ann.socket.wait_for_close().await;
        // Paused time advances only if there is nothing else to do. So a shutdown that does not
        // wait has ended by then.
        pause();
        sleep(Duration::from_secs(1)).await;
        gate.permits.add_permits(1);
    };
    let shutdown = async {
        service.server.shutdown().await;
        gate.acked.load(Ordering::SeqCst)
    };
    assert_eq!(tokio::join!(shutdown, late).0, 1);
}

/// Fails the first acks.
struct FailingAcks(AtomicUsize);

#[async_trait]
impl Interceptor for FailingAcks {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        let is_left = |left: usize| left.checked_sub(1);
        let fails = matches!(call, Call::Ack)
            && self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_left).is_ok();
        if fails { Err(Error::Unavailable("it is away".to_owned())) } else { Ok(()) }
    }
}

#[tokio::test]
async fn failed_ack_is_repeated_and_the_connection_stays_open() {
    let failing = Arc::new(FailingAcks(AtomicUsize::new(2)));
    let engine = intercepted_by(&failing);
    let service = PushService::build(|_| {}, |builder| builder.engine(engine)).await;
    let mut ann = service.connect("user_1").await;
    for number in 1..=2 {
        service.send(json!("user_1"), "news", number).await;
        assert_eq!(ann.take().await, json!(["news", number]));
    }
    ann.leave(&service, "user_1").await;
    assert_eq!(failing.0.load(Ordering::SeqCst), 0);
    let mut again = service.connect("user_1").await;
    service.send(json!("user_1"), "fence", 3).await;
    assert_eq!(again.take().await, json!(["fence", 3]));
    service.server.shutdown().await;
}
