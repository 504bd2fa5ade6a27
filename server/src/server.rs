//! The server: engine, router, sockets, pages, and the tasks that run all the time.
//!
//! In reading order: `builder` configures it; `logic` assembles what answers requests and sends
//! changes; `app` assembles the layers and routes of requests over HTTP, `own_paths` lists the
//! paths among them that belong to no resource, and `entry` passes requests to it; `start` opens
//! the engine, starts the tasks and listens; `handle` serves apps and shuts the server down;
//! `start_error` has the errors.

mod app;
mod builder;
mod entry;
#[expect(clippy::disallowed_types, reason = "this serves on a listener of the caller")]
mod handle;
pub(crate) mod logic;
mod own_paths;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this opens files and listens on a port"
)]
mod start;
mod start_error;
#[cfg(feature = "testing")]
pub mod testing;

use std::fmt;
use std::net::SocketAddr;

use crate::pubsub::Publisher;

pub use builder::Builder;
pub use handle::{Handle, Serve};
pub use own_paths::HiddenPath;
pub use start_error::StartError;

/// A running server. It stops when [`shutdown`](Self::shutdown) is called; dropping it lets it run.
pub struct Server {
    addr: SocketAddr,
    handle: Handle,
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
        self.handle.publisher()
    }

    /// Returns the handle, which has the rest of what a running server offers.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops accepting connections, ends all connections, and returns when all committed changes
    /// have been sent, within [`shutdown_time`](crate::Settings::shutdown_time). Steps that do not
    /// end in time are abandoned.
    ///
    /// If other servers share the store, the connections end one after the other in the first half
    /// of that time, each when its requests are answered: the clients connect to the other servers.
    /// A server alone ends all of them at once.
    pub async fn shutdown(self) {
        self.handle.shutdown().await;
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}
