//! `POST /send`: messages to people's browsers, from back ends in any language.
//!
//! What is answered with 200 is stored: whoever sends keeps a message until then, and may send it again
//! under its `Idempotency-Key`. A site that is not there and a key that is wrong are refused alike, as at
//! `POST /publish`.

mod backlog;
mod bodies;
mod compressed;
mod draft;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use backwire_engine as engine;
use backwire_records::messages::message::Message;
use backwire_records::write::{Key, Refused};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::fingerprint;
use crate::http::caller::Caller;
use crate::http::key;
use crate::in_line::in_line;
use crate::parse_claim::ParseClaim;
use crate::sites::{EventNames, Name, Site, Sites};

pub(crate) use backlog::Share;

use backlog::Backlog;
use bodies::Body;
use compressed::decompressed;
use draft::{Draft, yes_or_no};

pub(super) const PATH: &str = "/send";

/// A message of a site on its way to where it is kept.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) name: Name,
    pub(crate) site: Arc<Site>,
    pub(crate) message: Message,
    /// One of a list has its own, made of the request's.
    pub(crate) key: Option<Key>,
    /// Dropped when it does not wait any more.
    pub(crate) share: Share,
}

/// Keeps a message. The order of letters is that in which their futures are polled first.
pub(crate) type Post = Arc<dyn Fn(Letter) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// The route, for back ends of these sites, with so many bytes in a body at most, also decompressed.
pub(crate) fn router(sites: Sites, limit: usize, to: Post) -> Router {
    Router::new().route(PATH, post(send)).with_state(Desk {
        sites,
        backlog: Backlog::default(),
        limit,
        post: to,
    })
}

#[derive(Clone)]
struct Desk {
    sites: Sites,
    backlog: Backlog,
    limit: usize,
    post: Post,
}

/// What a request says of all its messages.
#[derive(Deserialize)]
struct Manner {
    resync: Option<String>,
}

/// What is answered to one message of many.
#[derive(Serialize)]
struct Outcome {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<RawValue>>,
}

async fn send(
    State(desk): State<Desk>,
    caller: Caller,
    query: Query<Manner>,
    headers: HeaderMap,
    claim: Option<Extension<ParseClaim>>,
    body: Bytes,
) -> Result<Response> {
    let (request, site) = (request_id(&headers), caller.site.clone());
    let claim = claim.as_deref();
    let outcome = store(desk, &caller, query, &headers, (body, claim)).await;
    match &outcome {
        Ok(response) => {
            let status = response.status().as_u16();
            tracing::debug!(request, site, status, "messages are sent");
        }
        Err(error) => tracing::debug!(request, site, %error, "a message is refused"),
    }
    outcome
}

/// The id that a proxy or the sender has given the request, or a new one, for the log.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let given = given.filter(|id| (1..=128).contains(&id.len()));
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

async fn store(
    desk: Desk,
    caller: &Caller,
    Query(Manner { resync }): Query<Manner>,
    headers: &HeaderMap,
    (body, claim): (Bytes, Option<&ParseClaim>),
) -> Result<Response> {
    let (name, site) = caller.admitted(&desk.sites)?;
    let resync = yes_or_no(resync.as_deref().unwrap_or_default())?;
    let (key, body) = (key::of(headers)?, decompressed(headers, body, desk.limit, claim).await?);
    let body = Body::read(headers, &body)?;
    let share = desk.backlog.take(&name, body.len())?;
    let sender = Sender { name, site, resync, key, share, post: desk.post };
    match body {
        Body::One(draft) => {
            (sender.post)(sender.letter(*draft, 0)?).await?;
            Ok("OK".into_response())
        }
        Body::Many(drafts) => Ok(answer(sender.send_each(drafts).await?)),
    }
}

/// Refuses a back end that does not show its key, and logs it as other refusals.
pub(super) fn check(sites: &Sites, caller: &Caller, headers: &HeaderMap) -> Result<()> {
    let admitted = caller.admitted(sites);
    if let Err(error) = &admitted {
        let (request, site) = (request_id(headers), &caller.site);
        tracing::debug!(request, site, %error, "a message is refused");
    }
    admitted.map(drop)
}

