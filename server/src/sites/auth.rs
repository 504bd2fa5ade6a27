//! Authenticates clients: asks the site's own back end, at its `authUrl`, for the rooms of a token.
//!
//! - Concurrent connects with one token share one request. Later connects send another one, because
//!   a token may have expired. A refusal is repeated for a few seconds without a request.
//! - At most `authAtOnce` requests run at a time. The others wait in a [`FairQueue`].
//! - A client is refused if the back end answers with anything else than a list of rooms. The
//!   refusal is temporary ([`Refusal::is_temporary`]) if the back end does not answer, if it
//!   answers that it cannot now, or if the client would wait too long. Then the server ends the
//!   transport: clients of Socket.IO connect again after that, but not after a refused CONNECT.
//!
//! The texts of refusals are those of the SocketIO Web Service, because apps compare their
//! beginnings.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use backwire_engine::Environment;
use backwire_environment::{HashMap, HashSet};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::Deserialize;

use super::refusal::Refusal;
use super::refused_tokens::RefusedTokens;
use super::{Name, Site};
use crate::fair_queue::{FairQueue, Permit};
use crate::http::http_client::{HttpClient, RequestError};

/// Rooms that one client may have.
const MAX_ROOMS: usize = 1000;

/// Bytes that the name of a room may have.
const MAX_ROOM_BYTES: usize = 256;

/// Bytes that an answer may have.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Bytes that a token may have.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// How long a client may wait for its turn. Socket.IO ends a connection without a CONNECT after 45
/// seconds.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Clients of one site that may wait for their turn.
const MAX_WAITING: usize = 10_000;

const UNREACHABLE: Refusal = Refusal::Unavailable("the authUrl cannot be reached");
const TIMED_OUT: Refusal = Refusal::Unavailable("the authUrl did not answer within authTimeout");
const BUSY: Refusal = Refusal::Unavailable("too many clients wait for the authUrl");

/// The rooms of a client, each once, in the order of the back end's answer.
pub type Rooms = Arc<[String]>;

/// The answer of a back end that lets a client in.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) rooms: Rooms,
    /// How long the token is still valid, if the back end says so.
    pub(crate) expires_in: Option<Duration>,
}

/// The body of such an answer: the rooms, or an object with them.
#[derive(Deserialize)]
#[serde(untagged)]
enum AdmissionBody {
    Rooms(Vec<String>),
    #[serde(rename_all = "camelCase")]
    WithExpiry {
        rooms: Vec<String>,
        /// Seconds.
        expires_in: Option<u32>,
    },
}

impl Refusal {
    /// Whether the site cannot answer now, so that the client should connect again.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Status(408 | 425 | 429 | 502..=504))
    }

    /// Whether a second request may be answered differently.
    fn is_worth_a_retry(self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Status(500..))
    }

    /// Whether it is the token that is refused.
    pub(crate) fn rejects_token(self) -> bool {
        match self {
            Self::Unauthorized | Self::NoUserRoom => true,
            Self::Status(status) => matches!(status, 400..=499) && !self.is_temporary(),
            Self::Failed(_) | Self::Unavailable(_) => false,
        }
    }
}

/// Asks the back end of a site for the rooms of tokens.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    environment: Environment,
    name: Name,
    site: Arc<Site>,
    http: HttpClient,
    queue: FairQueue,
    refused: RefusedTokens,
    /// Whether the last request failed.
    is_failing: AtomicBool,
    /// The running requests, with their numbers, by token.
    requests: Mutex<HashMap<String, (u64, WeakShared<AuthRequest>)>>,
    numbers: AtomicU64,
}

type AuthRequest = BoxFuture<'static, Result<Admission, Refusal>>;

impl Authenticator {
    /// Creates the authenticator of a site.
    #[expect(clippy::disallowed_methods, reason = "the server uses `in_environment`")]
    pub fn new(name: Name, site: Arc<Site>, http: HttpClient) -> Self {
        Self::in_environment(Environment::tokio(), name, site, http)
    }

    pub(crate) fn in_environment(
        environment: Environment,
        name: Name,
        site: Arc<Site>,
        http: HttpClient,
    ) -> Self {
        let queue = FairQueue::new(site.auth_at_once, MAX_WAITING);
        let (refused, is_failing, requests, numbers) = Default::default();
        Self(Arc::new(Inner {
            environment,
            name,
            site,
            http,
            queue,
            refused,
            is_failing,
            requests,
            numbers,
        }))
    }

