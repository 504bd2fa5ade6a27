//! A line that breaks again and again, on a schedule that a seed decides.

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

/// How often and how long the lines of a run are broken, and how often they were.
pub struct Faults {
    /// A connection lives half to one and a half times this.
    pub period: Duration,
    /// Then nobody is let in for half to one and a half times this.
    pub away: Duration,
    injected: AtomicUsize,
    is_over: AtomicBool,
}

/// A line to one server for one client. Dropping it breaks it for good.
pub struct Line {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Faults {
    pub fn new(period: Duration, away: Duration) -> Arc<Self> {
        let (injected, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { period, away, injected, is_over })
    }

    /// Breaks nothing from now on.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// How many connections were cut.
    pub fn injected(&self) -> usize {
        self.injected.load(Ordering::Relaxed)
    }
}

impl Line {
    pub async fn to(server: SocketAddr, faults: Arc<Faults>, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let random = StdRng::seed_from_u64(seed);
        Self { address, task: tokio::spawn(carry(listener, server, faults, random)) }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(listener: TcpListener, to: SocketAddr, faults: Arc<Faults>, mut random: StdRng) {
    let mut about = |time: Duration| time.mul_f64(random.random_range(0.5..1.5));
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        // While there is no server, the client is sent away.
        let Ok(mut server) = TcpStream::connect(to).await else { continue };
        let until_cut = async {
            sleep(about(faults.period)).await;
            if faults.is_over.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // Either end may go by itself.
            _ = copy_bidirectional(&mut client, &mut server) => {}
            () = until_cut => {
                faults.injected.fetch_add(1, Ordering::Relaxed);
                drop((client, server));
                let _ = timeout(about(faults.away), turn_away(&listener)).await;
            }
        }
    }
}

async fn turn_away(listener: &TcpListener) {
    loop {
        drop(listener.accept().await);
    }
}
