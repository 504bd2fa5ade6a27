//! Tests of servers that are written with the crate [`backwire`].
//!
//! An [`App`] is such a server with its records in memory, without a network and with a clock that
//! stands still until the test moves it. Its clients are in the same process. So a test is fast,
//! does not sleep, and can let a session expire.
//!
//! ```
//! use backwire_testing::{App, json};
//! # mod my_app { pub fn server() -> backwire::server::Builder { backwire::Server::builder() } }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let app = App::new(my_app::server()).await;
//! let mut ann = app.client().await;
//! let bob = app.client().await;
//! assert!(ann.subscribe("todo").await.is_empty());
//! assert_eq!(bob.post("/todo", json!({ "title": "Milk" })).await.status, 201);
//! assert_eq!(ann.next_change().await.data["title"], "Milk");
//! # }
//! ```
//!
//! In reading order: [`App`] is the server; [`Browser`] sends requests over HTTP and keeps cookies;
//! [`Client`] is a client like Backwire's runtime, and [`StockClient`] is one of Socket.IO. Both
//! connect with a [`Handshake`]. [`Response`] is the answer to a request; [`Clock`] moves the time;
//! `tasks` detects that the server is idle; `network` connects clients to the server.

#![expect(
    clippy::disallowed_methods,
    reason = "a test has clocks, random numbers and tasks of its own"
)]

mod app;
mod browser;
mod client;
mod clock;
mod handshake;
mod network;
mod response;
mod stock;
mod tasks;

pub use app::App;
pub use browser::Browser;
pub use client::{Change, ChangeVerb, Client};
pub use clock::{BEGIN, Clock};
pub use handshake::Handshake;
pub use response::Response;
pub use serde_json::{Value, json};
pub use stock::{StockClient, StockEvent};
