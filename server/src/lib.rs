//! The push server that makes Backbone apps live.
//!
//! In this documentation the *runtime* is Backwire's client in a page (`backwire.js`), and a *stock
//! client* is any other client, such as `socket.io-client` or `sails.io.js`. A *handler* is a
//! handler of axum.
//!
//! Modules in reading order:
//!
//! - the crate `backwire-records`, here as [`change`], [`mod@write`], [`model`], [`criteria`],
//!   [`access`] and [`messages`], defines records and the effects of a write; the crate
//!   `backwire-engine`, here as [`engine`], stores the records;
//! - [`blueprints`], `subscription` and `resume` answer requests over any transport. `populate`
//!   adds records of other resources, `cascade` removes references to destroyed records, and
//!   `shared` is the state that all of them use. [`context`] is the caller, [`session`] holds the
//!   caller's values, [`error`] has the refusals, and [`pubsub`] publishes from handlers;
//! - the crate `backwire-environment` has the clock, the random numbers and the tasks that all
//!   modules use;
//! - [`route`] parses paths; `router` selects the handler that answers; `http` and `socket` are the
//!   edges, with `incoming` and `answers` for the events of sockets; `dialect` has the forms of
//!   pushes, and `rooms` their recipients;
//! - `fanout` sends the changes of the log to the connections; `delivery` is the push service;
//! - [`settings`], [`sites`] and [`config`] are the settings, read by `yaml`; [`server`] joins all
//!   of it.
//!
//! ```no_run
//! # async fn serve() -> std::io::Result<()> {
//! let server = backwire::Server::builder().port(1337).bind().await?;
//! println!("listening on {}", server.url());
//! # Ok(()) }
//! ```
//!
//! [`Builder::build`](server::Builder::build) returns a router instead, for an app of your own with
//! [axum], which this crate exports.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests have clocks and tasks"
    )
)]

mod delivery;

pub mod blueprints;
mod caller;
mod cascade;
mod populate;
mod resume;
mod store_events;
mod subscription;

mod address_quota;
mod all_params;
pub mod context;
mod csrf_tokens;
mod destroyed_records;
pub mod duration;
pub mod error;
mod event_name;
mod fair_queue;
mod fingerprint;
mod hooks;
mod identity;
mod join_in_order;
mod limit_monitor;
mod log_once;
mod memory_budget;
mod parse_claim;
pub mod pubsub;
mod push_backlog;
mod push_barriers;
#[expect(clippy::disallowed_methods, reason = "this reads files")]
mod secret_files;
pub mod session;
mod shared;
mod task_budget;
mod undeclared_resources;
mod uuids;

#[cfg(any(test, feature = "simulation"))]
#[doc(hidden)]
pub mod simulation;

#[cfg(feature = "testing")]
#[doc(hidden)]
pub use server::testing;

pub mod route;
mod router;

mod http;

mod announcements;
mod answer;
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

pub use all_params::AllParams;
pub use axum;
pub use backwire_engine as engine;
pub use backwire_records::{access, change, criteria, messages, model, write};
pub use context::Context;
pub use error::{Error, PlainText};
pub use pubsub::{Publisher, Pubsub};
pub use server::{Handle, Server};
pub use session::Session;
pub use settings::Settings;
pub use socket::Client;

/// Returns the number of dialects in which this event is a request. `cargo xtask fuzz` calls it
/// with any text.
#[doc(hidden)]
pub fn count_accepting_dialects(event: &str) -> usize {
    use dialect::Dialect::{Node, Runtime, Sails, Sails09};
    const BODY_LIMIT: usize = 1 << 20;
    let read = |dialect| incoming::read(event, dialect, BODY_LIMIT);
    [Runtime, Sails, Sails09, Node].into_iter().filter(|dialect| read(*dialect).is_ok()).count()
}

/// Returns the number of messages in this body, which is in one of the forms of a request to send.
/// `cargo xtask fuzz` calls it.
#[doc(hidden)]
pub fn count_messages(body: &[u8]) -> usize {
    http::send::messages(body).count()
}

/// Returns the code that a WebSocket is closed with for bytes of a client in parts of a size.
/// `cargo xtask fuzz` calls it.
#[doc(hidden)]
pub fn close_code(bytes: &[u8], size: usize) -> Option<u16> {
    socket::frame_check::close_code(bytes, size)
}

/// Returns what Socket.IO reads if an old client sends these bytes on a WebSocket in parts of a
/// size, and the rewritten payload if it sends them by POST and they have to be rewritten. This is
/// for `cargo xtask fuzz`, too.
#[doc(hidden)]
pub fn rewrite_old_client(bytes: &[u8], size: usize) -> (Vec<u8>, Option<String>) {
    (socket::legacy::rewrite_received(bytes, size), socket::legacy::rewrite_payload(bytes))
}

/// Returns a router that answers `POST /send` and passes each message to `record`. The tests of
/// `backwire send` use it in place of a server.
#[doc(hidden)]
pub fn recording_send_router(
    sites: sites::Sites,
    record: impl Fn(messages::message::Message, Option<write::Key>) + Send + Sync + 'static,
) -> axum::Router {
    const BODY_LIMIT: usize = 1 << 20;
    let post =
        move |queued: http::send::QueuedMessage| -> futures_util::future::BoxFuture<'static, _> {
            record(queued.message, queued.key);
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
    #[doc = include_str!("../../docs/how-to/use-the-crate.md")]
    mod use_the_crate {}
    #[doc = include_str!("../../docs/how-to/write-a-handler-in-rust.md")]
    mod write_a_handler_in_rust {}
}
