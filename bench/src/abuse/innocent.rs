//! The innocent client: it writes and reads one record over a socket, and asks for `/health` on a
//! new connection.
//!
//! It has a thread of its own, so that attackers in this process delay it as little as possible.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::runtime;
use tokio::time::{sleep, timeout};

use crate::verdict::Latencies;
use crate::wire::{Client, Socket};

/// A request without an answer has failed after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(10);

/// The running client.
pub(crate) struct Innocent {
    latencies: Arc<Mutex<Latencies>>,
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Innocent {
    pub(crate) fn start(address: &str) -> Result<Self> {
        let (latencies, is_stopped) = <(Arc<Mutex<_>>, Arc<AtomicBool>)>::default();
        let client = Client::innocent(address);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = {
            let (latencies, is_stopped) = (Arc::clone(&latencies), Arc::clone(&is_stopped));
            thread::spawn(move || runtime.block_on(live(client, &latencies, &is_stopped)))
        };
        Ok(Self { latencies, is_stopped, thread })
    }

    /// The measurements since the start.
    pub(crate) fn take(&self) -> Latencies {
        std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The measurements since the last `take`.
    pub(crate) fn stop(self) -> Latencies {
        self.is_stopped.store(true, Ordering::Relaxed);
        let latencies = Arc::clone(&self.latencies);
        // A panic has been printed, and then there are no latencies.
        let _ = self.thread.join();
        std::mem::take(&mut *latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn live(client: Client, latencies: &Mutex<Latencies>, is_stopped: &AtomicBool) {
    let mut socket = None;
    let mut round = 0u64;
    while !is_stopped.load(Ordering::Relaxed) {
        round += 1;
        let record = format!(r#"{{"url":"/innocent/1","data":{{"round":{round}}}}}"#);
        for (verb, request) in [("put", &*record), ("get", r#"{"url":"/innocent/1"}"#)] {
            let begin = Instant::now();
            let is_done = ask(&client, &mut socket, verb, request).await.is_ok();
            note(latencies, begin, |it| it.failed += usize::from(!is_done));
            if !is_done {
                socket = None;
            }
        }
        let begin = Instant::now();
        let health = timeout(PATIENCE, client.request("GET", "/health", "", "")).await;
        let is_healthy = matches!(health, Ok(Ok(200)));
        note(latencies, begin, |it| it.failed_health += usize::from(!is_healthy));
        sleep(PAUSE).await;
    }
}

fn note(latencies: &Mutex<Latencies>, begin: Instant, change: impl FnOnce(&mut Latencies)) {
    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    latencies.all.push(begin.elapsed());
    change(&mut latencies);
}

/// A request over the socket, which is connected first if it is not. The record is made if it is
/// not there.
async fn ask(client: &Client, kept: &mut Option<Socket>, verb: &str, request: &str) -> Result<()> {
    timeout(PATIENCE, async {
        if kept.is_none() {
            let mut socket = client.socket(r#"{"backwire":1}"#).await?;
            socket.ask("post", r#"{"url":"/innocent","data":{"id":1}}"#).await?;
            *kept = Some(socket);
        }
        let Some(socket) = kept else { return Ok(()) };
        let status = socket.ask(verb, request).await?;
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await?
}
