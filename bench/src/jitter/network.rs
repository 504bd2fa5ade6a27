//! A TCP proxy with a port for each client. It cuts a client's connection, and accepts no other one
//! for a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::journal::now;

/// How long the network of a client works, and how long it does not, in milliseconds.
const ONLINE: std::ops::Range<u64> = 2_500..7_500;
const AWAY: std::ops::Range<u64> = 500..1_500;

/// All servers get the same cuts.
const SEED: u64 = 19;

/// The networks of all clients. They end when this is dropped.
pub(super) struct Network {
    clients: Vec<Arc<ClientNetwork>>,
    _accepting: JoinSet<()>,
}

/// The network of a client.
struct ClientNetwork {
    port: u16,
    is_away: AtomicBool,
    cut: Notify,
    /// When a connection was accepted.
    returns: Mutex<Vec<f64>>,
}

/// The cuts end when this is dropped.
pub(super) struct Cutting(Vec<JoinHandle<()>>);

impl Drop for Cutting {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Network {
    /// Opens a port for each client, which leads to the server.
    pub(super) async fn open(server: &str, clients: usize) -> Result<Self> {
        let server: Arc<str> = server.replace("localhost", "127.0.0.1").into();
        let (mut networks, mut accepting) = (Vec::new(), JoinSet::new());
        for _ in 0..clients {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let network = Arc::new(ClientNetwork {
                port: listener.local_addr()?.port(),
                is_away: AtomicBool::new(false),
                cut: Notify::new(),
                returns: Mutex::default(),
            });
            networks.push(Arc::clone(&network));
            accepting.spawn(accept(listener, network, Arc::clone(&server)));
        }
        Ok(Self { clients: networks, _accepting: accepting })
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.clients.iter().map(|client| client.port).collect()
    }

    /// Cuts each client's connection from time to time, until the result is dropped.
    pub(super) fn cut_connections(&self) -> Cutting {
        let cut = |(number, client): (usize, &Arc<ClientNetwork>)| {
            let random = StdRng::seed_from_u64(SEED + number as u64);
            tokio::spawn(cut_from_time_to_time(Arc::clone(client), random))
        };
        Cutting(self.clients.iter().enumerate().map(cut).collect())
    }

    /// Lets all clients connect.
    pub(super) fn heal(&self) {
        self.clients.iter().for_each(|client| client.is_away.store(false, Ordering::Relaxed));
    }

    /// Returns when each client's connections were accepted.
    pub(super) fn returns(&self) -> Vec<Vec<f64>> {
        let of = |client: &Arc<ClientNetwork>| client.lock_returns().clone();
        self.clients.iter().map(of).collect()
    }
}

impl ClientNetwork {
    fn lock_returns(&self) -> std::sync::MutexGuard<'_, Vec<f64>> {
        self.returns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn cut_from_time_to_time(client: Arc<ClientNetwork>, mut random: StdRng) {
    loop {
        sleep(Duration::from_millis(random.random_range(ONLINE))).await;
        client.is_away.store(true, Ordering::Relaxed);
        client.cut.notify_waiters();
        sleep(Duration::from_millis(random.random_range(AWAY))).await;
        client.is_away.store(false, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, client: Arc<ClientNetwork>, server: Arc<str>) {
    loop {
        // A connection may end before it is accepted. While the client is away, it is closed.
        let Ok((stream, _)) = listener.accept().await else { continue };
        if client.is_away.load(Ordering::Relaxed) {
            continue;
        }
        client.lock_returns().push(now());
        let (client, server) = (Arc::clone(&client), Arc::clone(&server));
        tokio::spawn(async move {
            tokio::select! {
                () = client.cut.notified() => {}
                () = forward(stream, &server) => {}
            }
        });
    }
}

async fn forward(mut client: TcpStream, server: &str) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // Small frames must not wait for each other's acknowledgement.
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_ok() {
        // Either end may have closed.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
