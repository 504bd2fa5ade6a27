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
//! Invariant: who knew the cookie before somebody signed in has nothing of them after it: the session has
//! another id from there on, and a socket that came with the old one is nobody's. A socket cannot tell
//! whose it is: it may be another tab's, or that of who planted the cookie.
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
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_engine::{Edit, Held};
use backwire_records::change::ToId;
use backwire_records::write::Refused;
use http::request::Parts;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::caller::{self, PERSON, ROLES};
use crate::clock::now;
use crate::context::address_of;
use crate::error::{Error, Result};
use crate::http::cookies::{self, Visitor};
use crate::http::security_headers::Personal;
use crate::settings::Limit;
use crate::shared::Shared;
use crate::socket::Client;

/// The caller's session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// By which it was found.
    id: Arc<str>,
    /// By which it is found from here on.
    renewed: OnceLock<Arc<str>>,
    /// The address of the client.
    address: Option<IpAddr>,
    /// Who can be given a cookie; none over a socket.
    visitor: Option<Visitor>,
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
    fn new(parts: &Parts, id: Arc<str>, visitor: Option<Visitor>) -> Self {
        let shared = Shared::of(parts);
        Self(Arc::new(Inner {
            address: address_of(parts),
            shared: shared.clone(),
            id,
            renewed: OnceLock::new(),
            visitor,
            held: Mutex::default(),
            changes: Mutex::default(),
            keeps: AtomicBool::new(false),
        }))
    }

    /// What finds it again. Who knows it cannot use it: cookies are signed.
    pub fn id(&self) -> &str {
        self.current_id()
    }

    fn current_id(&self) -> &Arc<str> {
        self.0.renewed.get().unwrap_or(&self.0.id)
    }

    /// What is kept under a key, this request's own changes included.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let changed = self.0.changes.lock().get(key);
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
        self.0.changes.lock().set.insert(key.to_owned(), Some(value));
        Ok(())
    }

    /// Keeps nothing under a key.
    pub fn remove(&self, key: &str) {
        self.0.changes.lock().set.insert(key.to_owned(), None);
    }

    /// Keeps nothing at all, and forgets the session unless something is inserted after.
    pub fn clear(&self) {
        *self.0.changes.lock() = Changes { clears: true, set: BTreeMap::new() };
    }

    /// The caller is this person from here on, with these roles: what the rules of
    /// [`access`](backwire_records::access) go by. It is saved at once.
    ///
    /// Who was somebody else before, or nobody, gets [another id](Self::renew). Where it is the same person,
    /// sockets of the session know of the roles, too, and lose what they may no longer hear.
    pub async fn sign_in(
        &self,
        person: impl ToId,
        roles: impl IntoIterator<Item: Into<String>>,
    ) -> Result<()> {
        let person = person.to_id().ok_or(Refused::BadId)?;
        let roles: Vec<String> = roles.into_iter().map(Into::into).collect();
        let before = self.get::<Value>(PERSON).await?;
        self.insert(PERSON, person)?;
        self.insert(ROLES, roles)?;
        match before == self.get(PERSON).await? {
            true => self.save().await,
            false => self.renew().await,
        }
    }

    /// Saves the session under another id, which the answer gives the visitor in a new cookie: whoever
    /// knows the old one finds nothing any more, and sockets that came with it are nobody's until they
    /// connect again. Call it when a visitor turns out to be somebody who is known by other means than
    /// [`sign_in`](Self::sign_in), which does it by itself.
    ///
    /// Over a socket, which can be given no cookie, this only saves, and so it does for who had no cookie
    /// before this request.
    pub async fn renew(&self) -> Result<()> {
        let is_renewable = self.0.visitor.as_ref().is_some_and(Visitor::is_known);
        let becomes = (is_renewable && self.0.renewed.get().is_none()).then(cookies::draw_id);
        self.save_as(becomes).await
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
        self.save_as(None).await
    }

    async fn save_as(&self, becomes: Option<Arc<str>>) -> Result<()> {
        let Changes { clears, set } = std::mem::take(&mut *self.0.changes.lock());
        let (shared, now) = (&self.0.shared, now());
        let has_changed = clears || !set.is_empty() || becomes.is_some();
        if !has_changed && !self.is_to_be_kept_on(now) {
            return Ok(());
        }
        if set.values().any(Option::is_some) {
            self.begin().await?;
            self.0.keeps.store(true, Ordering::Relaxed);
        }
        let says_who = [PERSON, ROLES].iter().any(|key| set.contains_key(*key));
        let says_who = says_who || clears || becomes.is_some();
        let (id, until) = (self.current_id().clone(), shared.sessions.until(now));
        let (becomes_id, max) = (becomes.clone(), Some(shared.max_sessions));
        let edit = Edit { id: id.clone(), clears, set, becomes: becomes_id, at: now, until, max };
        shared.engine.sessions().edit(edit).await?;
        *self.0.held.lock() = None;
        if let Some(becomes) = becomes {
            // It is set once: nobody else saves while this does but clones of one handler's.
            let _ = self.0.renewed.set(becomes);
        }
        if says_who {
            caller::changed(shared, &id).await;
        }
        Ok(())
    }

    /// Counts a session that does not hold anything yet. A visitor without a cookie could begin one with
    /// each request.
    async fn begin(&self) -> Result<()> {
        let quota = &self.0.shared.new_sessions;
        if self.held().await?.is_some() || quota.take(self.0.address) {
            return Ok(());
        }
        Err(Error::Full { limit: Limit::SessionsPerAddress, max: quota.max() })
    }

    fn is_to_be_kept_on(&self, now: u64) -> bool {
        let held = self.0.held.lock().clone().flatten();
        held.is_some_and(|held| self.0.shared.sessions.is_to_be_renewed(held.until, now))
    }

    async fn held(&self) -> Result<Option<Held>> {
        let loaded = self.0.held.lock().clone();
        if let Some(held) = loaded {
            return Ok(held);
        }
        let held = self.0.shared.engine.sessions().load(self.id(), now()).await?;
        *self.0.held.lock() = Some(held.clone());
        Ok(held)
    }

    fn keeps_something(&self) -> bool {
        let is_to_be_saved = || self.0.changes.lock().set.values().any(Option::is_some);
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
        f.debug_struct("Session").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Where a request has its session, if it asks for it.
#[derive(Clone, Default)]
struct Place(Arc<OnceLock<Session>>);

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let place = parts.extensions.get::<Place>().expect("each route has a place for it");
        Ok(place.0.get_or_init(|| found(parts)).clone())
    }
}

