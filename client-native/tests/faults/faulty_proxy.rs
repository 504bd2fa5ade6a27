//! A TCP proxy that interrupts its connections repeatedly, on a schedule that a seed decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The frequency and length of the interruptions of a run, and their number so far.
pub struct Faults {
    /// A connection lasts for half to one and a half times this.
    pub period: Duration,
    /// After that, the proxy refuses connections for half to one and a half times this.
    pub outage: Duration,
    injected: AtomicUsize,
    is_over: AtomicBool,
}

/// A proxy to one server for one client. It closes its connection and its port when it is dropped.
pub struct FaultyProxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Faults {
    pub fn new(period: Duration, outage: Duration) -> Arc<Self> {
        let (injected, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { period, outage, injected, is_over })
    }

    /// Ends all interruptions.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns the number of interrupted connections.
    pub fn injected(&self) -> usize {
        self.injected.load(Ordering::Relaxed)
    }
}

impl FaultyProxy {
    pub async fn to(server: SocketAddr, faults: Arc<Faults>, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let random = StdRng::seed_from_u64(seed);
        Self { address, task: tokio::spawn(forward(listener, server, faults, random)) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(listener: TcpListener, to: SocketAddr, faults: Arc<Faults>, mut random: StdRng) {
    let mut about = |time: Duration| time.mul_f64(random.random_range(0.5..1.5));
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        // While there is no server, the proxy closes the connection of the client.
        let Ok(mut server) = TcpStream::connect(to).await else { continue };
        let until_cut = async {
            sleep(about(faults.period)).await;
            if faults.is_over.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // Either end may close the connection itself.
            _ = copy_bidirectional(&mut client, &mut server) => {}
            () = until_cut => {
                faults.injected.fetch_add(1, Ordering::Relaxed);
                drop((client, server));
                let _ = timeout(about(faults.outage), refuse_connections(&listener)).await;
            }
        }
    }
}

async fn refuse_connections(listener: &TcpListener) {
    loop {
        drop(listener.accept().await);
    }
}
