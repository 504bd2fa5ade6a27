//! Delivers the messages of back ends.
//!
//! A message is stored, then its sender is answered, then it is put into the arrivals of the
//! connections that it is for; each ack takes it off a queue. All letters go through one task,
//! which delivers them in the order of their ids. Each connection has a task of its own, which
//! sends them: see `attend`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backwire_engine::{self as engine, Engine, Post, Posted};
use backwire_records::access::Who;
use backwire_records::messages::flake::Flake;
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Ttl;
use futures_util::future::join_all;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use super::arrivals::{Arrival, Arrivals};
use super::connected::{Connected, Revocation};
use super::guest::{Guest, Introduction};
use super::rejection::Rejection;
use crate::clock::now;
use crate::error::{Error, Result};
use crate::http::send::{self, Letter, Share};
use crate::sites::{Authority, Name, Outgoing, Site, Sites, Table, UserEvent, UserUpdates};
use crate::socket::Sockets;

/// How long a client of a removed site waits before its transport is ended. Socket.IO ends a
/// connection without a CONNECT after 45 seconds.
const MAX_WAIT_FOR_SITE: Duration = Duration::from_secs(30);

/// Letters that may wait for the one task, and as many that are being stored.
pub(crate) const LETTERS: usize = 512;

/// Takes letters, and looks after those who are connected.
#[derive(Clone)]
pub(crate) struct Courier(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    sites: Sites,
    http: Outgoing,
    /// For sites that do not say their own.
    ttl: Ttl,
    authorities: Mutex<HashMap<Name, (Arc<Site>, Authority)>>,
    /// Every site there has been. The namespace of a removed site stays, for clients that come
    /// back.
    opened: Mutex<BTreeSet<Name>>,
    seats: Seats,
    connected: Connected,
    user_updates: UserUpdates,
}

/// The connections to sites, by site and room.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<Mutex<BySiteAndRoom<Vec<Seat>>>>);

type BySiteAndRoom<T> = HashMap<(Arc<str>, Arc<str>), T>;

/// Where the messages for one connection are put.
#[derive(Clone)]
pub(super) struct Seat {
    number: u64,
    arrivals: Arrivals,
}

/// The other side of a seat. Dropping it removes the seat from all rooms.
pub(super) struct Place {
    seats: Seats,
    site: Arc<str>,
    rooms: Vec<Arc<str>>,
    number: u64,
    pub(super) arrivals: Arrivals,
}

/// A letter, and whom to answer.
pub(crate) type Posting = (Letter, oneshot::Sender<Result<()>>);

/// Where letters are put in. It does not keep a server from stopping.
#[derive(Clone)]
pub(crate) struct Slot(mpsc::WeakSender<Posting>);

impl Slot {
    pub(crate) fn new(letters: mpsc::WeakSender<Posting>) -> Self {
        Self(letters)
    }

    /// What puts letters in.
    pub(crate) fn post(self) -> send::Post {
        Arc::new(move |letter| self.clone().put(letter).boxed())
    }

