//! The HTTP edge: TCP connections, the checks of requests, sessions, and the routes beside
//! resources.

#[expect(clippy::disallowed_methods, reason = "this is the edge to clients")]
pub(crate) mod activity;
pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod assets;
mod body;
#[expect(clippy::disallowed_methods, reason = "this is the edge to clients")]
pub(crate) mod budget;
mod caller;
pub(crate) mod client_address;
#[expect(clippy::disallowed_types, reason = "this is the edge to clients")]
pub(crate) mod connection_handle;
#[expect(clippy::disallowed_methods, reason = "this is the edge to clients")]
pub(crate) mod connections;
pub(crate) mod cookies;
pub(crate) mod csrf;
#[expect(clippy::disallowed_methods, reason = "this is the edge to clients")]
pub(crate) mod embedded;
pub(crate) mod emulation;
mod encoding;
pub(crate) mod handshake;
mod head_memory;
pub(crate) mod health;
pub(crate) mod host;
pub(crate) mod http_client;
pub(crate) mod idempotency_key;
pub(crate) mod limit;
pub(crate) mod metrics;
pub(crate) mod mount_path;
pub(crate) mod origin;
pub(crate) mod publish;
mod raw_response;
pub(crate) mod revoke;
pub(crate) mod security_headers;
pub(crate) mod send;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the edge to clients"
)]
pub(crate) mod serve;
pub(crate) mod socket_path;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the edge to clients"
)]
pub(crate) mod tcp_connection;
#[expect(clippy::disallowed_methods, reason = "this is the edge to clients")]
pub(crate) mod upgraded_stream;
pub(crate) mod uploads;
pub(crate) mod values;
pub(crate) mod websocket;
