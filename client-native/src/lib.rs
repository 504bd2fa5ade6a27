//! Backwire's client over tokio. It uses the same core as the browser client, in one task.
//!
//! In reading order:
//!
//! - `client`: the API for the app, [`Client`] and [`Events`];
//! - `event`: the values that the app receives, [`Reply`] and [`Event`];
//! - `connector`: the server, and how it is reached, [`Connector`];
//! - `shell`: the loop between the core and the app;
//! - `socket`: the WebSocket, the only user of tokio-tungstenite;
//! - `json`: `serde_json` values as payloads of the core.
//!
//! ```no_run
//! use backwire_client_native::{Client, Event, Verb};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (client, mut events) = Client::connect("ws://localhost:1337");
//! let todos = client.request(Verb::Get, "/todo", None).await;
//! println!("{:?}", todos.body);
//! let milk = client.request(Verb::Post, "/todo", Some(json!({"title": "Milk"}))).await;
//! assert_eq!(milk.status, 201);
//! // From here on: changes by other clients.
//! while let Some(event) = events.next().await {
//!     if let Event::Changes(delivery) = event {
//!         println!("{}: {:?}", delivery.room, delivery.changes);
//!     }
//! }
//! # }
//! ```
//!
//! The client passes a response to the app before the changes that follow it. A task that handles
//! responses before events sees both in order. Other apps can order them by position: the response
//! header `backwire-position` and the offset of each change.

mod client;
mod connector;
mod event;
mod json;
mod shell;
mod socket;

pub use backwire_protocol::Connection;
pub use backwire_protocol::Delivery;
pub use backwire_protocol::{Status, Verb};
pub use client::{Client, Events};
pub use connector::Connector;
pub use event::{Event, Reply};
pub use json::Json;
