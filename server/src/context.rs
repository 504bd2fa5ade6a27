//! The caller, as a handler sees it: an axum extractor that is the same over HTTP and sockets.

mod commits;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use backwire_engine::{AnswerMemory, Engine, ReadOptions, ReadTime};
use backwire_records::access::{AccessScope, Operation, Principal};
use backwire_records::change::{Resource, ToId};
use backwire_records::model::{Associations, Model};
use backwire_records::write::WriteError;
use http::request::Parts;
use serde::Serialize;

#[cfg(feature = "testing")]
pub(crate) use commits::with_uuid;

use crate::answer_claim::AnswerClaim;
use crate::caller;
use crate::error::{Error, Result};
use crate::http::address::client_address;
use crate::http::idempotency_key as key;
use crate::http::security_headers::PrivateResponse;
use crate::identity::Identity;
use crate::pubsub::{Publisher, Pubsub};
use crate::session::SessionHandle;
use crate::shared::Shared;
use crate::socket::turn::Turn;
use crate::socket::{Client, ReadRooms, RequestRooms, address_of};

/// The caller of a handler, and the services that the handler may use.
///
/// ```
/// use axum::routing::get;
/// use backwire::{Context, Server};
///
/// // Answers over HTTP and over sockets, and knows which it was.
/// async fn whoami(cx: Context) -> String {
///     match cx.client() {
///         Some(client) => format!("a socket, {}", client.id()),
///         None => "somebody".to_owned(),
///     }
/// }
///
/// let server = Server::builder().route("/whoami", get(whoami));
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    client: Option<Client>,
    /// The session of a request over HTTP.
    session: SessionHandle,
    key: Option<Arc<str>>,
    /// The owner of the idempotency key, if the rules of a resource do not ask for a person.
    identity: Identity,
    /// The read options of this request. All its reads share one deadline.
    reads: ReadOptions,
    /// The claim on memory for the answer.
    answer: Option<AnswerClaim>,
    /// The rooms that the client has joined for the reads of this request.
    rooms: Option<RequestRooms>,
    turn: Option<Turn>,
    /// The address of the client.
    address: Option<IpAddr>,
    /// Over HTTP, whether the answer is for this caller alone.
    private_response: Option<PrivateResponse>,
}

impl Context {
    /// Returns the context of a client that has sent no request.
    pub(crate) fn of_client(shared: &Arc<Shared>, client: &Client) -> Self {
        Self::without_request(shared, Some(client))
    }

    /// Returns the context of the server itself, which may read what everyone may.
    pub(crate) fn of_server(shared: &Arc<Shared>) -> Self {
        Self::without_request(shared, None)
    }

