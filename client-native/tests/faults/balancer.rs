//! A TCP load balancer: each connection goes to the first server that accepts it.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A balancer of two servers. It closes its port when it is dropped.
pub struct Balancer {
    pub address: SocketAddr,
    servers: watch::Sender<[SocketAddr; 2]>,
    task: JoinHandle<()>,
}

impl Balancer {
    pub async fn start(servers: [SocketAddr; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (servers, current) = watch::channel(servers);
        Self { address, servers, task: tokio::spawn(forward(listener, current)) }
    }

    /// Sets the servers for new connections.
    pub fn prefer(&self, servers: [SocketAddr; 2]) {
        self.servers.send_replace(servers);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(listener: TcpListener, servers: watch::Receiver<[SocketAddr; 2]>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let servers = *servers.borrow();
        tokio::spawn(async move {
            for server in servers {
                if let Ok(mut server) = TcpStream::connect(server).await {
                    // Either end may close the connection.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
    }
}
