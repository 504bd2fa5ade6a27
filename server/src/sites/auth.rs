//! Who somebody is: the site's own back end is asked for the rooms of whoever has a token.
//!
//! It is asked once for all who come with the same token at the same time, and again for who comes later:
//! a token may have expired. The texts of refusals are those of the SocketIO Web Service, because apps
//! look at how they begin.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Name, Site};
use crate::http::outgoing::{NoAnswer, Outgoing};
use crate::lock::lock;

/// Rooms of one person.
const MOST_ROOMS: usize = 1000;

/// Bytes in the name of a room.
const LONGEST_ROOM: usize = 256;

/// Bytes in an answer.
const LARGEST_ANSWER: usize = 1 << 20;

/// Bytes in a token.
const LONGEST_TOKEN: usize = 8 << 10;

const UNREACHABLE: Refusal = Refusal::Failed("the site can not be asked");
const LATE: Refusal = Refusal::Failed("the site does not answer in time");

/// The rooms of somebody, each once, in the order in which they were told.
pub type Rooms = Arc<[String]>;

/// Why somebody is not let in. What a client is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no token, or it is not good.
    #[error("Authentication error")]
    Unauthorized,
    /// The site's back end answers something else.
    #[error("Auth {0} error")]
    Status(u16),
    /// It does not answer, or nobody understands what.
    #[error("Auth error: {0}")]
    Failed(&'static str),
    /// None of the rooms is the person's own.
    #[error("User is missing a private room")]
    NoUserRoom,
}

impl Refusal {
    /// Whether it may be different at once.
    fn is_passing(self) -> bool {
        matches!(self, UNREACHABLE | LATE | Self::Status(500..))
    }
}

/// Asks the back end of a site.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    name: Name,
    site: Arc<Site>,
    http: Outgoing,
    at_once: Semaphore,
    /// By token, those that are asked for now.
    flights: Mutex<HashMap<String, (u64, WeakShared<Flight>)>>,
    numbers: AtomicU64,
}

type Flight = BoxFuture<'static, Result<Rooms, Refusal>>;

impl Authority {
    /// That of a site.
    pub fn new(name: Name, site: Arc<Site>, http: Outgoing) -> Self {
        let at_once = Semaphore::new(site.auth_at_once);
        let (flights, numbers) = (Mutex::default(), AtomicU64::default());
        Self(Arc::new(Inner { name, site, http, at_once, flights, numbers }))
    }

    /// The rooms of who has this token.
    pub async fn rooms(&self, token: Option<&str>) -> Result<Rooms, Refusal> {
        let token = token.filter(|token| matches!(token.len(), 1..=LONGEST_TOKEN));
        let header = token.and_then(|token| Some((token, self.0.site.auth_scheme.header(token)?)));
        match header {
            Some((token, header)) => self.flight(token, header).await,
            None => Err(Refusal::Unauthorized),
        }
    }

    /// The one that is on its way, or a new one. It ends when nobody waits for it any more.
    fn flight(&self, token: &str, header: HeaderValue) -> Shared<Flight> {
        let mut flights = lock(&self.0.flights);
        if let Some(flight) = flights.get(token).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let landing = Landing { inner: Arc::clone(&self.0), token: token.to_owned(), number };
        let flight = async move { landing.inner.ask(&header).await }.boxed().shared();
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
        let mut flights = lock(&self.inner.flights);
        // There may be a later one already.
        if flights.get(&self.token).is_some_and(|(number, _)| *number == self.number) {
            flights.remove(&self.token);
        }
    }
}

impl Inner {
    /// Once, and once more if that may help.
    async fn ask(&self, header: &HeaderValue) -> Result<Rooms, Refusal> {
        let permit = timeout(self.site.auth_timeout, self.at_once.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(self.told(Refusal::Failed("too many are asked for at once"), None));
        };
        let rooms = match self.ask_once(header).await {
            Err(refusal) if refusal.is_passing() => self.ask_once(header).await?,
            rooms => rooms?,
        };
        let is_known = self.site.user_room_prefix.is_none()
            || rooms.iter().any(|room| self.site.is_user_room(room));
        if is_known { Ok(rooms) } else { Err(self.told(Refusal::NoUserRoom, None)) }
    }

    async fn ask_once(&self, header: &HeaderValue) -> Result<Rooms, Refusal> {
        let request = Request::get(self.site.auth_url.uri())
            .header(header::AUTHORIZATION, header)
            .header(header::ACCEPT, "application/json")
            .body(Full::default())
            .expect("there is nothing in it that has to be parsed");
        let asked = timeout(self.site.auth_timeout, self.http.ask(request, LARGEST_ANSWER)).await;
        let refusal = match asked {
            Ok(Ok(response)) => match read(&response) {
                Ok(rooms) => return Ok(rooms),
                Err(refusal) => self.told(refusal, None),
            },
            Ok(Err(NoAnswer::Broken(reason))) => self.told(UNREACHABLE, Some(&reason)),
            Ok(Err(NoAnswer::TooLarge)) => {
                self.told(Refusal::Failed("the answer is too large"), None)
            }
            Err(_) => self.told(LATE, None),
        };
        Err(refusal)
    }

    /// What the people of the site can do something about is in our log, with the reason, which is not
    /// for somebody who was not let in.
    fn told(&self, refusal: Refusal, reason: Option<&str>) -> Refusal {
        if refusal != Refusal::Unauthorized {
            tracing::warn!(site = %self.name, reason, "{refusal}");
        }
        refusal
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
