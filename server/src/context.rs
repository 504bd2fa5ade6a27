//! The caller, as a handler sees it: an axum extractor that is the same over HTTP and sockets.

mod commits;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use backwire_engine::{AnswerMemory, Engine, ReadOptions, ReadTime};
use backwire_records::access::{Act, Reach, Who};
use backwire_records::change::{Resource, ToId};
use backwire_records::model::{Associations, Model};
use backwire_records::write::Refused;
use http::request::Parts;
use serde::Serialize;

use crate::answer_claim::AnswerClaim;
use crate::caller;
use crate::error::{Error, Result};
use crate::http::client_address::client_address;
use crate::http::key;
use crate::http::security_headers::Personal;
use crate::identity::Identity;
use crate::pubsub::{Publisher, Pubsub};
use crate::session::Brought;
use crate::shared::Shared;
use crate::socket::Client;
use crate::socket::turn::Turn;

/// Who asks, and what they may use.
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
    /// The session that a request over HTTP brought.
    session: Brought,
    key: Option<Arc<str>>,
    /// Whose the key is, where the rules of a resource do not ask for a person.
    identity: Identity,
    /// Of this request, whose reads have one deadline.
    reads: ReadOptions,
    /// The memory of the answer.
    answer: Option<AnswerClaim>,
    turn: Option<Turn>,
    /// Of the client.
    address: Option<IpAddr>,
    /// Over HTTP, whether the answer is for this caller alone.
    personal: Option<Personal>,
}

impl Context {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Where the records live.
    pub fn engine(&self) -> &dyn Engine {
        &*self.shared.engine
    }

    /// What the records of a resource are like; an error if there is no such resource.
    pub fn model(&self, resource: &Resource) -> Result<Arc<Model>> {
        self.shared.model(resource)
    }

    /// How the caller reads: how much there may be of the answer.
    pub(crate) fn reads(&self) -> &ReadOptions {
        &self.reads
    }

    /// Says whether the request has written: then its answer is not refused for lack of memory.
    pub(crate) fn set_writing(&self, is_writing: bool) {
        self.answer.iter().for_each(|answer| answer.set_required(is_writing));
    }

    pub(crate) fn associations(&self) -> &Associations {
        self.shared.models.associations()
    }

    /// What there is to say and to hear of a resource; see [`pubsub`](crate::pubsub).
    pub fn pubsub(&self, resource: &str) -> Result<Pubsub> {
        Publisher::of(&self.shared).pubsub(resource)
    }

    /// The caller listens to a room of any name from here on. Without a socket nothing happens.
    pub fn listen(&self, room: &str) {
        self.client.iter().for_each(|client| client.listen(room));
    }

    /// Says something to all who listen to a room but the caller; it arrives as the event `message`.
    pub fn broadcast(&self, room: &str, data: &impl Serialize) -> Result<()> {
        Publisher::of(&self.shared).broadcast(room, data, self.client())
    }

    /// The caller's connection, if the request came over a socket.
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Who the caller has proved to be, by [signing in](crate::Session::sign_in).
    pub async fn who(&self) -> Result<Who> {
        self.personal.iter().for_each(Personal::set);
        match (&self.client, self.session.id()) {
            (Some(client), _) => caller::of_client(&self.shared, client).await,
            (None, Some(session)) => Ok(caller::known(&self.shared, session).await?.who),
            (None, None) => Ok(Who::default()),
        }
    }

    /// Signs a person out of all their sessions, for example after a new password or when their rights are
    /// taken away. Their connections lose at once what they may no longer hear. Returns how many sessions
    /// there were. All sessions are looked at, so this is not for every request.
    pub async fn sign_out_everywhere(&self, person: impl ToId) -> Result<usize> {
        let person = person.to_id().ok_or(Refused::BadId)?;
        caller::sign_out_everywhere(&self.shared, &person).await
    }

    /// What of a resource is left to the caller; an error if that is nothing.
    pub async fn reach(&self, resource: &Resource, act: Act) -> Result<Reach> {
        if self.model(resource)?.access.is_open() {
            return Ok(Reach::Whole);
        }
        caller::reach(&self.shared, resource, &self.who().await?, act)
    }

    /// The request's `Idempotency-Key`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The same, for a back end that has shown the `api_key`.
    pub(crate) fn of_api_key(self) -> Self {
        Self { identity: Identity::ApiKey, ..self }
    }

    /// Waits until all requests of the same connection before this one have been answered.
    pub(crate) async fn alone(&self) {
        if let Some(turn) = &self.turn {
            turn.alone().await;
        }
    }
}

/// The address of the client of a request, over HTTP or a socket.
pub(crate) fn address_of(parts: &Parts) -> Option<IpAddr> {
    match parts.extensions.get::<Client>() {
        Some(client) => client.address(),
        None => client_address(&parts.extensions),
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
            session: Brought::of(parts),
            key: key::of(&parts.headers)?,
            identity: Identity::default(),
            turn: parts.extensions.get::<Turn>().cloned(),
            address: address_of(parts),
            personal: Personal::of(&parts.extensions),
        })
    }
}
