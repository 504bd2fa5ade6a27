//! A store that takes its time.

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

use super::house::House;
use crate::intercepted::{Call, Interceptor, intercepted_by};

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
