//! What is kept of a visitor from one request to the next: Sails' `req.session`, as an axum extractor.
//!
//! ```
//! use axum::routing::get;
//! use backwire::error::Result;
//! use backwire::{Server, Session};
//!
//! // The same number over HTTP and over the sockets of the same browser.
//! async fn visits(session: Session) -> Result<String> {
//!     let visits = session.get::<u64>("visits").await?.unwrap_or(0) + 1;
//!     session.insert("visits", visits)?;
//!     Ok(visits.to_string())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # use backwire::settings::Store;
//! let server = Server::builder().route("/visits", get(visits));
//! # let server = server.port(0).store(Store::Memory).bind().await?;
//! # let url = format!("http://{}/visits", server.addr());
//! # let first = reqwest::get(&url).await?;
//! # let cookie = first.headers()["set-cookie"].to_str()?.to_owned();
//! # assert_eq!(first.text().await?, "1");
//! # let again = reqwest::Client::new().get(&url).header("cookie", cookie).send().await?;
//! # assert_eq!(again.text().await?, "2");
//! # server.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! A session is found by a signed cookie: that of the request over HTTP, that of the handshake over a
//! socket. A socket that brought none has a session of its own until it ends; nobody else gets there.
//! A request over HTTP that brought none gets the cookie with its answer, once the session holds
//! something.
//!
//! Invariant: what was inserted and removed is saved when the handler is done, before anybody is
//! answered, so the next request sees it, over whichever transport. What is saved is what was changed, key by key:
//! requests at the same time lose nothing of each other's unless they change the same key, and then
//! the last one wins. One that counts, as above, may so miss a count.
//!
//! A session is forgotten when nothing has been done with it for
//! [`session_age`](crate::Settings::session_age).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::caller::{self, PERSON, ROLES};
use crate::change::ToId;
use crate::clock::now;
use crate::engine::{Edit, Held};
use crate::error::{Error, Result};
use crate::http::cookies::Visitor;
use crate::lock::lock;
use crate::shared::Shared;
use crate::socket::Client;
use crate::write::Refused;

/// The caller's session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    shared: Shared,
    id: Arc<str>,
    /// As it was when it was first asked for, or not yet asked for.
    held: Mutex<Option<Option<Held>>>,
    changes: Mutex<Changes>,
    /// Whether anything was saved that its visitor has to come back to.
    keeps: AtomicBool,
}

/// What has not been saved yet.
#[derive(Default)]
struct Changes {
    clears: bool,
    set: BTreeMap<String, Option<Value>>,
}

impl Session {
    fn new(shared: &Shared, id: Arc<str>) -> Self {
        Self(Arc::new(Inner {
            shared: shared.clone(),
            id,
            held: Mutex::default(),
            changes: Mutex::default(),
            keeps: AtomicBool::new(false),
        }))
    }

