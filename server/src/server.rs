//! The server: engine, router, sockets, pages, and the tasks that run all the time.
//!
//! In reading order: `builder` configures it; `logic` assembles what answers requests and sends
//! changes; `app` assembles the layers and routes of requests over HTTP; `start` opens the engine
//! and listens; `start_error` has the errors.

mod app;
mod builder;
pub(crate) mod logic;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this opens files and listens on a port"
)]
mod start;
mod start_error;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use backwire_engine::Environment;
use backwire_environment::Task;
use tokio::sync::{mpsc, oneshot};

use crate::delivery::service::SendRequest;
use crate::pubsub::Publisher;
use crate::socket::Sockets;
use logic::Tasks;

pub use builder::Builder;
pub use start_error::StartError;

/// How long it may take to end the connections: half of it is for clients that are notified, the
/// other half for those whose TCP connections are then aborted.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long each other step of a shutdown may take.
const SHUTDOWN_STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server. It stops when [`shutdown`](Self::shutdown) is called; dropping it lets it run.
pub struct Server {
    environment: Environment,
    addr: SocketAddr,
    sockets: Sockets,
    publisher: Publisher,
    stop: oneshot::Sender<()>,
    /// The server accepts messages of back ends until this is dropped.
    message_sender: mpsc::Sender<SendRequest>,
    serving: Task,
    tasks: Tasks,
}

impl Server {
    /// Returns the address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the url of the server for people and browsers.
    pub fn url(&self) -> String {
        let is_here = self.addr.ip().is_loopback() || self.addr.ip().is_unspecified();
        match is_here {
            true => format!("http://localhost:{}", self.addr.port()),
            false => format!("http://{}", self.addr),
        }
    }

    /// Returns the publisher, which sends changes and events to subscribed clients, inside and
    /// outside of requests; see [`pubsub`](crate::pubsub).
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

    /// Stops accepting connections, ends all connections, and returns when all committed changes
    /// have been sent. Steps that do not end in time are abandoned.
    pub async fn shutdown(self) {
        // An error means that the server has already stopped.
        let _ = self.stop.send(());
        self.tasks.session_watch.abort();
        self.tasks.site_updates.abort();
        self.tasks.store_events.iter().for_each(Task::abort);
        self.tasks.cascades.abort();
        self.sockets.close(DISCONNECT_TIMEOUT).await;
        wait_for(&self.environment, "http", self.serving).await;
        drop(self.message_sender);
        wait_for(&self.environment, "delivery", self.tasks.delivery).await;
        wait_for(&self.environment, "fan-out", self.tasks.fanout).await;
    }
}

async fn wait_for(environment: &Environment, step: &str, done: impl Future) {
    if environment.timeout(SHUTDOWN_STEP_TIMEOUT, done).await.is_err() {
        tracing::warn!("{step} did not stop in time");
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}
