//! `POST /send`: messages to users' browsers, from back ends in any language.
//!
//! A message that is answered with 200 is stored. The sender keeps a message until then, and may
//! send it again with its `Idempotency-Key`. An unknown site and a wrong key get the same refusal,
//! as at `POST /publish`.

mod backlog;
mod bodies;
mod compressed;
mod raw_message;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use backwire_engine::{self as engine, MessageList};
use backwire_records::messages::message::Message;
use backwire_records::write::{Key, WriteError};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::fingerprint;
use crate::http::caller::Caller;
use crate::http::idempotency_key as key;
use crate::join_in_order::join_in_order;
use crate::parse_claim::ParseClaim;
use crate::sites::{EventNames, Name, Site, Sites};

pub(crate) use backlog::BacklogPermit;

use backlog::Backlog;
use bodies::Body;
use compressed::decompressed;
use raw_message::{RawMessage, parse_bool};

pub(crate) const PATH: &str = "/send";

/// A message of a site that waits to be stored.
#[derive(Debug)]
pub(crate) struct QueuedMessage {
    pub(crate) name: Name,
    pub(crate) site: Arc<Site>,
    pub(crate) message: Message,
    /// The idempotency key. Each message of a list has its own, derived from the key of the
    /// request.
    pub(crate) key: Option<Key>,
    /// The list that it is a part of.
    pub(crate) list: Option<MessageList>,
    /// The permit of the backlog, which is dropped when the message does not wait any more.
    pub(crate) permit: BacklogPermit,
}

/// Stores a message. Messages are stored in the order in which their futures are first polled.
pub(crate) type Enqueue =
    Arc<dyn Fn(QueuedMessage) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Creates the route, for back ends of these sites. A body may have at most `limit` bytes, also
/// when it is decompressed.
pub(crate) fn router(sites: Sites, limit: usize, enqueue: Enqueue) -> Router {
    Router::new().route(PATH, post(send)).with_state(SendState {
        sites,
        backlog: Backlog::default(),
        limit,
        enqueue,
    })
}

#[derive(Clone)]
struct SendState {
    sites: Sites,
    backlog: Backlog,
    limit: usize,
    enqueue: Enqueue,
}

/// The query of a request, which applies to all its messages.
#[derive(Deserialize)]
struct SendQuery {
    resync: Option<String>,
}

/// The answer to one message of a list.
#[derive(Serialize)]
struct Outcome {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<RawValue>>,
}

async fn send(
    State(state): State<SendState>,
    caller: Caller,
    query: Query<SendQuery>,
    headers: HeaderMap,
    claim: Option<Extension<ParseClaim>>,
    body: Bytes,
) -> Result<Response> {
    let (request, site) = (request_id(&headers), caller.site.clone());
    let claim = claim.as_deref();
    let outcome = store(state, &caller, query, &headers, (body, claim)).await;
    match &outcome {
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::debug!(request, site, status, "messages are sent");
        }
        Err(error) => tracing::debug!(request, site, %error, "a message is refused"),
    }
    outcome
}

/// Returns the id that a proxy or the sender has given the request, or a new one, for the log.
#[expect(clippy::disallowed_methods, reason = "it is only for the log")]
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let given = given.filter(|id| (1..=128).contains(&id.len()));
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

async fn store(
    state: SendState,
    caller: &Caller,
    Query(SendQuery { resync }): Query<SendQuery>,
    headers: &HeaderMap,
    (body, claim): (Bytes, Option<&ParseClaim>),
) -> Result<Response> {
    let (name, site) = caller.authenticate(&state.sites)?;
    let resync = parse_bool(resync.as_deref().unwrap_or_default())?;
    let (key, body) = (key::of(headers)?, decompressed(headers, body, state.limit, claim).await?);
    let body = Body::read(headers, &body)?;
    let permit = state.backlog.acquire(&name, body.len())?;
    let sender = Sender { name, site, resync, key, permit, enqueue: state.enqueue };
    match body {
        Body::One(raw) => {
            (sender.enqueue)(sender.queued_message(*raw, 0, None)?).await?;
            Ok("OK".into_response())
        }
        Body::Many(raw_messages) => Ok(answer(sender.send_each(raw_messages).await?)),
    }
}

/// Refuses a back end without a valid key, and logs the refusal.
pub(super) fn check(sites: &Sites, caller: &Caller, headers: &HeaderMap) -> Result<()> {
    let authenticated = caller.authenticate(sites);
    if let Err(error) = &authenticated {
        let (request, site) = (request_id(headers), &caller.site);
        tracing::debug!(request, site, %error, "a message is refused");
    }
    authenticated.map(drop)
}

