//! Clients that reconnect do not wait for many others at one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backwire::Server;
use backwire::engine::Error;
use futures_util::future::{Either, select};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::client::{RUNTIME, Socket, builder, position, start};
use crate::intercepted::{Call, Interceptor, intercepted_by};

/// Blocks each read of a log, and reports its client and its number of records.
struct Gate {
    arrivals: mpsc::UnboundedSender<(Option<IpAddr>, usize)>,
    permits: Semaphore,
}

#[async_trait]
impl Interceptor for Gate {
    async fn before(&self, call: Call<'_>) -> Result<(), Error> {
        if let Call::Since(options) = call {
            self.arrivals.send((options.client, options.records)).unwrap();
            self.permits.acquire().await.unwrap().forget();
        }
        Ok(())
    }
}

async fn connect(server: &Server, address: &str) -> Socket {
    Socket::connect_with(server, "", &[("x-forwarded-for", address)], RUNTIME).await
}

/// Sends a resume, and returns the number of its ack when the server has begun with it.
async fn ask_in_queue(socket: &mut Socket, resume: &Value) -> u64 {
    let asked = socket.emit(resume).await;
    // The server handles the packets of a connection in order, and does not wait for the resume to
    // refuse this one.
    socket.send("40/none,").await;
    let refusal = socket.next_frame().await;
    assert!(refusal.starts_with("44/none,"), "{refusal}");
    asked
}

/// Starts a server with 20 records, and returns a resume that has missed all.
async fn server_with_log()
-> (Server, Arc<Gate>, mpsc::UnboundedReceiver<(Option<IpAddr>, usize)>, Value) {
    let (arrivals, arrived) = mpsc::unbounded_channel();
    let gate = Arc::new(Gate { arrivals, permits: Semaphore::new(0) });
    let server = start(builder().engine(intercepted_by(&gate))).await;
    let mut author = Socket::runtime(&server).await;
    let list: Value = (0..20).map(|n| json!({ "n": n })).collect();
    author.post("/todo", list).await;
    let (epoch, _) = position(&author.post("/todo", json!({})).await);
    (server, gate, arrived, json!(["resume", [["todo", epoch, 0]]]))
}

#[tokio::test]
async fn resume_does_not_wait_for_many_resumes_of_another_address() {
    const ATTACKERS: usize = 30;
    let (server, gate, mut arrived, resume) = server_with_log().await;
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let mut attacker = connect(&server, "10.0.0.1").await;
        let asked = ask_in_queue(&mut attacker, &resume).await;
        attackers.push((attacker, asked));
    }
    let mut victim = connect(&server, "10.0.0.2").await;
    let (first, _) = arrived.recv().await.unwrap();
    assert_eq!(first, Some("10.0.0.1".parse().unwrap()));
    let asked = ask_in_queue(&mut victim, &resume).await;
    let mut answered = Box::pin(victim.ack(asked));
    let mut reads = 1;
    let missed = loop {
        gate.permits.add_permits(1);
        match select(answered, Box::pin(arrived.recv())).await {
            Either::Left((missed, _)) => break missed,
            Either::Right((_, rest)) => {
                (reads, answered) = (reads + 1, rest);
            }
        }
    };
    assert_eq!(missed[0][3].as_array().unwrap().len(), 21);
    assert!(reads <= 5, "the victim waited for {reads} reads");
    gate.permits.add_permits(1000);
    for (mut attacker, asked) in attackers {
        assert_eq!(attacker.ack(asked).await[0][3].as_array().unwrap().len(), 21);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn client_reads_for_itself_if_the_read_of_another_does_not_end() {
    let (server, gate, mut arrived, resume) = server_with_log().await;
    let mut attacker = connect(&server, "10.0.0.1").await;
    attacker.send(format!("421{resume}")).await;
    arrived.recv().await.unwrap();
    let mut victim = connect(&server, "10.0.0.2").await;
    let next = async {
        assert_eq!(arrived.recv().await.unwrap().0, Some("10.0.0.2".parse().unwrap()));
        gate.permits.add_permits(2);
    };
    let missed =
        timeout(Duration::from_secs(20), async { tokio::join!(victim.ask(resume), next).0 });
    assert_eq!(missed.await.unwrap()[0][3].as_array().unwrap().len(), 21);
    server.shutdown().await;
}

#[tokio::test]
async fn list_of_a_stock_client_checks_for_changes_without_reading_them() {
    let (server, gate, mut arrived, _) = server_with_log().await;
    gate.permits.add_permits(1000);
    let mut stock = Socket::connect_with(&server, "", &[("x-forwarded-for", "10.0.0.3")], "").await;
    assert_eq!(stock.get("/todo").await["statusCode"], 200);
    assert_eq!(arrived.recv().await.unwrap(), (Some("10.0.0.3".parse().unwrap()), 0));
    server.shutdown().await;
}