    /// Returns the rooms of a token. If many clients wait, their addresses take turns.
    pub async fn rooms(
        &self,
        token: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Rooms, Refusal> {
        self.admit(token, address).await.map(|admission| admission.rooms)
    }

    /// Returns the rooms of a token, and when it expires.
    pub(crate) async fn admit(
        &self,
        token: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Admission, Refusal> {
        let token = token.filter(|token| matches!(token.len(), 1..=MAX_TOKEN_BYTES));
        let header = token.and_then(|token| Some((token, self.0.site.auth_scheme.header(token)?)));
        let (token, header) = header.ok_or(Refusal::Unauthorized)?;
        match self.0.refused.get(token, self.0.environment.now()) {
            Some(refusal) => Err(refusal),
            None => self.shared_request(token, header, address).await,
        }
    }

    /// Forgets the running requests: later connects do not share them.
    pub(crate) fn forget_requests(&self) {
        self.0.requests.lock().clear();
    }

    /// Returns the running request for a token, or begins one. It is cancelled when no client waits
    /// for it any more.
    fn shared_request(
        &self,
        token: &str,
        header: HeaderValue,
        address: Option<IpAddr>,
    ) -> Shared<AuthRequest> {
        let mut requests = self.0.requests.lock();
        if let Some(request) = requests.get(token).and_then(|(_, request)| request.upgrade()) {
            return request;
        }
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let guard = RequestGuard { inner: Arc::clone(&self.0), token: token.to_owned(), number };
        let request = async move {
            let outcome = guard.inner.ask(&header, address).await;
            if let Err(refusal) = outcome
                && refusal.rejects_token()
            {
                let now = guard.inner.environment.now();
                guard.inner.refused.insert(&guard.token, refusal, now);
            }
            outcome
        };
        let request = request.boxed().shared();
        if let Some(weak) = request.downgrade() {
            requests.insert(token.to_owned(), (number, weak));
        }
        request
    }
}

/// Removes a request from the running ones when it has ended or was cancelled.
struct RequestGuard {
    inner: Arc<Inner>,
    token: String,
    number: u64,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut requests = self.inner.requests.lock();
        // There may already be a later request for the token.
        if requests.get(&self.token).is_some_and(|(number, _)| *number == self.number) {
            requests.remove(&self.token);
        }
    }
}

impl Inner {
    /// Sends the request, and repeats it once if the second answer may differ.
    async fn ask(
        &self,
        header: &HeaderValue,
        address: Option<IpAddr>,
    ) -> Result<Admission, Refusal> {
        let _permit = self.acquire_permit(address).await?;
        let admission = match self.ask_once(header).await {
            Err(refusal) if refusal.is_worth_a_retry() => self.ask_once(header).await?,
            admission => admission?,
        };
        match self.site.accepts_rooms(&admission.rooms) {
            true => Ok(admission),
            false => Err(Refusal::NoUserRoom),
        }
    }

    /// Waits until one more request may run.
    async fn acquire_permit(&self, address: Option<IpAddr>) -> Result<Permit, Refusal> {
        match self.environment.timeout(MAX_WAIT, self.queue.acquire(address)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(BUSY),
        }
    }

    async fn ask_once(&self, header: &HeaderValue) -> Result<Admission, Refusal> {
        let request = Request::get(self.site.auth_url.uri())
            .header(header::AUTHORIZATION, header)
            .header(header::ACCEPT, "application/json")
            .body(Full::default())
            .expect("all parts of the request are already parsed");
        let answer = self.http.send(request, MAX_ANSWER_BYTES);
        let answer = self.environment.timeout(self.site.auth_timeout, answer).await;
        let (outcome, reason) = match answer {
            Ok(Ok(response)) => (read(&response), None),
            Ok(Err(RequestError::Failed(reason))) => (Err(UNREACHABLE), Some(reason)),
            Ok(Err(RequestError::TooLarge)) => {
                (Err(Refusal::Failed("the answer is too large")), None)
            }
            Err(_) => (Err(TIMED_OUT), None),
        };
        self.log(outcome.as_ref().err().copied(), reason.as_deref());
        outcome
    }

    /// Logs the first failure of the `authUrl`, with its reason, and its recovery. A refused token
    /// is not a failure.
    fn log(&self, refusal: Option<Refusal>, reason: Option<&str>) {
        let failure = refusal.filter(|refusal| !refusal.rejects_token());
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        let (site, url) = (&self.name, self.site.auth_url.uri());
        match failure {
            Some(failure) if !was_failing => {
                tracing::info!(%site, %url, reason, "authUrl failed: {failure}");
            }
            Some(failure) => tracing::debug!(%site, reason, "authUrl still fails: {failure}"),
            None if was_failing => tracing::info!(%site, %url, "authUrl answers again"),
            None => {}
        }
    }
}

fn read(response: &Response<Bytes>) -> Result<Admission, Refusal> {
    match response.status() {
        StatusCode::OK => admission(response.body()),
        StatusCode::UNAUTHORIZED => Err(Refusal::Unauthorized),
        other => Err(Refusal::Status(other.as_u16())),
    }
}

/// Parses an answer. The refusal contains nothing of the answer.
fn admission(answer: &[u8]) -> Result<Admission, Refusal> {
    let body: AdmissionBody = serde_json::from_slice(answer)
        .map_err(|_| Refusal::Failed("the answer is no JSON array of strings"))?;
    let (mut rooms, expires_in) = match body {
        AdmissionBody::Rooms(rooms) => (rooms, None),
        AdmissionBody::WithExpiry { rooms, expires_in } => (rooms, expires_in),
    };
    let expires_in = expires_in.map(|seconds| Duration::from_secs(seconds.into()));
    if !rooms.iter().all(|room| matches!(room.len(), 1..=MAX_ROOM_BYTES)) {
        return Err(Refusal::Failed("the name of a room has 1 to 256 bytes"));
    }
    let mut seen = HashSet::default();
    rooms.retain(|room| seen.insert(room.clone()));
    match rooms.len() {
        ..=MAX_ROOMS => Ok(Admission { rooms: rooms.into(), expires_in }),
        _ => Err(Refusal::Failed("the answer has more than 1000 rooms")),
    }
}

/// Tokens are not shown.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("name", &self.0.name).finish_non_exhaustive()
    }
}