/// Who sends, and how.
struct Sender {
    name: Name,
    site: Arc<Site>,
    resync: bool,
    key: Option<Arc<str>>,
    share: Share,
    post: Post,
}

impl Sender {
    fn letter(&self, draft: Draft, place: usize) -> Result<Letter> {
        let message = draft.message(self.site.event_names, self.resync)?;
        let key = self.key.as_ref().map(|key| Key {
            identity: self.name.as_str().into(),
            key: key::nth(key, place),
            fingerprint: fingerprint_of(&message),
        });
        let (name, site) = (self.name.clone(), Arc::clone(&self.site));
        Ok(Letter { name, site, message, key, share: self.share.clone() })
    }

    /// Stores messages in their order, without waiting for one before the next is in line. With a
    /// key, the first has a fingerprint of all of them and is stored before the others: an error is
    /// that the key was used for another request.
    async fn send_each(&self, drafts: Vec<Result<Draft>>) -> Result<Vec<Result<()>>> {
        let letter = |(place, draft): (_, Result<Draft>)| self.letter(draft?, place);
        let mut letters: Vec<_> = drafts.into_iter().enumerate().map(letter).collect();
        let all = fingerprint_of_all(&letters);
        let mut before_others = 0;
        if let Some(own) = &self.key
            && let Some(first) = letters.iter().position(Result::is_ok)
            && let Ok(Letter { key: Some(key), .. }) = &mut letters[first]
        {
            key.key = Arc::clone(own);
            key.fingerprint = all;
            before_others = first + 1;
        }
        let others = letters.split_off(before_others);
        let store = async |letter: Result<Letter>| (self.post)(letter?).await;
        let mut outcomes = in_line(letters.into_iter().map(store)).await;
        if let Some(Err(error)) = outcomes.pop_if(|outcome| is_key_reused(outcome)) {
            return Err(error);
        }
        outcomes.extend(in_line(others.into_iter().map(store)).await);
        Ok(outcomes)
    }
}

fn is_key_reused(outcome: &Result<()>) -> bool {
    let reused = Refused::KeyReused;
    matches!(outcome, Err(Error::Engine(engine::Error::Refused(it))) if *it == reused)
}

/// The fingerprint of a list: its length, and the messages that can be stored, with their places.
fn fingerprint_of_all(letters: &[Result<Letter>]) -> u64 {
    let length = letters.len();
    let letters = letters.iter().enumerate().filter_map(|(place, letter)| {
        let fingerprint = letter.as_ref().ok()?.key.as_ref()?.fingerprint;
        Some((place, fingerprint))
    });
    let all = serde_json::to_vec(&("send each", length, letters.collect::<Vec<_>>()));
    fingerprint::of(&all.expect("it is made of numbers"))
}

fn fingerprint_of(Message { rooms, event, args, resync }: &Message) -> u64 {
    let deed = serde_json::to_vec(&("send", rooms, event, args, resync));
    fingerprint::of(&deed.expect("it is made of JSON and strings"))
}

/// 200 if all are stored, or else 207, so that nobody has to look into the list to know.
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

/// What a body is understood as, whatever it is said to be.
pub(crate) fn messages(body: &[u8]) -> impl Iterator<Item = Message> {
    let kinds = ["application/json", "application/x-ndjson", "application/x-www-form-urlencoded"];
    let bodies = kinds.into_iter().filter_map(|kind| {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Body::read(&HeaderMap::from_iter([kind]), body).ok()
    });
    let drafts = bodies.flat_map(|body| match body {
        Body::One(draft) => vec![Ok(*draft)],
        Body::Many(drafts) => drafts,
    });
    drafts.filter_map(|draft| draft.ok()?.message(EventNames::default(), false).ok())
}

#[cfg(test)]
mod tests;
