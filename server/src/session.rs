//! The session of a visitor, which lasts from one request to the next: Sails' `req.session`, as an
//! axum extractor.
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
//! The server finds a session by a signed cookie. Over HTTP it is the cookie of the request, and
//! over a socket the cookie of the handshake. A socket without a cookie has a session of its own
//! until it disconnects, which no other request can use. A request over HTTP without a cookie gets
//! one with its answer, once the session holds a value.
//!
//! Invariant: a cookie from before a sign-in gives no access to the session after it. The session
//! has a new id from then on, and a socket that connected with the old one is signed out. The
//! server cannot know whose socket it is: it may belong to another tab, or to an attacker who
//! planted the cookie.
//!
//! Invariant: changes of a session are saved when the handler returns, before the request is
//! answered. So the next request sees them, over whichever transport. Only changed keys are saved.
//! Concurrent requests lose nothing of each other's changes unless they change the same key: then
//! the last one wins. A counter as above may so miss a count.
//!
//! A session that is not used for [`session_age`](crate::Settings::session_age) is forgotten.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequestParts, OptionalFromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backwire_engine::{SessionEdit, StoredSession};
use backwire_records::change::ToId;
use backwire_records::write::WriteError;
use http::request::Parts;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::caller::{self, PERSON_KEY, ROLES};
use crate::error::{Error, Result};
use crate::http::cookies::Visitor;
use crate::http::security_headers::PrivateResponse;
use crate::settings::Limit;
use crate::shared::Shared;
use crate::socket::{Client, address_of};

/// The caller's session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// The id that the session was found by.
    id: Arc<str>,
    /// The new id, if the session was renewed.
    renewed: OnceLock<Arc<str>>,
    /// The address of the client.
    address: Option<IpAddr>,
    /// The visitor that can be given a cookie. None over a socket.
    visitor: Option<Visitor>,
    /// The stored session, once it has been loaded.
    held: Mutex<Option<Option<StoredSession>>>,
    changes: Mutex<Changes>,
    /// Whether a value was saved, or a token created, so that the visitor needs the cookie.
    needs_cookie: AtomicBool,
}