/// Stores the messages of one request.
struct Sender {
    name: Name,
    site: Arc<Site>,
    resync: bool,
    key: Option<Arc<str>>,
    permit: BacklogPermit,
    enqueue: Enqueue,
}

impl Sender {
    fn queued_message(
        &self,
        raw: RawMessage,
        index: usize,
        list: Option<MessageList>,
    ) -> Result<QueuedMessage> {
        let message = raw.message(self.site.event_names, self.resync)?;
        let key = self.key.as_ref().map(|key| Key {
            identity: self.name.as_str().into(),
            key: key::nth(key, index),
            fingerprint: fingerprint_of(&message),
        });
        let (name, site) = (self.name.clone(), Arc::clone(&self.site));
        Ok(QueuedMessage { name, site, message, key, list, permit: self.permit.clone() })
    }

    /// Stores messages in order, without waiting for one to finish before the next is enqueued.
    /// With a key, the first message has the fingerprint of all of them and is stored before the
    /// others. The call fails if the key was used for another request.
    async fn send_each(&self, raw_messages: Vec<Result<RawMessage>>) -> Result<Vec<Result<()>>> {
        let list = MessageList::default();
        let queued = |(index, raw): (_, Result<RawMessage>)| {
            self.queued_message(raw?, index, Some(list.clone()))
        };
        let mut messages: Vec<_> = raw_messages.into_iter().enumerate().map(queued).collect();
        let all = fingerprint_of_all(&messages);
        let mut before_others = 0;
        if let Some(own) = &self.key
            && let Some(first) = messages.iter().position(Result::is_ok)
            && let Ok(QueuedMessage { key: Some(key), .. }) = &mut messages[first]
        {
            key.key = Arc::clone(own);
            key.fingerprint = all;
            before_others = first + 1;
        }
        let others = messages.split_off(before_others);
        let store = async |message: Result<QueuedMessage>| (self.enqueue)(message?).await;
        let mut outcomes = join_in_order(messages.into_iter().map(store)).await;
        if let Some(Err(error)) = outcomes.pop_if(|outcome| is_key_reused(outcome)) {
            return Err(error);
        }
        outcomes.extend(join_in_order(others.into_iter().map(store)).await);
        Ok(outcomes)
    }
}

fn is_key_reused(outcome: &Result<()>) -> bool {
    let reused = WriteError::KeyReused;
    matches!(outcome, Err(Error::Engine(engine::Error::Refused(it))) if *it == reused)
}

/// Returns the fingerprint of a list: its length, and the messages that can be stored, with their
/// indexes.
fn fingerprint_of_all(messages: &[Result<QueuedMessage>]) -> u64 {
    let length = messages.len();
    let messages = messages.iter().enumerate().filter_map(|(index, message)| {
        let fingerprint = message.as_ref().ok()?.key.as_ref()?.fingerprint;
        Some((index, fingerprint))
    });
    let all = serde_json::to_vec(&("send each", length, messages.collect::<Vec<_>>()));
    fingerprint::of(&all.expect("it is made of numbers"))
}

fn fingerprint_of(Message { rooms, event, args, resync }: &Message) -> u64 {
    let json = serde_json::to_vec(&("send", rooms, event, args, resync));
    fingerprint::of(&json.expect("it is made of JSON and strings"))
}

/// Answers 200 if all messages are stored, or else 207, so that a sender does not have to read the
/// list.
fn answer(outcomes: Vec<Result<()>>) -> Response {
    let is_all = outcomes.iter().all(Result::is_ok);
    let status = if is_all { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let outcomes: Vec<_> = outcomes.into_iter().map(Outcome::from).collect();
    (status, Json(outcomes)).into_response()
}

impl From<Result<()>> for Outcome {
    fn from(outcome: Result<()>) -> Self {
        match outcome {
            Ok(()) => Self { status: 200, error: None },
            Err(error) => {
                let (status, refusal) = error.refusal();
                Self { status: status.as_u16(), error: Some(refusal) }
            }
        }
    }
}

/// Returns the messages that a body contains in any supported content type.
pub(crate) fn messages(body: &[u8]) -> impl Iterator<Item = Message> {
    let kinds = ["application/json", "application/x-ndjson", "application/x-www-form-urlencoded"];
    let bodies = kinds.into_iter().filter_map(|kind| {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Body::read(&HeaderMap::from_iter([kind]), body).ok()
    });
    let raw_messages = bodies.flat_map(|body| match body {
        Body::One(raw) => vec![Ok(*raw)],
        Body::Many(raw_messages) => raw_messages,
    });
    raw_messages.filter_map(|raw| raw.ok()?.message(EventNames::default(), false).ok())
}

#[cfg(test)]
mod tests;
