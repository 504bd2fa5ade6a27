//! The HTTP edge: TCP connections, the checks of requests, sessions, and the routes beside
//! resources.

mod activity;
pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod assets;
pub(crate) mod budget;
mod caller;
pub(crate) mod client_address;
pub(crate) mod connection_handle;
pub(crate) mod connections;
pub(crate) mod cookies;
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
pub(crate) mod origin;
pub(crate) mod publish;
pub(crate) mod revoke;
pub(crate) mod security_headers;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod socket_path;
pub(crate) mod tcp_connection;
pub(crate) mod values;
pub(crate) mod websocket;
