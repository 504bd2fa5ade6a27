//! The push server that makes Backbone apps live.
//!
//! In reading order:
//!
//! - the crate `backwire-records`, here as [`change`], [`mod@write`], [`model`], [`criteria`], [`access`] and
//!   [`messages`]: what records are, and what a write does; the crate `backwire-engine`, here as [`engine`]:
//!   where they are stored;
//! - [`blueprints`], `subscription`, `resume`: requests and their answers, over any transport. `populate` adds
//!   records of other resources, `cascade` does what follows from a destroy, and `shared` is what all of it uses.
//!   [`context`] is the caller, [`session`] is what is kept of them, [`error`] has the refusals, and [`pubsub`]
//!   publishes by hand;
//! - [`route`]: what a path is about; `router`: which handler answers it; `http` and `socket`: the edges, with
//!   `incoming` and `answers` for the events of sockets; `dialect` and `rooms`: the forms of pushes, and their
//!   recipients;
//! - `fanout`: from the log to everyone who listens; `delivery`: the push service;
//! - [`settings`], [`sites`] and [`config`], read by `yaml`; [`server`]: all of it together.
//!
//! ```no_run
//! # async fn serve() -> std::io::Result<()> {
//! let server = backwire::Server::builder().port(1337).bind().await?;
//! println!("listening on {}", server.url());
//! # Ok(()) }
//! ```

mod delivery;

pub mod blueprints;
mod caller;
mod cascade;
mod populate;
mod resume;
mod subscription;

mod address_quota;
mod clock;
pub mod context;
pub mod duration;
pub mod error;
mod fingerprint;
mod identity;
mod in_line;
mod limit_monitor;
mod log_once;
mod memory_budget;
mod parse_claim;
pub mod pubsub;
mod secret_files;
pub mod session;
mod shared;
mod undeclared_resources;

pub mod route;
mod router;

mod http;

mod answer_claim;
mod answers;
mod incoming;
pub mod socket;

pub mod dialect;
mod rooms;

mod fanout;

pub mod config;
pub mod server;
pub mod settings;
pub mod sites;
mod yaml;

pub use backwire_engine as engine;
pub use backwire_records::{access, change, criteria, messages, model, write};
pub use context::Context;
pub use error::Error;
pub use pubsub::{Publisher, Pubsub};
pub use server::Server;
pub use session::Session;
pub use settings::Settings;
pub use socket::Client;

/// In how many dialects this is a request: what `cargo xtask fuzz` feeds with any text.
#[doc(hidden)]
pub fn understood(event: &str) -> usize {
    use dialect::Dialect::{Node, Runtime, Sails, Sails09};
    const BODY_LIMIT: usize = 1 << 20;
    let read = |dialect| incoming::read(event, dialect, BODY_LIMIT);
    [Runtime, Sails, Sails09, Node].into_iter().filter(|dialect| read(*dialect).is_ok()).count()
}

/// How many messages this is in one of the forms of a request to send: what `cargo xtask fuzz` feeds, too.
#[doc(hidden)]
pub fn sent(body: &[u8]) -> usize {
    http::send::messages(body).count()
}

/// The code that a WebSocket is closed with for bytes of a client in parts of a size: what `cargo xtask fuzz` feeds, too.
#[doc(hidden)]
pub fn close_code(bytes: &[u8], size: usize) -> Option<u16> {
    socket::frame_check::close_code(bytes, size)
}

/// What Socket.IO reads of what an old client sends on a WebSocket in parts of a size, and by POST if that has to
/// be put otherwise: what `cargo xtask fuzz` feeds, too.
#[doc(hidden)]
pub fn put_otherwise(bytes: &[u8], size: usize) -> (Vec<u8>, Option<String>) {
    (socket::legacy::passed(bytes, size), socket::legacy::rewritten(bytes))
}

/// Answers `POST /send` and hands over what was sent: what the tests of `backwire send` put in place of a server.
#[doc(hidden)]
pub fn record_sent(
    sites: sites::Sites,
    record: impl Fn(messages::message::Message, Option<write::Key>) + Send + Sync + 'static,
) -> axum::Router {
    const BODY_LIMIT: usize = 1 << 20;
    let post = move |letter: http::send::Letter| -> futures_util::future::BoxFuture<'static, _> {
        record(letter.message, letter.key);
        Box::pin(async { Ok(()) })
    };
    http::send::router(sites, BODY_LIMIT, std::sync::Arc::new(post))
}

/// The programs of the documentation, which are compiled with the tests.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../docs/how-to/authenticate-users.md")]
    mod authenticate_users {}
    #[doc = include_str!("../../docs/how-to/restrict-who-sees-what.md")]
    mod restrict_who_sees_what {}
    #[doc = include_str!("../../docs/how-to/write-a-handler-in-rust.md")]
    mod write_a_handler_in_rust {}
}