/// The changes that have not been saved yet.
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
            needs_cookie: AtomicBool::new(false),
        }))
    }

    /// Returns the id of the session. It gives no access to the session, because cookies are
    /// signed.
    pub fn id(&self) -> &str {
        self.current_id()
    }

    fn current_id(&self) -> &Arc<str> {
        self.0.renewed.get().unwrap_or(&self.0.id)
    }

    /// Returns the value of a key, including this request's own changes.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let changed = self.0.changes.lock().get(key);
        let value = match changed {
            Some(value) => value,
            None => self.held().await?.and_then(|held| held.values.get(key).cloned()),
        };
        let read =
            |value| serde_json::from_value(value).map_err(|error| session_error(key, &error));
        value.map(read).transpose()
    }

    /// Sets the value of a key, which has to be JSON.
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|error| session_error(key, &error))?;
        self.0.changes.lock().set.insert(key.to_owned(), Some(value));
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&self, key: &str) {
        self.0.changes.lock().set.insert(key.to_owned(), None);
    }

    /// Removes all keys. If none is inserted after this, the session is forgotten.
    pub fn clear(&self) {
        *self.0.changes.lock() = Changes { clears: true, set: BTreeMap::new() };
    }

    /// Signs the caller in as this person with these roles, which the rules of
    /// [`access`](backwire_records::access) use. The session is saved at once.
    ///
    /// If the caller was signed out or another person before, the session gets [another
    /// id](Self::renew). If it is the same person, the sockets of the session get the roles, too,
    /// and are no longer sent what these roles may not read.
    pub async fn sign_in(
        &self,
        person: impl ToId,
        roles: impl IntoIterator<Item: Into<String>>,
    ) -> Result<()> {
        let person = person.to_id().ok_or(WriteError::BadId)?;
        let roles: Vec<String> = roles.into_iter().map(Into::into).collect();
        let before = self.get::<Value>(PERSON_KEY).await?;
        self.insert(PERSON_KEY, person)?;
        self.insert(ROLES, roles)?;
        match before == self.get(PERSON_KEY).await? {
            true => self.save().await,
            false => self.renew().await,
        }
    }

    /// Saves the session under a new id, which the answer gives the visitor in a new cookie. The
    /// old cookie no longer finds the session, and sockets that connected with it are signed out
    /// until they connect again. Call this when a handler identifies a visitor by other means than
    /// [`sign_in`](Self::sign_in), which renews the session itself.
    ///
    /// Over a socket, which cannot be given a cookie, and for a visitor without a cookie, this only
    /// saves.
    pub async fn renew(&self) -> Result<()> {
        let is_renewable = self.0.visitor.as_ref().is_some_and(Visitor::is_known);
        let becomes = (is_renewable && self.0.renewed.get().is_none())
            .then(|| self.0.shared.sessions.cookies().new_session_id());
        self.save_as(becomes).await
    }

    /// Returns a token that the caller's writes need if [`csrf`](crate::Settings::csrf) is set, and
    /// gives the visitor the cookie of the session. A page may contain the token, for example in a
    /// `<meta>` element. [Signing in](Self::sign_in) makes former tokens invalid, so call this
    /// after it.
    ///
    /// Returns `None` if `csrf` is not set, and over a socket.
    pub fn csrf_token(&self) -> Option<String> {
        self.0.visitor.as_ref()?;
        let token = self.0.shared.sessions.csrf_tokens()?.create(self.current_id());
        self.0.needs_cookie.store(true, Ordering::Relaxed);
        Some(token)
    }

    /// Signs the caller out. The rest of the session stays.
    pub async fn sign_out(&self) -> Result<()> {
        self.remove(PERSON_KEY);
        self.remove(ROLES);
        self.save().await
    }

    /// Saves the changes now. The server saves them by itself when the handler returns. Changes by
    /// a task that outlives its handler are saved only by this.
    pub async fn save(&self) -> Result<()> {
        self.save_as(None).await
    }

    async fn save_as(&self, becomes: Option<Arc<str>>) -> Result<()> {
        let Changes { clears, set } = std::mem::take(&mut *self.0.changes.lock());
        let (shared, now) = (&self.0.shared, self.0.shared.environment.unix_millis());
        let has_changed = clears || !set.is_empty() || becomes.is_some();
        if !has_changed && !self.needs_renewal(now) {
            return Ok(());
        }
        if set.values().any(Option::is_some) {
            self.take_quota().await?;
            self.0.needs_cookie.store(true, Ordering::Relaxed);
        }
        let changes_principal = [PERSON_KEY, ROLES].iter().any(|key| set.contains_key(*key));
        let changes_principal = changes_principal || clears || becomes.is_some();
        let (id, until) = (self.current_id().clone(), shared.sessions.expiry(now));
        let (becomes_id, max) = (becomes.clone(), Some(shared.max_sessions));
        let edit = SessionEdit {
            id: id.clone(),
            clear: clears,
            set,
            new_id: becomes_id,
            at: now,
            until,
            max,
        };
        shared.engine.sessions().edit(edit).await?;
        *self.0.held.lock() = None;
        if let Some(becomes) = becomes {
            // Set once: meanwhile, only clones of the same handler's session can save.
            let _ = self.0.renewed.set(becomes);
        }
        if changes_principal {
            caller::session_changed(shared, &id).await;
        }
        Ok(())
    }

    /// Counts a session that holds no value yet against the quota of the address. A visitor without
    /// a cookie could begin a session with each request.
    async fn take_quota(&self) -> Result<()> {
        let Shared { environment, new_sessions: quota, .. } = &*self.0.shared;
        if self.held().await?.is_some() || quota.take(self.0.address, environment.now()) {
            return Ok(());
        }
        Err(Error::QuotaReached { limit: Limit::SessionsPerAddress, max: quota.max() })
    }

    fn needs_renewal(&self, now: u64) -> bool {
        let held = self.0.held.lock().clone().flatten();
        held.is_some_and(|held| self.0.shared.sessions.needs_renewal(held.until, now))
    }

    async fn held(&self) -> Result<Option<StoredSession>> {
        let loaded = self.0.held.lock().clone();
        if let Some(held) = loaded {
            return Ok(held);
        }
        let now = self.0.shared.environment.unix_millis();
        let held = self.0.shared.engine.sessions().load(self.id(), now).await?;
        *self.0.held.lock() = Some(held.clone());
        Ok(held)
    }

    fn needs_cookie(&self) -> bool {
        let has_unsaved_values = || self.0.changes.lock().set.values().any(Option::is_some);
        self.0.needs_cookie.load(Ordering::Relaxed) || has_unsaved_values()
    }
}