    /// Stores a message. The order of letters is that in which these futures are polled first.
    async fn put(self, letter: Letter) -> Result<()> {
        let stopped = || engine::Error::Unavailable("the server has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let slot = self.0.upgrade().ok_or_else(stopped)?;
        slot.send((letter, answer)).await.map_err(|_| stopped())?;
        drop(slot);
        answered.await.map_err(|_| stopped())?
    }
}

impl Courier {
    pub(crate) fn new(engine: Arc<dyn Engine>, sites: Sites, ttl: Ttl) -> Self {
        let http = Outgoing::default();
        let user_updates = UserUpdates::new(http.clone());
        let (authorities, opened, seats, connected) = Default::default();
        Self(Arc::new(Inner {
            engine,
            sites,
            http,
            ttl,
            authorities,
            opened,
            seats,
            connected,
            user_updates,
        }))
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    /// Reports to a site's back end what one of its people does.
    pub(super) fn report(&self, guest: &Guest, event: UserEvent) {
        let Some((url, authorization)) =
            guest.site.update_user_url.as_ref().zip(guest.authorization.as_ref())
        else {
            return;
        };
        let prefix = guest.site.user_room_prefix.as_deref();
        for person in guest.rooms.iter().filter_map(|room| room.strip_prefix(prefix?)) {
            let timeout = guest.site.auth_timeout;
            self.0.user_updates.report(url, person, authorization, event, timeout);
        }
    }

    pub(super) fn ttl(&self, site: &Site) -> Ttl {
        site.client_ttl.map_or(self.0.ttl, |ttl| Ttl::seconds(ttl.as_secs()))
    }

    /// The same, if there is a site of this name.
    pub(crate) async fn admit_to(
        &self,
        name: &str,
        said: Introduction,
    ) -> std::result::Result<Guest, Rejection> {
        let name = name.parse().map_err(|_| Rejection::NoSite(name.to_owned()))?;
        self.admit(&name, said).await
    }

    /// Lets somebody in, if the site's back end knows them.
    pub(crate) async fn admit(
        &self,
        name: &Name,
        said: Introduction,
    ) -> std::result::Result<Guest, Rejection> {
        let device = said.device()?;
        let site = self.site(name).await?;
        said.check_origin(name, &site)?;
        let authority = self.authority(name, &site);
        let (asked, round) = loop {
            let round = self.0.connected.round(name);
            let asked = authority.rooms(said.token.as_deref(), said.address).await;
            // The answer may be older than a revocation.
            if asked.is_err() || self.0.connected.round(name) == round {
                break (asked, round);
            }
        };
        let rooms = asked.map_err(|refusal| {
            let (site, has_token) = (name.as_str().to_owned(), said.token.is_some());
            Rejection::Auth { site, has_token, refusal }
        })?;
        let Introduction { token, is_runtime, address, .. } = said;
        let (name, scheme) = (name.clone(), &site.auth_scheme);
        let authorization = token.as_deref().and_then(|token| scheme.header(token));
        let token = token.filter(|_| site.recheck.is_some());
        Ok(Guest { name, site, rooms, device, is_runtime, authorization, token, address, round })
    }

    /// The site of this name. If it was removed, waits a while for it to be added again: a
    /// refused client would stay away.
    async fn site(&self, name: &Name) -> std::result::Result<Arc<Site>, Rejection> {
        if let Some(site) = self.0.sites.get(name.as_str()) {
            return Ok(site);
        }
        if !self.0.opened.lock().contains(name) {
            return Err(Rejection::NoSite(name.as_str().to_owned()));
        }
        let mut changes = self.0.sites.changes();
        let added = changes.wait_for(|table| table.contains_key(name));
        let table = timeout(MAX_WAIT_FOR_SITE, added).await.ok().and_then(std::result::Result::ok);
        let site = table.and_then(|table| table.get(name).cloned());
        site.ok_or_else(|| Rejection::Removed(name.as_str().to_owned()))
    }

    /// Whether there is still a site of this name.
    pub(super) fn has_site(&self, name: &Name) -> bool {
        self.0.sites.get(name.as_str()).is_some()
    }

    /// Who a guest is to the rules of resources: nobody, unless those are the site's.
    pub(crate) fn who(&self, guest: &Guest) -> Option<Who> {
        self.has_resources(guest.name.as_str()).then(|| guest.who())
    }

    /// Whether the resources are those of the site of this name.
    pub(crate) fn has_resources(&self, name: &str) -> bool {
        self.0.sites.has_resources(name)
    }

    /// Ends connections of a site, and returns how many there were when they have ended.
    pub(crate) async fn revoke(&self, name: &Name, revocation: &Revocation) -> usize {
        if let Some(authority) = self.authority_of(name) {
            // Before anybody is asked again: what is on its way may be older than this.
            authority.forget_flights();
        }
        let lines = self.0.connected.revoke(name, revocation);
        let count = lines.len();
        join_all(lines.into_iter().map(|line| line.hang_up())).await;
        count
    }

    pub(super) fn connected(&self) -> &Connected {
        &self.0.connected
    }

    /// The one that asks the site of this name, if there is one.
    pub(super) fn authority_of(&self, name: &Name) -> Option<Authority> {
        let site = self.0.sites.get(name.as_str())?;
        Some(self.authority(name, &site))
    }

    /// The one that the site as it is now is asked by.
    fn authority(&self, name: &Name, site: &Arc<Site>) -> Authority {
        let mut known = self.0.authorities.lock();
        if let Some((of, authority)) = known.get(name)
            && Arc::ptr_eq(of, site)
        {
            return authority.clone();
        }
        let authority = Authority::new(name.clone(), Arc::clone(site), self.0.http.clone());
        known.insert(name.clone(), (Arc::clone(site), authority.clone()));
        authority
    }

    /// A place in all of these rooms of a site. Messages for them arrive from now on.
    pub(super) fn place(&self, site: Arc<str>, rooms: &[String]) -> Place {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let arrivals = Arrivals::default();
        let seat = Seat { number, arrivals: arrivals.clone() };
        let seats = self.0.seats.clone();
        // The site's back end may have named a room twice.
        let rooms: BTreeSet<_> = rooms.iter().map(String::as_str).collect();
        let rooms: Vec<Arc<str>> = rooms.into_iter().map(Arc::from).collect();
        let mut by_room = seats.0.lock();
        for room in &rooms {
            let at = (Arc::clone(&site), Arc::clone(room));
            by_room.entry(at).or_default().push(seat.clone());
        }
        drop(by_room);
        Place { seats, site, rooms, number, arrivals }
    }

    /// Opens the namespaces of all sites, and then follows as sites come and go, as long as there may be
    /// others. Those of now are open before anybody can come: a stock client does not ask again.
    pub(crate) fn follow_sites(
        self,
        sockets: Sockets,
        mut sites: watch::Receiver<Table>,
    ) -> impl Future<Output = ()> + use<> {
        let mut open = Table::clone(&sites.borrow_and_update());
        self.open_and_close(&sockets, &Table::default(), &open);
        async move {
            while sites.changed().await.is_ok() {
                let now = Table::clone(&sites.borrow_and_update());
                self.open_and_close(&sockets, &open, &now);
                open = now;
            }
        }
    }

    fn open_and_close(&self, sockets: &Sockets, open: &Table, now: &Table) {
        for name in open.keys().filter(|name| !now.contains_key(*name)) {
            sockets.close_site(name);
            self.0.authorities.lock().remove(name);
        }
        for name in now.keys().filter(|name| !open.contains_key(*name)) {
            if self.0.opened.lock().insert(name.clone()) {
                sockets.open_site(name.clone(), self.clone());
            }
        }
    }

    /// Stores letters and delivers them in the order of their ids, until nobody puts any in.
    pub(crate) async fn deliver(self, mut letters: mpsc::Receiver<Posting>) {
        let (mut stored, mut is_open) = (FuturesOrdered::new(), true);
        while is_open || !stored.is_empty() {
            tokio::select! {
                biased;
                Some((letter, answer, posted)) = stored.next(), if !stored.is_empty() => {
                    self.stored(&letter, answer, posted);
                }
                posting = letters.recv(), if is_open && stored.len() < LETTERS => match posting {
                    Some((letter, answer)) => {
                        let mut storing = self.clone().store(letter, answer).boxed();
                        // Asked once, it has its place in line.
                        match (&mut storing).now_or_never() {
                            Some(done) => stored.push_back(async { done }.boxed()),
                            None => stored.push_back(storing),
                        }
                    }
                    None => is_open = false,
                },
            }
        }
    }

    async fn store(
        self,
        letter: Letter,
        answer: oneshot::Sender<Result<()>>,
    ) -> (Stored, oneshot::Sender<Result<()>>, Result<Option<Posted>>) {
        let Letter { name, site, message, key, share } = letter;
        let (own, other) = message.rooms.iter().cloned().partition(|room| site.is_user_room(room));
        let letter = Stored { name, message: Arc::new(message), own, other, _share: share };
        if letter.own.is_empty() && key.is_none() {
            return (letter, answer, Ok(None));
        }
        let post = Post {
            site: letter.name.as_str().into(),
            message: Arc::clone(&letter.message),
            persons: letter.own.iter().map(|room| room.as_str().into()).collect(),
            key,
            ttl: self.ttl(&site),
            cap: site.most_waiting as u64,
            at: now(),
        };
        let posted = unconstrained(self.0.engine.queues().post(post)).await;
        (letter, answer, posted.map(Some).map_err(Error::from))
    }

    /// Answers the sender, and delivers the message to the connections that are there.
    fn stored(
        &self,
        letter: &Stored,
        answer: oneshot::Sender<Result<()>>,
        posted: Result<Option<Posted>>,
    ) {
        let (outcome, posted) = match posted {
            Ok(posted) => (Ok(()), posted),
            Err(error) => (Err(error), None),
        };
        let is_new = outcome.is_ok() && !posted.is_some_and(|posted| posted.repeated);
        // A sender that does not wait has sent all the same.
        let _ = answer.send(outcome);
        if is_new {
            self.0.seats.deliver(letter, posted.map(|posted| posted.id));
        }
    }
}

/// A letter whose rooms are known for what they are.
struct Stored {
    name: Name,
    message: Arc<Message>,
    own: Vec<String>,
    other: Vec<String>,
    _share: Share,
}

impl Seats {
    /// Delivers a message to each connection once, however many of its rooms it is for. A
    /// connection that gets it as a person, under this id, does not get it as a member of another
    /// room.
    fn deliver(&self, letter: &Stored, id: Option<Flake>) {
        let site: Arc<str> = letter.name.as_str().into();
        let mut recipients: BTreeMap<u64, (Seat, Vec<Arc<str>>)> = BTreeMap::new();
        let seats = self.0.lock();
        for (rooms, are_own) in [(&letter.own, true), (&letter.other, false)] {
            for room in rooms {
                let room: Arc<str> = room.as_str().into();
                for seat in seats.get(&(site.clone(), room.clone())).into_iter().flatten() {
                    let recipient = recipients.entry(seat.number);
                    let (_, persons) = recipient.or_insert_with(|| (seat.clone(), Vec::new()));
                    persons.extend(are_own.then(|| room.clone()));
                }
            }
        }
        drop(seats);
        for (seat, persons) in recipients.into_values() {
            let id = id.filter(|_| !persons.is_empty());
            seat.arrivals.put(Arrival { id, message: Arc::clone(&letter.message), persons });
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.seats.0.lock();
        for room in &self.rooms {
            let at = (Arc::clone(&self.site), Arc::clone(room));
            if let Some(others) = seats.get_mut(&at) {
                others.retain(|seat| seat.number != self.number);
                if others.is_empty() {
                    seats.remove(&at);
                }
            }
        }
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("sites", &self.0.sites).finish_non_exhaustive()
    }
}
