//! Delivers the messages of back ends.
//!
//! A message is stored. Then its sender is answered, and the message is put into the arrivals of
//! the connections that it is for. Each ack removes it from a queue. One task handles all messages,
//! and delivers them in the order of their ids. If several servers share the store, each delivers
//! the messages of all servers as its engine reports them, and not those of its own senders. Each
//! connection has a task that sends them: see `session`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backwire_engine::{Engine, Enqueue, Enqueued, Environment, StoredMessage};
use backwire_environment::{HashMap, Watched};
use backwire_records::access::Principal;
use backwire_records::messages::message::Message;
use backwire_records::messages::rules::Ttl;
use futures_util::future::join_all;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::coop::unconstrained;

use super::delivery_queue::SendRequest;
use super::recipients::{RecipientRegistration, Recipients};
use super::rejection::Rejection;
use super::site_client::{ConnectRequest, SiteClient};
use super::site_connections::{Revocation, SiteConnections};
use crate::announcements::{self, Announcer, Question, Total};
use crate::error::{Error, Result};
use crate::http::send::{BacklogPermit, QueuedMessage};
use crate::sites::{
    Admission, Authenticator, HttpClient, Name, Site, Sites, Table, UserEvent, UserUpdates,
};
use crate::socket::Sockets;

/// How long a client of a removed site waits before its transport is ended. Socket.IO ends a
/// connection without a CONNECT after 45 seconds.
const MAX_WAIT_FOR_SITE: Duration = Duration::from_secs(30);

/// Messages that may wait for the delivery task. As many more may be in the process of being
/// stored.
pub(crate) const MAX_QUEUED_MESSAGES: usize = 512;

/// Stores and delivers messages, and knows the connected clients of all sites.
#[derive(Clone)]
pub(crate) struct DeliveryService(Arc<Inner>);

struct Inner {
    environment: Environment,
    engine: Arc<dyn Engine>,
    sites: Sites,
    http: HttpClient,
    /// How long messages wait at sites without a `clientTtl`.
    ttl: Ttl,
    authenticators: Mutex<HashMap<Name, (Arc<Site>, Authenticator)>>,
    /// Every site that there has been. The namespace of a removed site stays open for clients that
    /// reconnect.
    opened_sites: Mutex<BTreeSet<Name>>,
    recipients: Recipients,
    site_connections: SiteConnections,
    user_updates: UserUpdates,
    announcer: Announcer,
    /// How often all connections had to be checked again.
    rechecks: Watched<u64>,
    /// Whether the engine reports the stored messages, those of other servers as well.
    has_events: AtomicBool,
}

impl DeliveryService {
    pub(crate) fn new(
        environment: Environment,
        engine: Arc<dyn Engine>,
        announcer: Announcer,
        sites: Sites,
        http: HttpClient,
        ttl: Ttl,
    ) -> Self {
        let user_updates = UserUpdates::new(environment.clone(), http.clone());
        let (authenticators, opened_sites, recipients, site_connections) = Default::default();
        Self(Arc::new(Inner {
            environment,
            engine,
            sites,
            http,
            ttl,
            authenticators,
            opened_sites,
            recipients,
            site_connections,
            user_updates,
            announcer,
            rechecks: Watched::default(),
            has_events: AtomicBool::new(false),
        }))
    }

