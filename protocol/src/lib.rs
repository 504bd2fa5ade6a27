//! The conversation between a Backwire client and its server, without the wires.
//!
//! In reading order:
//!
//! - [`packet`]: Socket.IO packets as text, both ways;
//! - [`link`]: one connection at a time, from the first attempt to the next after it broke;
//! - [`payload`]: the little the core has to know of what it carries;
//! - [`client`]: everything the app has asked for and is still owed, resting on
//!   `outbox` (each [`request`] in order), `retry` (which answers do not end a write), `transport`
//!   (over the link or over HTTP) and `feed` (rooms and their positions), which reads each
//!   [`push`];
//! - `frame`: the events that the client sends;
//! - [`output`]: the actions that the core requests;
//! - [`live`]: the records that each collection of the page shows, independent of the modules
//!   above.
//!
//! Nothing here does IO, reads a clock or draws a random number: [`Instant`]s and seeds are passed
//! in, and what should happen in the world comes out as values. A browser carries it with
//! `client-wasm`, tests carry it with a clock that is a number.

pub mod client;
mod feed;
mod frame;
mod json;
pub mod link;
pub mod live;
mod mark;
mod names;
mod outbox;
pub mod output;
pub mod packet;
pub mod payload;
pub mod push;
pub mod request;
mod retry;
mod time;
mod transport;

pub use client::Client;
pub use mark::mark;
pub use output::{Connection, Output, Status};
pub use payload::Payload;
pub use push::Delivery;
pub use request::{Failure, Reply, Request, RequestKind, Token, Verb};
pub use time::Instant;
