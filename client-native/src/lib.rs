//! Backwire's client over tokio: the very core that ships to browsers, carried by one task.
//!
//! In reading order:
//!
//! - `client`: the app's side, [`Client`] and [`Events`];
//! - `event`: what the app receives, [`Reply`] and [`Event`];
//! - `shell`: the loop between the core and the app;
//! - `socket`: the one door to tokio-tungstenite;
//! - `json`: `serde_json` values as the core wants to see them.
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
//!     if let Event::News(news) = event {
//!         println!("{}: {:?}", news.room, news.changes);
//!     }
//! }
//! # }
//! ```
//!
//! The client hands a response over before any news that follows it. A task that takes responses
//! before news sees both in order. Other apps can order them by position: the response header
//! `backwire-position` and the offset of each change.

mod client;
mod event;
mod json;
mod shell;
mod socket;

pub use backwire_protocol::Connection;
pub use backwire_protocol::Delivery;
pub use backwire_protocol::{Status, Verb};
pub use client::{Client, Events};
pub use event::{Event, Reply};
pub use json::Json;
