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
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{Engine, Environment};
use backwire_environment::Task;
use tokio::sync::{mpsc, oneshot};

use crate::delivery::delivery_queue::SendRequest;
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
    engine: Arc<dyn Engine>,
    /// How long a shutdown may take.
    shutdown_time: Duration,
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
    /// have been sent, within [`shutdown_time`](crate::Settings::shutdown_time). Steps that do not
    /// end in time are abandoned.
    ///
    /// If other servers share the store, the connections end one after the other in the first half
    /// of that time, each when its requests are answered: the clients connect to the other servers.
    /// A server alone ends all of them at once.
    pub async fn shutdown(self) {
        let (environment, time) = (self.environment.clone(), self.shutdown_time);
        if environment.timeout(time, self.shut_down()).await.is_err() {
            tracing::warn!("the server did not stop within {time:?} (shutdown_time)");
        }
    }

    async fn shut_down(self) {
        let Self { environment, sockets, engine, shutdown_time, stop, tasks, .. } = self;
        // An error means that the server has already stopped.
        let _ = stop.send(());
        if tasks.store_events.is_some() {
            sockets.drain(&environment, shutdown_time / 2, shutdown_time / 4).await;
        }
        tasks.session_watch.abort();
        tasks.site_updates.abort();
        tasks.cascades.abort();
        sockets.close(DISCONNECT_TIMEOUT).await;
        wait_for(&environment, "http", self.serving).await;
        drop(self.message_sender);
        wait_for(&environment, "delivery", tasks.delivery).await;
        // Until then, other servers wait for its answers.
        tasks.store_events.iter().for_each(Task::abort);
        wait_for(&environment, "the store", engine.close()).await;
        // The fan-out ends with the engine.
        drop(engine);
        wait_for(&environment, "fan-out", tasks.fanout).await;
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
