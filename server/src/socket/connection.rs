//! One connection: its state, and the `Client` handle that requests carry.

mod handshake;
mod joining;
mod read_rooms;
mod sending;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backwire_engine::Environment;
use backwire_records::access::{ExpiringPrincipal, Principal};
use backwire_records::change::ToId;
use backwire_records::messages::flake::Flake;
use backwire_records::write::WriteError;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::{SetOnce, oneshot};
use tokio::task::yield_now;

use super::adapter::socket::Socket;
use super::inbox::{Inbox, QueuedEvent};
use super::input::Input;
use super::memberships::Memberships;
use super::output::Output;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::http::address::client_address;
use crate::incoming;
use crate::limit_monitor::LimitMonitor;
use crate::rooms::Presence;
use crate::settings::Origin;

pub use handshake::Handshake;
pub(super) use handshake::auth_to_keep;
pub(crate) use read_rooms::{ReadRooms, RequestRooms};
pub(super) use sending::{PushError, count_unread};

/// How long a connection may take until the server can send to it.
const CONNECT_GRACE: Duration = Duration::from_secs(1);

/// The state of a connection from its CONNECT to its end.
///
/// It does not hold the socket, because the socket holds it.
pub(crate) struct Connection {
    id: Arc<str>,
    /// Not set for a stock client that has not sent a request yet.
    dialect: OnceLock<Dialect>,
    presence: Arc<Presence>,
    limits_reached: Arc<LimitMonitor>,
    /// The origin of its page, if pages of that origin may not use resources.
    refused_page: Option<Origin>,
    /// The auth of its CONNECT.
    auth: Option<Box<str>>,
    /// The id of its session. It is set at its first use.
    session: OnceLock<Arc<str>>,
    /// The user of the connection, as far as it is known.
    principal: Mutex<PrincipalCache>,
    /// Deliveries of the push service that the client has not acked yet, in order.
    unacked: Mutex<VecDeque<(Flake, oneshot::Sender<()>)>>,
    /// Set when it is gone.
    is_gone: SetOnce<()>,
    /// Dropped when the connection is gone, which notifies its delivery task.
    gone_sender: Mutex<Option<oneshot::Sender<()>>>,
    pub(super) inbox: Inbox,
    /// The input of the client that is not answered yet.
    pub(super) input: Arc<Input>,
    /// The packets that were sent and that the client has not read.
    pub(super) output: Arc<Output>,
    /// The address of the client, as limits count it.
    address: Option<IpAddr>,
    /// Its memberships. `None` when the connection is gone.
    ///
    /// Invariant: the lock is held while rooms are joined or left, and while `mark_gone` takes the
    /// value. So a join happens before the end of the connection, and Socket.IO cleans up after it,
    /// or the join does not happen.
    memberships: Mutex<Option<Memberships>>,
}

/// The user of a connection, and the round of the question.
#[derive(Default)]
struct PrincipalCache {
    known: Option<ExpiringPrincipal>,
    /// Grows when the user has to be determined again. An answer to a question of an earlier round
    /// is out of date.
    round: u64,
}

impl Connection {
    pub(super) fn new(
        id: &str,
        dialect: Option<Dialect>,
        presence: Arc<Presence>,
        limits_reached: Arc<LimitMonitor>,
        (refused_page, auth): (Option<Origin>, Option<Box<str>>),
        address: Option<IpAddr>,
        (input, output): (Arc<Input>, Arc<Output>),
    ) -> Self {
        Self {
            id: id.into(),
            dialect: dialect.map_or_else(OnceLock::new, OnceLock::from),
            presence,
            limits_reached,
            refused_page,
            auth,
            session: OnceLock::new(),
            principal: Mutex::default(),
            unacked: Mutex::default(),
            is_gone: SetOnce::new(),
            gone_sender: Mutex::default(),
            inbox: Inbox::new(Arc::clone(&input)),
            address,
            input,
            output,
            memberships: Mutex::new(Some(Memberships::default())),
        }
    }

    /// Determines the dialect from an event, if it is not known. This happens when events arrive
    /// and not when their turn comes, so that all messages about any of them are in the same
    /// dialect.
    pub(super) fn learn_dialect(&self, event: &QueuedEvent) {
        if self.dialect.get().is_some() {
            return;
        }
        if let Some(dialect) = incoming::dialect(event.text()) {
            self.dialect.get_or_init(|| dialect);
        }
    }

    /// Marks the connection as gone: from now on it joins nothing.
    pub(super) fn mark_gone(&self) {
        if let Some(mut memberships) = self.memberships.lock().take() {
            self.presence.resize(self.address, memberships.memory(), 0);
            for room in memberships.all().cloned().collect::<Vec<_>>() {
                self.remove_membership(&mut memberships, &room);
            }
        }
        drop(self.gone_sender.lock().take());
        // An error means that it is gone already.
        let _ = self.is_gone.set(());
        self.unacked.lock().clear();
    }

    fn dialect(&self) -> Dialect {
        self.dialect.get().copied().unwrap_or(Dialect::Sails)
    }