impl Changes {
    /// Returns the changed value of a key, or `None` if the key has not been changed.
    fn get(&self, key: &str) -> Option<Option<Value>> {
        match self.set.get(key) {
            Some(value) => Some(value.clone()),
            None => self.clears.then_some(None),
        }
    }
}

fn session_error(key: &str, error: &serde_json::Error) -> Error {
    Error::Session(key.to_owned(), error.to_string())
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// The session of a request, once the handler has extracted it.
#[derive(Clone, Default)]
struct SessionCell(Arc<OnceLock<Session>>);

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        of_request(parts).ok_or(Error::NoSession)
    }
}

/// The caller's session, or `None` if the client of a socket wants none: it has sent the header
/// `nosession` with its handshake, as with Sails.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &S,
    ) -> std::result::Result<Option<Self>, Infallible> {
        Ok(of_request(parts))
    }
}

fn of_request(parts: &Parts) -> Option<Session> {
    if parts.extensions.get::<Client>().is_some_and(Client::refuses_session) {
        return None;
    }
    let cell =
        parts.extensions.get::<SessionCell>().expect("each route has a cell for its session");
    Some(cell.0.get_or_init(|| session_of(parts)).clone())
}

/// The id of the session of a request over HTTP, also after its handler has renewed the session.
#[derive(Clone, Default)]
pub(crate) struct SessionHandle {
    id: Option<Arc<str>>,
    cell: Option<SessionCell>,
}

impl SessionHandle {
    pub(crate) fn of(parts: &Parts) -> Self {
        let id = Shared::of(parts).sessions.cookies().id_in(&parts.headers);
        Self { id, cell: parts.extensions.get().cloned() }
    }

    /// Returns the id. `None` if the request had no cookie and its handler has not used the
    /// session.
    pub(crate) fn id(&self) -> Option<&Arc<str>> {
        let session = self.cell.as_ref().and_then(|cell| cell.0.get());
        session.map(Session::current_id).or(self.id.as_ref())
    }
}

/// Returns the session of a request.
fn session_of(parts: &Parts) -> Session {
    let shared = Shared::of(parts);
    let cookies = shared.sessions.cookies();
    if let Some(client) = parts.extensions.get::<Client>() {
        return Session::new(parts, client.session(cookies), None);
    }
    PrivateResponse::mark(&parts.extensions);
    let existing = parts.extensions.get::<Visitor>().cloned();
    let visitor =
        existing.unwrap_or_else(|| Visitor::of(cookies, &parts.headers, &parts.extensions));
    Session::new(parts, visitor.id.clone(), Some(visitor))
}

/// Gives a request a cell for its session, and saves the session when the handler has returned.
pub(crate) async fn save_after_handler(mut request: Request, next: Next) -> Response {
    let cell = SessionCell::default();
    request.extensions_mut().insert(cell.clone());
    let mut response = next.run(request).await;
    let Some(session) = cell.0.get() else {
        return response;
    };
    let needs_cookie = session.needs_cookie();
    let saved = session.save().await;
    let is_saved = saved.is_ok();
    saved.unwrap_or_else(|error| response = error.into_response());
    match (&session.0.visitor, session.0.renewed.get()) {
        // The session is found under no other id.
        (Some(visitor), Some(id)) => visitor.replace_cookie(&mut response, id),
        (Some(visitor), None) if needs_cookie && is_saved => {
            visitor.set_cookie_if_new(&mut response)
        }
        _ => {}
    }
    response
}