    /// What finds it again. Who knows it can not use it: cookies are signed.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What is kept under a key, this request's own changes included.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let changed = lock(&self.0.changes).get(key);
        let value = match changed {
            Some(value) => value,
            None => self.held().await?.and_then(|held| held.values.get(key).cloned()),
        };
        let read = |value| serde_json::from_value(value).map_err(|error| unfit(key, &error));
        value.map(read).transpose()
    }

    /// Keeps a value, which has to be JSON, under a key.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|error| unfit(key, &error))?;
        lock(&self.0.changes).set.insert(key.to_owned(), Some(value));
        Ok(())
    }

    /// Keeps nothing under a key.
    pub fn remove(&self, key: &str) {
        lock(&self.0.changes).set.insert(key.to_owned(), None);
    }

    /// Keeps nothing at all, and forgets the session unless something is inserted after.
    pub fn clear(&self) {
        *lock(&self.0.changes) = Changes { clears: true, set: BTreeMap::new() };
    }

    /// The caller is this person from here on, with these roles: what the rules of
    /// [`access`](crate::access) go by. It is saved at once; sockets of the same session know it, too, and
    /// lose what they may no longer hear.
    pub async fn sign_in(
        &self,
        person: impl ToId,
        roles: impl IntoIterator<Item: Into<String>>,
    ) -> Result<()> {
        let person = person.to_id().ok_or(Refused::BadId)?;
        let roles: Vec<String> = roles.into_iter().map(Into::into).collect();
        self.insert(PERSON, person)?;
        self.insert(ROLES, roles)?;
        self.save().await
    }

    /// The caller is nobody in particular again; the rest of the session stays.
    pub async fn sign_out(&self) -> Result<()> {
        self.remove(PERSON);
        self.remove(ROLES);
        self.save().await
    }

    /// Saves now what has been changed. It happens by itself when the handler is done; what a task
    /// changes that outlives its handler is saved only so.
    pub async fn save(&self) -> Result<()> {
        let Changes { clears, set } = std::mem::take(&mut *lock(&self.0.changes));
        let (shared, now) = (&self.0.shared, now());
        if !clears && set.is_empty() && !self.is_to_be_renewed(now) {
            return Ok(());
        }
        if set.values().any(Option::is_some) {
            self.0.keeps.store(true, Ordering::Relaxed);
        }
        let says_who = clears || [PERSON, ROLES].iter().any(|key| set.contains_key(*key));
        let until = shared.sessions.until(now);
        let edit = Edit { id: self.0.id.clone(), clears, set, at: now, until };
        shared.engine.sessions().edit(edit).await?;
        *lock(&self.0.held) = None;
        if says_who {
            caller::changed(shared, &self.0.id).await;
        }
        Ok(())
    }

    fn is_to_be_renewed(&self, now: u64) -> bool {
        let held = lock(&self.0.held).clone().flatten();
        held.is_some_and(|held| self.0.shared.sessions.is_to_be_renewed(held.until, now))
    }

    async fn held(&self) -> Result<Option<Held>> {
        let loaded = lock(&self.0.held).clone();
        if let Some(held) = loaded {
            return Ok(held);
        }
        let held = self.0.shared.engine.sessions().load(&self.0.id, now()).await?;
        *lock(&self.0.held) = Some(held.clone());
        Ok(held)
    }

    fn keeps_something(&self) -> bool {
        let is_to_be_saved = || lock(&self.0.changes).set.values().any(Option::is_some);
        self.0.keeps.load(Ordering::Relaxed) || is_to_be_saved()
    }
}

impl Changes {
    /// What has become of a key; `None` if nothing has.
    fn get(&self, key: &str) -> Option<Option<Value>> {
        match self.set.get(key) {
            Some(value) => Some(value.clone()),
            None => self.clears.then_some(None),
        }
    }
}

fn unfit(key: &str, error: &serde_json::Error) -> Error {
    Error::Session(key.to_owned(), error.to_string())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.0.id).finish_non_exhaustive()
    }
}

/// Where a request has its session, if it asks for it.
#[derive(Clone, Default)]
struct Place(Arc<OnceLock<(Session, Option<Visitor>)>>);

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let place = parts.extensions.get::<Place>().expect("each route has a place for it");
        let (session, _) = place.0.get_or_init(|| found(parts));
        Ok(session.clone())
    }
}

/// The session of a request, and who is to be given its cookie.
fn found(parts: &Parts) -> (Session, Option<Visitor>) {
    let shared = Shared::of(parts);
    let cookies = shared.sessions.cookies();
    if let Some(client) = parts.extensions.get::<Client>() {
        return (Session::new(shared, client.session(cookies)), None);
    }
    let greeted = parts.extensions.get::<Visitor>().cloned();
    let visitor = greeted.unwrap_or_else(|| Visitor::of(cookies, &parts.headers));
    (Session::new(shared, visitor.id.clone()), Some(visitor))
}

/// Gives a request a place for its session, and saves what has become of it.
pub(crate) async fn keep(mut request: Request, next: Next) -> Response {
    let place = Place::default();
    request.extensions_mut().insert(place.clone());
    let mut response = next.run(request).await;
    let Some((session, visitor)) = place.0.get() else {
        return response;
    };
    let keeps_something = session.keeps_something();
    if let Err(error) = session.save().await {
        return error.into_response();
    }
    if let Some(visitor) = visitor.as_ref().filter(|_| keeps_something) {
        visitor.greet(&mut response);
    }
    response
}
