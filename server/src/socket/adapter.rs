//! The parts of Socket.IO that the logic needs: connections, rooms of connections, and namespaces.
//!
//! `socket_io` implements these traits over the network. A simulation has its own implementation.

pub(crate) mod socket;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::connection::{Client, Connection};
use socket::{Arguments, Socket};

/// All connections of a server.
pub(crate) trait Adapter: Send + Sync + 'static {
    /// Accepts connections to a namespace.
    fn open(&self, namespace: String, handler: Arc<dyn Namespace>);

    /// Returns the connections to a namespace.
    fn sockets(&self, namespace: &str) -> Vec<Arc<dyn Socket>>;

    /// Returns the connections to all namespaces.
    fn all_sockets(&self) -> Vec<Arc<dyn Socket>>;

    /// Returns the clients in the main namespace, or those among these recipients.
    fn clients(&self, among: Option<Recipients<'_>>) -> Vec<Client>;

    /// Sends an event to recipients in the main namespace. It is encoded once. Returns `false` if a
    /// connection could not take it.
    fn broadcast<'a>(
        &'a self,
        to: Recipients<'_>,
        event: &'a str,
        arguments: Arguments<'a>,
    ) -> BoxFuture<'a, bool>;

    /// Removes recipients in the main namespace from a room.
    fn remove(&self, from: Recipients<'_>, room: String) -> BoxFuture<'_, ()>;

    /// Ends all connections and accepts no more. This takes `grace` at most.
    fn close(&self, grace: Duration) -> BoxFuture<'_, ()>;
}

/// The recipients of a packet, by the names of rooms.
#[derive(Debug)]
pub(crate) struct Recipients<'a> {
    /// All connections in one of these rooms,
    pub(crate) rooms: Vec<String>,
    /// except those in one of these,
    pub(crate) except: Vec<String>,
    /// and except this connection.
    pub(crate) origin: Option<&'a str>,
}

/// Decides on the connections to a namespace.
pub(crate) trait Namespace: Send + Sync + 'static {
    /// Begins a connection, before its CONNECT is answered. An error is the message of the refusal.
    fn begin(
        &self,
        socket: &Arc<dyn Socket>,
        auth: Option<&str>,
    ) -> Result<Arc<dyn ConnectionHandler>, String>;
}

/// Receives the events of one connection, and its begin and end. It does not hold the socket,
/// because the socket holds it.
pub(crate) trait ConnectionHandler: Send + Sync + 'static {
    /// Returns the state of the connection, if its client sends requests.
    fn connection(&self) -> Option<&Arc<Connection>>;

    /// Decides on the CONNECT. An error is the message of the refusal. Events may arrive before
    /// this resolves.
    fn admit(&self, socket: Arc<dyn Socket>) -> BoxFuture<'_, Result<(), String>>;

    /// Called when the CONNECT was answered: from now on the client can be sent events.
    fn connected(&self, socket: Arc<dyn Socket>);

    /// Called for each event, one after the other. It must not block.
    fn received(&self, socket: Arc<dyn Socket>, event: Event);

    /// Called when the connection has ended. Its session may go on without it.
    fn disconnected(&self, socket: Arc<dyn Socket>, ends_session: bool);
}

/// An event as it was received.
pub(crate) struct Event {
    /// Its text, in UTF-8. If it had attachments, it is refused and the text is not needed.
    pub(crate) text: Bytes,
    pub(crate) ack: Option<i64>,
    /// Whether it had attachments.
    pub(crate) is_binary: bool,
}