/// The session that a request over HTTP has brought the cookie of, also after its handler has renewed it.
#[derive(Clone)]
pub(crate) struct Brought {
    id: Option<Arc<str>>,
    place: Option<Place>,
}

impl Brought {
    pub(crate) fn of(parts: &Parts) -> Self {
        let id = Shared::of(parts).sessions.cookies().id_in(&parts.headers);
        Self { id, place: parts.extensions.get().cloned() }
    }

    /// None if it has brought none, and has none yet.
    pub(crate) fn id(&self) -> Option<&Arc<str>> {
        let session = self.place.as_ref().and_then(|place| place.0.get());
        session.map(Session::current_id).or(self.id.as_ref())
    }
}

/// The session of a request.
fn found(parts: &Parts) -> Session {
    let shared = Shared::of(parts);
    let cookies = shared.sessions.cookies();
    if let Some(client) = parts.extensions.get::<Client>() {
        return Session::new(parts, client.session(cookies), None);
    }
    Personal::note(&parts.extensions);
    let greeted = parts.extensions.get::<Visitor>().cloned();
    let visitor = greeted.unwrap_or_else(|| Visitor::of(cookies, &parts.headers));
    Session::new(parts, visitor.id.clone(), Some(visitor))
}

/// Gives a request a place for its session, and saves what has become of it.
pub(crate) async fn keep(mut request: Request, next: Next) -> Response {
    let place = Place::default();
    request.extensions_mut().insert(place.clone());
    let mut response = next.run(request).await;
    let Some(session) = place.0.get() else {
        return response;
    };
    let keeps_something = session.keeps_something();
    let saved = session.save().await;
    let is_saved = saved.is_ok();
    saved.unwrap_or_else(|error| response = error.into_response());
    match (&session.0.visitor, session.0.renewed.get()) {
        // What was saved before is there under no other id.
        (Some(visitor), Some(id)) => visitor.rename(&mut response, id),
        (Some(visitor), None) if keeps_something && is_saved => visitor.greet(&mut response),
        _ => {}
    }
    response
}