    /// From now on, messages are delivered only by [`deliver_stored`](Self::deliver_stored).
    pub(crate) fn use_events(&self) {
        self.0.has_events.store(true, Ordering::Relaxed);
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    /// Reports to the back end of a site that a client has connected or disconnected.
    pub(super) fn report(&self, site_client: &SiteClient, event: UserEvent) {
        let Some((url, authorization)) =
            site_client.site.update_user_url.as_ref().zip(site_client.authorization.as_ref())
        else {
            return;
        };
        let prefix = site_client.site.user_room_prefix.as_deref();
        for person in site_client.rooms.iter().filter_map(|room| room.strip_prefix(prefix?)) {
            let timeout = site_client.site.auth_timeout;
            self.0.user_updates.report(url, person, authorization, event, timeout);
        }
    }

    pub(super) fn ttl(&self, site: &Site) -> Ttl {
        site.client_ttl.map_or(self.0.ttl, |ttl| Ttl::seconds(ttl.as_secs()))
    }

    /// Authenticates a client at the site of this name, if there is one.
    pub(crate) async fn authenticate_by_name(
        &self,
        name: &str,
        request: ConnectRequest,
    ) -> std::result::Result<SiteClient, Rejection> {
        let name = name.parse().map_err(|_| Rejection::NoSite(name.to_owned()))?;
        self.authenticate(&name, request).await
    }

    /// Authenticates a client: asks the back end of the site for the rooms of its token.
    pub(crate) async fn authenticate(
        &self,
        name: &Name,
        request: ConnectRequest,
    ) -> std::result::Result<SiteClient, Rejection> {
        let device = request.device()?;
        let site = self.site(name).await?;
        request.check_origin(name, &site)?;
        let authenticator = self.authenticator(name, &site);
        let (outcome, revocations) = loop {
            let revocations = self.0.site_connections.revocations(name);
            let outcome = authenticator.admit(request.token.as_deref(), request.address).await;
            // The answer may be older than a revocation.
            if outcome.is_err() || self.0.site_connections.revocations(name) == revocations {
                break (outcome, revocations);
            }
        };
        let Admission { rooms, expires_in } = outcome.map_err(|refusal| {
            let (site, has_token) = (name.as_str().to_owned(), request.token.is_some());
            Rejection::Auth { site, has_token, refusal }
        })?;
        let ConnectRequest { token, is_runtime, address, .. } = request;
        let (name, scheme) = (name.clone(), &site.auth_scheme);
        let authorization = token.as_deref().and_then(|token| scheme.header(token));
        let may_recheck = site.recheck.is_some() || self.0.has_events.load(Ordering::Relaxed);
        let token = token.filter(|_| may_recheck);
        Ok(SiteClient {
            name,
            site,
            rooms,
            expires_in,
            device,
            is_runtime,
            authorization,
            token,
            address,
            revocations,
        })
    }

    /// Returns the site of this name. If it was removed, waits up to [`MAX_WAIT_FOR_SITE`] for it
    /// to be added again: a refused client would not connect again.
    async fn site(&self, name: &Name) -> std::result::Result<Arc<Site>, Rejection> {
        if let Some(site) = self.0.sites.get(name.as_str()) {
            return Ok(site);
        }
        if !self.0.opened_sites.lock().contains(name) {
            return Err(Rejection::NoSite(name.as_str().to_owned()));
        }
        let mut changes = self.0.sites.changes();
        let added = changes.wait_for(|table| table.contains_key(name));
        let table = self.environment().timeout(MAX_WAIT_FOR_SITE, added).await;
        let table = table.ok().and_then(std::result::Result::ok);
        let site = table.and_then(|table| table.get(name).cloned());
        site.ok_or_else(|| Rejection::Removed(name.as_str().to_owned()))
    }

    /// Whether there is still a site of this name.
    pub(super) fn has_site(&self, name: &Name) -> bool {
        self.0.sites.get(name.as_str()).is_some()
    }

    /// Returns the person and the roles of a client for the access rules of resources, if the
    /// resources are those of its site.
    pub(crate) fn principal_of(&self, site_client: &SiteClient) -> Option<Principal> {
        self.has_resources(site_client.name.as_str()).then(|| site_client.principal())
    }

    /// Whether the resources are those of the site of this name.
    pub(crate) fn has_resources(&self, name: &str) -> bool {
        self.0.sites.has_resources(name)
    }

    /// Ends connections of a site, at all servers that share the store. When they have ended,
    /// returns how many there were.
    pub(crate) async fn revoke(&self, name: &Name, revocation: &Revocation) -> Result<Total> {
        let site = name.as_str().to_owned();
        let question = match revocation {
            Revocation::User(user) => Some(Question::RevokeUser { site, user: user.clone() }),
            Revocation::Session(token) => self.site_header(name, token).map(|header| {
                let authorization = announcements::hash_of(header.as_bytes());
                Question::RevokeSession { site, authorization }
            }),
            Revocation::HashedSession(_) => None,
        };
        let (count, ended) = self.begin_revocation(name, revocation);
        ended.await;
        let mut total = Total::default();
        if let Some(question) = question {
            total = self.0.announcer.ask(&question).await?;
        }
        total.sum += count;
        Ok(total)
    }

    fn site_header(&self, name: &Name, token: &str) -> Option<HeaderValue> {
        self.0.sites.get(name.as_str())?.auth_scheme.header(token)
    }

    /// Ends connections of a site to this server. Returns how many there are, and a future that
    /// resolves when they have ended. It need not be awaited.
    pub(crate) fn begin_revocation(
        &self,
        name: &Name,
        revocation: &Revocation,
    ) -> (usize, impl Future<Output = ()> + use<>) {
        if let Some(authenticator) = self.authenticator_of(name) {
            // Running requests may be older than the revocation, so later connects do not share
            // them.
            authenticator.forget_requests();
        }
        let handles = self.0.site_connections.revoke(name, revocation);
        let count = handles.len();
        let ended = join_all(handles.into_iter().map(|handle| handle.disconnect()));
        (count, ended.map(drop))
    }

    pub(super) fn site_connections(&self) -> &SiteConnections {
        &self.0.site_connections
    }

    /// Returns the authenticator of the site of this name, if there is one.
    pub(super) fn authenticator_of(&self, name: &Name) -> Option<Authenticator> {
        let site = self.0.sites.get(name.as_str())?;
        Some(self.authenticator(name, &site))
    }

    /// Returns the authenticator for the current settings of a site.
    fn authenticator(&self, name: &Name, site: &Arc<Site>) -> Authenticator {
        let mut all = self.0.authenticators.lock();
        if let Some((of, authenticator)) = all.get(name)
            && Arc::ptr_eq(of, site)
        {
            return authenticator.clone();
        }
        let authenticator = Authenticator::in_environment(
            self.environment().clone(),
            name.clone(),
            Arc::clone(site),
            self.0.http.clone(),
        );
        all.insert(name.clone(), (Arc::clone(site), authenticator.clone()));
        authenticator
    }

    /// Registers a recipient in rooms of a site. From now on, messages for these rooms arrive.
    pub(super) fn register(&self, site: Arc<str>, rooms: &[String]) -> RecipientRegistration {
        self.0.recipients.register(site, rooms)
    }

    /// Opens the namespaces of all sites. The returned future opens and closes namespaces when
    /// sites are added and removed, as long as the sites may change. The current ones are open
    /// before a client can connect, because a stock client does not repeat a refused CONNECT.
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
            self.0.authenticators.lock().remove(name);
        }
        for name in now.keys().filter(|name| !open.contains_key(*name)) {
            if self.0.opened_sites.lock().insert(name.clone()) {
                sockets.open_site(name.clone(), self.clone());
            }
        }
    }

    /// Stores messages and delivers them in the order of their ids, until all senders are dropped.
    pub(crate) async fn deliver(self, mut requests: mpsc::Receiver<SendRequest>) {
        let (mut stored, mut is_open) = (FuturesOrdered::new(), true);
        while is_open || !stored.is_empty() {
            tokio::select! {
                biased;
                Some((message, answer, outcome)) = stored.next(), if !stored.is_empty() => {
                    self.answer_and_deliver(&message, answer, outcome);
                }
                request = requests.recv(), if is_open && stored.len() < MAX_QUEUED_MESSAGES => match request {
                    Some((message, answer)) => {
                        let mut storing = self.clone().store(message, answer).boxed();
                        // The first poll decides the order in which the engine stores messages.
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
        message: QueuedMessage,
        answer: oneshot::Sender<Result<()>>,
    ) -> (AcceptedMessage, oneshot::Sender<Result<()>>, Result<Option<Enqueued>>) {
        let QueuedMessage { name, site, message, key, list, permit } = message;
        let persons: Vec<Arc<str>> = message
            .rooms
            .iter()
            .filter(|room| site.is_user_room(room))
            .map(|room| room.as_str().into())
            .collect();
        let accepted = AcceptedMessage {
            site: name.as_str().into(),
            message: Arc::new(message),
            persons,
            _permit: permit,
        };
        // A message without a queue reaches other servers only through the store.
        let is_queued = !accepted.persons.is_empty() || self.0.has_events.load(Ordering::Relaxed);
        if !is_queued && key.is_none() {
            return (accepted, answer, Ok(None));
        }
        let request = Enqueue {
            site: Arc::clone(&accepted.site),
            message: Arc::clone(&accepted.message),
            persons: accepted.persons.clone(),
            key,
            ttl: self.ttl(&site),
            cap: site.most_waiting as u64,
            at: self.environment().unix_millis(),
            list,
        };
        let enqueued = unconstrained(self.0.engine.queues().enqueue(request)).await;
        (accepted, answer, enqueued.map(Some).map_err(Error::from))
    }

    /// Answers the sender, and delivers the message to the connected clients, unless the engine
    /// reports it.
    fn answer_and_deliver(
        &self,
        message: &AcceptedMessage,
        answer: oneshot::Sender<Result<()>>,
        enqueued: Result<Option<Enqueued>>,
    ) {
        let (outcome, enqueued) = match enqueued {
            Ok(enqueued) => (Ok(()), enqueued),
            Err(error) => (Err(error), None),
        };
        let is_new = outcome.is_ok() && !enqueued.is_some_and(|enqueued| enqueued.repeated);
        let is_reported = self.0.has_events.load(Ordering::Relaxed);
        // If the sender no longer waits for the outcome, the message is delivered all the same.
        let _ = answer.send(outcome);
        if is_new && !is_reported {
            let AcceptedMessage { site, persons, message, .. } = message;
            let id = enqueued.map(|enqueued| enqueued.id);
            self.0.recipients.deliver((site, persons, message), id);
        }
    }

    /// Delivers a message that the engine reports to the connected clients.
    pub(crate) fn deliver_stored(&self, stored: &StoredMessage) {
        let StoredMessage { id, site, persons, message } = stored;
        self.0.recipients.deliver((site, persons, message), Some(*id));
    }

    /// Has the back ends of all sites asked about their connected clients again, because the engine
    /// may not have reported a revocation.
    pub(crate) fn recheck_all(&self) {
        self.0.rechecks.update(|rounds| *rounds += 1);
    }

    pub(super) fn rechecks(&self) -> &Watched<u64> {
        &self.0.rechecks
    }

    /// Has all connections read their queues, because the engine has not reported some messages.
    pub(crate) fn read_all_queues(&self) {
        self.0.recipients.read_queues();
    }
}

/// A message of a back end, and the persons among its rooms.
struct AcceptedMessage {
    site: Arc<str>,
    message: Arc<Message>,
    persons: Vec<Arc<str>>,
    _permit: BacklogPermit,
}

impl fmt::Debug for DeliveryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryService").field("sites", &self.0.sites).finish_non_exhaustive()
    }
}
