//! The HTTP edge: connections, who may use them, who is known again, and what is served beside resources.

mod activity;
pub(crate) mod admission;
pub(crate) mod assets;
pub(crate) mod budget;
mod caller;
pub(crate) mod client_address;
pub(crate) mod connections;
pub(crate) mod cookies;
pub(crate) mod emulation;
mod encoding;
pub(crate) mod handshake;
pub(crate) mod health;
pub(crate) mod host;
pub(crate) mod key;
pub(crate) mod limit;
pub(crate) mod listener;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod outgoing;
pub(crate) mod publish;
pub(crate) mod revoke;
pub(crate) mod security_headers;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod socket_path;
pub(crate) mod values;
pub(crate) mod websocket;
