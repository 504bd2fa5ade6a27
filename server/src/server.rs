//! All of it together: engine, router, sockets, pages, and the task that follows the log.
//!
//! In reading order: `builder`: before it starts, and its start; `app`: what its requests meet.

mod app;
mod builder;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::delivery::courier::Posting;
use crate::pubsub::Publisher;
use crate::socket::Sockets;

pub use builder::Builder;

/// How long it may take to end the connections.
const FAREWELL: Duration = Duration::from_secs(4);

/// How long each other step of a shutdown may take.
const GRACE: Duration = Duration::from_secs(5);

/// A running server. It stops when [`shutdown`](Self::shutdown) is called; dropping it lets it run.
pub struct Server {
    addr: SocketAddr,
    sockets: Sockets,
    publisher: Publisher,
    stop: oneshot::Sender<()>,
    /// As long as it is there, messages are taken in.
    slot: mpsc::Sender<Posting>,
    work: Work,
}

/// What a server does all the time.
struct Work {
    serving: JoinHandle<()>,
    fanout: JoinHandle<()>,
    post: JoinHandle<()>,
    watch: JoinHandle<()>,
    following: JoinHandle<()>,
    /// What it has not done is done after the next start.
    cascades: JoinHandle<()>,
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for people and browsers.
    pub fn url(&self) -> String {
        let is_here = self.addr.ip().is_loopback() || self.addr.ip().is_unspecified();
        match is_here {
            true => format!("http://localhost:{}", self.addr.port()),
            false => format!("http://{}", self.addr),
        }
    }

    /// Says things to those who listen, whoever asks or nobody; see [`pubsub`](crate::pubsub).
    ///
    /// ```
    /// use backwire::settings::Store;
    /// use serde_json::json;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = backwire::Server::builder().port(0).store(Store::Memory).bind().await?;
    /// let users = server.publisher().pubsub("user")?;
    /// let change = users.publish_update(7, json!({ "name": "Amanda" }), None).await?;
    /// assert_eq!(change.position.offset, 1);
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Accepts nobody any more, ends all connections, and returns when what had been committed has
    /// been said. What does not end in time is left behind.
    pub async fn shutdown(self) {
        // If nobody hears this, the server has stopped by itself.
        let _ = self.stop.send(());
        self.work.watch.abort();
        self.work.following.abort();
        self.work.cascades.abort();
        self.sockets.close(FAREWELL).await;
        in_time("http", self.work.serving).await;
        drop(self.slot);
        in_time("post", self.work.post).await;
        in_time("fan-out", self.work.fanout).await;
    }
}

async fn in_time(what: &str, done: impl Future) {
    if timeout(GRACE, done).await.is_err() {
        tracing::warn!("{what} did not stop in time");
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}
