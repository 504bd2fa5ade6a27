//! A TCP load balancer: connections go to the servers in turn, and not to those that are gone.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A balancer, which accepts connections until it is dropped.
pub(super) struct Balancer {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Balancer {
    /// Listens on a port of this machine; 0 takes any free port.
    pub(super) fn start(port: u16, servers: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener =
            listener.with_context(|| format!("port {port} cannot be used; try another --port"))?;
        let address = listener.local_addr()?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let accepting = thread::spawn(move || accept(&listener, &servers, &stopped));
        Ok(Self { address, is_stopped, accepting: Some(accepting) })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        // It wakes the thread, which then ends.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, servers: &[SocketAddr], is_stopped: &AtomicBool) {
    for (client, number) in listener.incoming().zip(0..) {
        if is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        // The server whose turn it is, and then the others.
        let turn = number % servers.len();
        let servers = [&servers[turn..], &servers[..turn]].concat();
        thread::spawn(move || {
            let mut servers = servers.iter();
            let server =
                servers.find_map(|it| TcpStream::connect_timeout(it, CONNECT_TIMEOUT).ok());
            // Without a server, the connection is closed.
            server.map_or(Ok(()), |server| forward(&client, &server))
        });
    }
}

/// Copies in both directions until one end closes.
fn forward(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        let upwards = scope.spawn(|| copy(client, server));
        copy(server, client)?;
        upwards.join().unwrap_or(Ok(()))
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // The other direction ends, too: neither end goes on alone.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    copied.map(drop)
}