    /// The origin of its page, if pages of that origin may not use resources.
    pub(super) fn refused_page(&self) -> Option<&Origin> {
        self.refused_page.as_ref()
    }

    pub(super) fn set_principal(&self, known: ExpiringPrincipal) {
        self.principal.lock().known = Some(known);
    }

    /// Returns a receiver that ends when the connection is gone, also if it is gone already.
    pub(super) fn gone_receiver(&self) -> oneshot::Receiver<()> {
        let (sender, gone) = oneshot::channel();
        let memberships = self.memberships.lock();
        if memberships.is_some() {
            *self.gone_sender.lock() = Some(sender);
        }
        gone
    }
}

/// A connection of a client: the caller of a request, or a listener.
#[derive(Clone)]
pub struct Client {
    pub(super) socket: Arc<dyn Socket>,
    pub(super) connection: Arc<Connection>,
}

impl Client {
    pub(crate) fn new(socket: Arc<dyn Socket>, connection: Arc<Connection>) -> Self {
        Self { socket, connection }
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// Returns a value that tells this connection from all others.
    pub(super) fn key(&self) -> *const Connection {
        Arc::as_ptr(&self.connection)
    }

    /// The connection's id.
    pub fn id(&self) -> &Arc<str> {
        &self.connection.id
    }

    /// The dialect that the client speaks. While a request is handled, it is known for every
    /// client.
    pub fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    /// Whether the connection is still there, as far as the server knows.
    pub fn is_connected(&self) -> bool {
        self.connection.memberships.lock().is_some()
    }

    /// Drops all events that arrive from now on: the connection is about to end.
    pub(super) fn close_inbox(&self) {
        self.connection.inbox.close();
    }

    /// Whether events are being answered, or answers have not left the server.
    pub(super) fn is_busy(&self) -> bool {
        self.connection.inbox.is_answering() || self.connection.output.unread() > 0
    }

    /// Resolves when the server can send to the connection. socketioxide answers a CONNECT before
    /// it allows that, so a request of a quick client may have arrived already. It could be
    /// answered, and pushes to the client would fail.
    pub(super) async fn connected(&self, environment: &Environment) {
        // Between the two is only an assignment, but another thread makes it. If the answer to the
        // CONNECT cannot be sent, it is never made.
        let deadline = environment.now() + CONNECT_GRACE;
        while !self.socket.can_send() && self.is_connected() && environment.now() < deadline {
            yield_now().await;
        }
    }

    /// The address of the client, as limits count it.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        client_address(&self.socket.handshake().extensions)
    }

    /// Returns the user of the connection, if it is known, and the round in which to determine it.
    pub(crate) fn principal(&self) -> (Option<ExpiringPrincipal>, u64) {
        let principal = self.connection.principal.lock();
        (principal.known.clone(), principal.round)
    }

    /// Stores the user that was determined in a round. Returns `false` if that round is over.
    pub(crate) fn set_principal(&self, known: &ExpiringPrincipal, round: u64) -> bool {
        let mut principal = self.connection.principal.lock();
        let is_up_to_date = principal.round == round;
        if is_up_to_date {
            principal.known = Some(known.clone());
        }
        is_up_to_date
    }

    /// Signs the client in as this person with these roles, which the rules of
    /// [`access`](backwire_records::access) use, until the connection ends. It is for a function of
    /// [`on_connect`](crate::server::Builder::on_connect) that checks what the client has sent in
    /// its handshake. The session of the client stays as it is.
    pub fn sign_in(
        &self,
        person: impl ToId,
        roles: impl IntoIterator<Item: Into<String>>,
    ) -> Result<(), Error> {
        let person = Some(person.to_id().ok_or(WriteError::BadId)?);
        let principal = Principal { person, roles: roles.into_iter().map(Into::into).collect() };
        let until = ExpiringPrincipal::NEVER;
        self.connection.set_principal(ExpiringPrincipal { principal, until });
        Ok(())
    }

    /// Forgets the user, so that it is determined again, unless a site has authenticated it.
    pub(crate) fn forget_principal(&self) {
        let mut principal = self.connection.principal.lock();
        principal.known.take_if(|known| known.until != ExpiringPrincipal::NEVER);
        principal.round += 1;
    }

    /// Resolves when the connection is gone.
    pub(crate) async fn gone(&self) {
        self.connection.is_gone.wait().await;
    }

    /// Ends the connection, also if its buffers are full.
    pub fn disconnect(&self) {
        drop(Arc::clone(&self.socket).end());
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, dialect) = (self.id(), self.dialect());
        f.debug_struct("Client").field("id", id).field("dialect", &dialect).finish_non_exhaustive()
    }
}

/// Returns the address of the client of a request, over HTTP or a socket.
pub(crate) fn address_of(parts: &Parts) -> Option<IpAddr> {
    match parts.extensions.get::<Client>() {
        Some(client) => client.address(),
        None => client_address(&parts.extensions),
    }
}
