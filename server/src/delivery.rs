//! The push service: messages that back ends send, kept for each person until their devices have
//! acked them.
//!
//! - `service` takes messages from the `delivery_queue`, stores them, and passes them to the
//!   connected clients, the `recipients`.
//! - `connected_devices` registers the devices of a client. `session` is the task of one
//!   connection. It sends the messages in their order, and buffers new ones in `arrivals`.
//! - `site_client` is a connected client, and the form of the events that it is sent.
//! - `site_connections` lists the connections, so that a revocation can end them. `recheck` asks
//!   the back end again about connected clients. `rejection` is why a CONNECT is refused.
//!
//! The engine stores the messages: [`Queues`](backwire_engine::Queues).

mod arrivals;
pub(crate) mod connected_devices;
pub(crate) mod delivery_queue;
mod recheck;
mod recipients;
pub(crate) mod rejection;
pub(crate) mod service;
mod session;
pub(crate) mod site_client;
pub(crate) mod site_connections;