    fn without_request(shared: &Arc<Shared>, client: Option<&Client>) -> Self {
        let (address, time) = (client.and_then(Client::address), ReadTime::default());
        let memory = AnswerMemory::default();
        Self {
            shared: Arc::clone(shared),
            client: client.cloned(),
            reads: ReadOptions { client: address, time, memory, ..shared.reads.clone() },
            answer: None,
            rooms: None,
            session: SessionHandle::default(),
            key: None,
            identity: Identity::default(),
            turn: None,
            address,
            private_response: None,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns the engine that stores the records.
    pub fn engine(&self) -> &dyn Engine {
        &*self.shared.engine
    }

    /// Returns the model of a resource, or an error if there is no such resource.
    pub fn model(&self, resource: &Resource) -> Result<Arc<Model>> {
        self.shared.model(resource)
    }

    /// Returns the read options of the caller, with the limits of the answer.
    pub(crate) fn reads(&self) -> &ReadOptions {
        &self.reads
    }

    /// Sets whether the request has written. The answer to a write is not refused for lack of
    /// memory.
    pub(crate) fn set_writing(&self, is_writing: bool) {
        self.answer.iter().for_each(|answer| answer.set_required(is_writing));
    }

    /// Keeps the client in rooms that it has joined for a read if the request is answered without
    /// an error.
    pub(crate) fn keep_if_answered(&self, rooms: ReadRooms) {
        match &self.rooms {
            Some(all) => all.add(rooms),
            None => rooms.keep(),
        }
    }

    pub(crate) fn associations(&self) -> &Associations {
        self.shared.models.associations()
    }

    /// Returns the publish and subscribe methods of a resource; see [`pubsub`](crate::pubsub).
    pub fn pubsub(&self, resource: &str) -> Result<Pubsub> {
        self.publisher().pubsub(resource)
    }

    /// Adds the caller's socket to a room of any name, to which [`broadcast`](Self::broadcast)
    /// sends events. A request over HTTP has no socket, and then this does nothing.
    pub fn listen(&self, room: &str) {
        self.client.iter().for_each(|client| client.listen(room));
    }

    /// Sends an event to all clients that listen to a room, except the caller: see
    /// [`Publisher::broadcast`].
    pub fn broadcast(
        &self,
        room: &str,
        event: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<()> {
        self.publisher().broadcast(room, event, data, self.client())
    }

    /// Sends an event to all clients except the caller: see [`Publisher::broadcast_to_all`].
    pub fn broadcast_to_all(&self, event: &str, data: &(impl Serialize + ?Sized)) -> Result<()> {
        self.publisher().broadcast_to_all(event, data, self.client())
    }

    /// Returns the publisher, which sends events and changes to any client.
    pub fn publisher(&self) -> Publisher {
        Publisher::of(&self.shared)
    }

    /// Returns the caller's connection, if the request came over a socket.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Returns the person and the roles of the caller: those of its session after
    /// [`Session::sign_in`](crate::Session::sign_in), of [`Client::sign_in`], or of the token of a
    /// site. `person` is `None` if the caller has not signed in.
    pub async fn principal(&self) -> Result<Principal> {
        self.private_response.iter().for_each(PrivateResponse::set);
        match (&self.client, self.session.id()) {
            (Some(client), _) => caller::of_client(&self.shared, client).await,
            (None, Some(session)) => Ok(caller::of_session(&self.shared, session).await?.principal),
            (None, None) => Ok(Principal::default()),
        }
    }

    /// Signs a person out of all their sessions, for example after a new password or when their
    /// rights are taken away. Their connections lose at once the subscriptions that they may no
    /// longer have. Returns how many sessions there were. This reads all sessions, so it is not for
    /// every request.
    pub async fn sign_out_everywhere(&self, person: impl ToId) -> Result<usize> {
        let person = person.to_id().ok_or(WriteError::BadId)?;
        caller::sign_out_everywhere(&self.shared, &person).await
    }

    /// Returns which records of a resource the caller may access. It is an error if there are none.
    pub async fn access_scope(
        &self,
        resource: &Resource,
        operation: Operation,
    ) -> Result<AccessScope> {
        if self.model(resource)?.access.is_open() {
            return Ok(AccessScope::Whole);
        }
        caller::access_scope(&self.shared, resource, &self.principal().await?, operation)
    }

    /// Returns the idempotency key of the request: its header `Idempotency-Key`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the same context for a back end that has sent the `api_key`.
    pub(crate) fn with_api_key_identity(self) -> Self {
        Self { identity: Identity::ApiKey, ..self }
    }

    /// Waits until all requests of the same connection before this one have been answered.
    pub(crate) async fn wait_for_earlier_requests(&self) {
        if let Some(turn) = &self.turn {
            turn.wait_until_alone().await;
        }
    }
}

/// The caller's socket, for handlers that take an `Option<Client>`.
impl<S: Sync> OptionalFromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> std::result::Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let (shared, client) = (Shared::of(parts), parts.extensions.get::<Client>().cloned());
        let address = client
            .as_ref()
            .map_or_else(|| client_address(&parts.extensions), |client| client.address());
        let answer = parts.extensions.get::<AnswerClaim>().cloned();
        let memory = answer.as_ref().map_or_else(AnswerMemory::default, AnswerClaim::memory);
        let time = ReadTime::default();
        let reads = ReadOptions { client: address, time, memory, ..shared.reads.clone() };
        Ok(Self {
            shared: Arc::clone(shared),
            client,
            reads,
            answer,
            rooms: parts.extensions.get().cloned(),
            session: SessionHandle::of(parts),
            key: key::of(&parts.headers)?,
            identity: Identity::default(),
            turn: parts.extensions.get::<Turn>().cloned(),
            address: address_of(parts),
            private_response: PrivateResponse::of(&parts.extensions),
        })
    }
}
