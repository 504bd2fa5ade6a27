//! Authenticates clients: asks the site's own back end, at its `authUrl`, for the rooms of a token.
//!
//! - Concurrent connects with one token share one request. Later connects send another one, because
//!   a token may have expired. A refusal is repeated for a few seconds without a request.
//! - At most `authAtOnce` requests run at a time. The others wait in a [`FairQueue`].
//! - A client is refused if the back end answers, but not with a list of rooms. If it does not
//!   answer, answers that it cannot now, or the client would wait too long, the outcome is temporary
//!   ([`Refusal::is_temporary`]) and the server ends the transport: clients of Socket.IO connect
//!   again after that, and do not after a refusal.
//!
//! The texts of refusals are those of the SocketIO Web Service, because apps compare how they
//! begin.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::fair_queue::{FairQueue, Permit};
use super::refusal::Refusal;
use super::refused::RefusedTokens;
use super::{Name, Site};
use crate::http::outgoing::{NoAnswer, Outgoing};

/// Rooms of one person.
const MOST_ROOMS: usize = 1000;

/// Bytes in the name of a room.
const LONGEST_ROOM: usize = 256;

/// Bytes in an answer.
const LARGEST_ANSWER: usize = 1 << 20;

/// Bytes in a token.
const LONGEST_TOKEN: usize = 8 << 10;

/// How long a client may wait for its turn. Socket.IO ends a connection without a CONNECT after 45
/// seconds.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Clients of one site that may wait for their turn.
const MAX_WAITING: usize = 10_000;

const UNREACHABLE: Refusal = Refusal::Unavailable("the authUrl cannot be reached");
const LATE: Refusal = Refusal::Unavailable("the authUrl did not answer within authTimeout");
const BUSY: Refusal = Refusal::Unavailable("too many clients wait for the authUrl");

/// The rooms of somebody, each once, in the order in which they were told.
pub type Rooms = Arc<[String]>;

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

/// Asks the back end of a site.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    name: Name,
    site: Arc<Site>,
    http: Outgoing,
    queue: FairQueue,
    refused: RefusedTokens,
    /// Whether the last answer was of no use.
    is_failing: AtomicBool,
    /// By token, those that are asked for now.
    flights: Mutex<HashMap<String, (u64, WeakShared<Flight>)>>,
    numbers: AtomicU64,
}

type Flight = BoxFuture<'static, Result<Rooms, Refusal>>;

impl Authority {
    /// That of a site.
    pub fn new(name: Name, site: Arc<Site>, http: Outgoing) -> Self {
        let queue = FairQueue::new(site.auth_at_once, MAX_WAITING);
        let (refused, is_failing, flights, numbers) = Default::default();
        Self(Arc::new(Inner { name, site, http, queue, refused, is_failing, flights, numbers }))
    }

    /// The rooms of a token. If many wait, the clients at each `address` take turns with those at
    /// others.
    pub async fn rooms(
        &self,
        token: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Rooms, Refusal> {
        let token = token.filter(|token| matches!(token.len(), 1..=LONGEST_TOKEN));
        let header = token.and_then(|token| Some((token, self.0.site.auth_scheme.header(token)?)));
        let (token, header) = header.ok_or(Refusal::Unauthorized)?;
        match self.0.refused.get(token) {
            Some(refusal) => Err(refusal),
            None => self.flight(token, header, address).await,
        }
    }

    /// Has everybody who connects from now on asked for anew.
    pub(crate) fn forget_flights(&self) {
        self.0.flights.lock().clear();
    }

    /// The one that is on its way, or a new one. It ends when nobody waits for it any more.
    fn flight(&self, token: &str, header: HeaderValue, address: Option<IpAddr>) -> Shared<Flight> {
        let mut flights = self.0.flights.lock();
        if let Some(flight) = flights.get(token).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let landing = Landing { inner: Arc::clone(&self.0), token: token.to_owned(), number };
        let flight = async move {
            let outcome = landing.inner.ask(&header, address).await;
            if let Err(refusal) = outcome
                && refusal.rejects_token()
            {
                landing.inner.refused.insert(&landing.token, refusal);
            }
            outcome
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(token.to_owned(), (number, weak));
        }
        flight
    }
}

/// Takes a flight off the list when it has ended, however it did.
struct Landing {
    inner: Arc<Inner>,
    token: String,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.inner.flights.lock();
        // There may be a later one already.
        if flights.get(&self.token).is_some_and(|(number, _)| *number == self.number) {
            flights.remove(&self.token);
        }
    }
}

impl Inner {
    /// Once, and once more if that may help.
    async fn ask(&self, header: &HeaderValue, address: Option<IpAddr>) -> Result<Rooms, Refusal> {
        let _permit = self.turn(address).await?;
        let rooms = match self.ask_once(header).await {
            Err(refusal) if refusal.is_worth_a_retry() => self.ask_once(header).await?,
            rooms => rooms?,
        };
        if self.site.lets_in(&rooms) { Ok(rooms) } else { Err(Refusal::NoUserRoom) }
    }

    /// Waits until one more request may run.
    async fn turn(&self, address: Option<IpAddr>) -> Result<Permit, Refusal> {
        match timeout(MAX_WAIT, self.queue.acquire(address)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(BUSY),
        }
    }

    async fn ask_once(&self, header: &HeaderValue) -> Result<Rooms, Refusal> {
        let request = Request::get(self.site.auth_url.uri())
            .header(header::AUTHORIZATION, header)
            .header(header::ACCEPT, "application/json")
            .body(Full::default())
            .expect("there is nothing in it that has to be parsed");
        let asked = timeout(self.site.auth_timeout, self.http.ask(request, LARGEST_ANSWER)).await;
        let (outcome, reason) = match asked {
            Ok(Ok(response)) => (read(&response), None),
            Ok(Err(NoAnswer::Broken(reason))) => (Err(UNREACHABLE), Some(reason)),
            Ok(Err(NoAnswer::TooLarge)) => (Err(Refusal::Failed("the answer is too large")), None),
            Err(_) => (Err(LATE), None),
        };
        self.log(outcome.as_ref().err().copied(), reason.as_deref());
        outcome
    }

    /// Logs the first failure of the `authUrl`, with its reason, and its recovery. A refusal of the
    /// token is no failure.
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

fn read(response: &Response<Bytes>) -> Result<Rooms, Refusal> {
    match response.status() {
        StatusCode::OK => rooms(response.body()),
        StatusCode::UNAUTHORIZED => Err(Refusal::Unauthorized),
        other => Err(Refusal::Status(other.as_u16())),
    }
}

/// Nothing of the answer is in the refusal.
fn rooms(answer: &[u8]) -> Result<Rooms, Refusal> {
    let mut rooms: Vec<String> = serde_json::from_slice(answer)
        .map_err(|_| Refusal::Failed("the answer is no JSON array of strings"))?;
    if !rooms.iter().all(|room| matches!(room.len(), 1..=LONGEST_ROOM)) {
        return Err(Refusal::Failed("the name of a room has 1 to 256 bytes"));
    }
    let mut seen = HashSet::new();
    rooms.retain(|room| seen.insert(room.clone()));
    match rooms.len() {
        ..=MOST_ROOMS => Ok(rooms.into()),
        _ => Err(Refusal::Failed("the answer has more than 1000 rooms")),
    }
}

/// Tokens are not shown.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("name", &self.0.name).finish_non_exhaustive()
    }
}
