//! The protocol between a Backwire client and its server, without any IO.
//!
//! In reading order:
//!
//! - [`packet`]: Socket.IO packets as text, both ways;
//! - [`link`]: one connection at a time, with reconnects;
//! - [`payload`]: the access of the core to JSON;
//! - [`wire`]: the facts that server, core and shim have in common;
//! - [`client`]: all unfinished requests of the app. It uses `outbox` (each [`request`] in order),
//!   `retry` (responses that do not end a write), `transport` (over the link or over HTTP) and
//!   `feed` (rooms and their positions, with `room_name`);
//! - `frame`: the events that the client sends;
//! - [`output`]: the actions that the core requests;
//! - [`live`]: the records that each collection of the page shows, independent of the modules
//!   above.
//!
//! Nothing here does IO, reads a clock or draws a random number. [`Instant`]s and seeds are inputs,
//! and actions are outputs. In a browser, `client-wasm` carries them out. Tests use a simulated
//! clock.

pub mod client;
mod delivery;
mod feed;
mod frame;
mod join;
mod json;
pub mod link;
pub mod live;
mod mark;
mod names;
mod outbox;
pub mod output;
pub mod packet;
pub mod payload;
#[doc(hidden)]
pub mod planted;
pub mod request;
mod retry;
mod room_name;
mod time;
mod transport;
pub mod wire;

pub use client::Client;
pub use delivery::Delivery;
pub use mark::mark;
pub use output::{Connection, Output, Resumed, Status};
pub use payload::Payload;
pub use request::{Failure, Reply, Request, RequestKind, Token, Verb};
pub use time::Instant;
