//! The conversation between a Backwire client and its server, without the wires.
//!
//! In reading order:
//!
//! - [`packet`]: Socket.IO packets as text, both ways;
//! - [`link`]: one connection at a time, from the first attempt to the next after it broke;
//! - [`payload`]: the little the core has to know of what it carries;
//! - [`client`]: everything the app has asked for and is still owed, resting on
//!   [`outbox`] (requests in order) and `feed` (rooms and their positions), which reads what [`push`]
//!   brings;
//! - [`output`]: what all of it wants done;
//! - [`live`]: which records each collection of the page shows, beside all that.
//!
//! Nothing here does IO, reads a clock or draws a random number: [`Instant`]s and seeds are passed
//! in, and what should happen in the world comes out as values. A browser carries it with
//! `client-wasm`, tests carry it with a clock that is a number.

pub mod client;
mod feed;
mod json;
pub mod link;
pub mod live;
mod mark;
mod names;
pub mod outbox;
pub mod output;
pub mod packet;
pub mod payload;
pub mod push;
mod time;

pub use client::Client;
pub use mark::mark;
pub use outbox::{Failure, Reply, Request, Token, Verb};
pub use output::{Connection, Output, Status};
pub use payload::Payload;
pub use push::Delivery;
pub use time::Instant;
