//! Answers the requests of connections to the main namespace.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backwire_engine::Environment;
use backwire_protocol::wire::PROBE;
use backwire_records::access::ExpiringPrincipal;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::consume_budget;

use super::adapter::socket::Socket;
use super::adapter::{ConnectionHandler, Event, Namespace};
use super::connection::{Client, Connection, auth_to_keep};
use super::in_progress::{InProgress, Progress, Reply};
use super::inbox::{BegunEvent, EnqueueOutcome, QueuedEvent};
use super::output::Pause;
use super::site::{self, PendingConnection};
use super::site_connection::SiteConnection;
use super::turn::Turn;
use super::{Counters, Limits, SEND_BUFFER_POLL_INTERVAL, Sockets};
use crate::answer::Answer;
use crate::answers::{self, Answers};
use crate::delivery::service::DeliveryService;
use crate::delivery::site_client::ConnectRequest;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::hooks::{ConnectionHooks, Hooks};
use crate::http::address::client_address;
use crate::http::origin::SiteOrigin;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::rooms::Presence;
use crate::settings::Limit;

/// The id of an ack, and the answer to send with it.
type AckReply = (Option<i64>, Result<Answer, Error>);

impl Sockets {
    /// Accepts connections, whose requests are answered by `answers`. The sockets drop `answers`
    /// when they are closed.
    pub(crate) fn open(&self, answers: Answers, hooks: Hooks, delivery_service: DeliveryService) {
        let sockets = self.clone();
        let Sockets { presence, counters, limits, limits_reached, requests, .. } = sockets;
        let context = SocketContext {
            environment: delivery_service.environment().clone(),
            answers,
            hooks,
            delivery_service,
            limits,
            requests,
            presence,
            counters,
            limits_reached,
        };
        self.adapter.open("/".to_owned(), Arc::new(MainNamespace(Arc::new(context))));
    }
}

/// The main namespace.
struct MainNamespace(Arc<SocketContext>);

/// One connection to the main namespace.
struct RequestHandler {
    context: Arc<SocketContext>,
    connection: Arc<Connection>,
    /// The site that the CONNECT names, until it is decided on.
    site: Mutex<Option<SiteRequest>>,
    pending: PendingConnection,
    hooks: Arc<ConnectionHooks>,
}

/// The name of a site, the client that connects to it, and a receiver that ends when the connection
/// is gone.
type SiteRequest = (String, ConnectRequest, oneshot::Receiver<()>);

/// The state that all connections share.
struct SocketContext {
    environment: Environment,
    answers: Answers,
    hooks: Hooks,
    /// Knows the sites, and delivers messages to the devices that are connected.
    delivery_service: DeliveryService,
    limits: Limits,
    /// The memory budget of the requests that have not been answered.
    requests: Arc<MemoryBudget>,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
    limits_reached: Arc<LimitMonitor>,
}

impl Namespace for MainNamespace {
    fn begin(
        &self,
        socket: &Arc<dyn Socket>,
        auth: Option<&str>,
    ) -> Result<Arc<dyn ConnectionHandler>, String> {
        let dialect = Dialect::of_auth(auth)?;
        let site = (dialect == Some(Dialect::Runtime))
            .then(|| site::runtime_request(&**socket, auth))
            .flatten();
        let site_page = site::page(&**socket).map(|SiteOrigin(origin)| origin);
        if let Some(origin) = &site_page
            && site.is_none()
            && !socket.is_legacy()
        {
            return Err(format!("E_ORIGIN: {}", Error::SitesOnly(origin.to_string())));
        }
        let has_resources = |(name, _): &(String, _)| self.0.delivery_service.has_resources(name);
        let refused_page = site_page.filter(|_| !site.as_ref().is_some_and(has_resources));
        let (presence, limits_reached) = (self.0.presence.clone(), self.0.limits_reached.clone());
        let connection = Arc::new(Connection::new(
            &socket.id(),
            dialect,
            presence,
            limits_reached,
            (refused_page, auth_to_keep(auth)?),
            client_address(&socket.handshake().extensions),
            socket.buffers(),
        ));
        let site = site.map(|(site, request)| (site, request, connection.gone_receiver()));
        Ok(Arc::new(RequestHandler {
            context: self.0.clone(),
            connection,
            site: Mutex::new(site),
            pending: PendingConnection::default(),
            hooks: Arc::default(),
        }))
    }
}

impl RequestHandler {
    fn client(&self, socket: Arc<dyn Socket>) -> Client {
        Client::new(socket, self.connection.clone())
    }

    /// Decides on the connection to a site.
    async fn admit_to_site(
        &self,
        socket: &Arc<dyn Socket>,
        (site, request, gone): SiteRequest,
    ) -> Result<(), String> {
        let service = &self.context.delivery_service;
        let admission = service.authenticate_by_name(&site, request);
        let admitted = site::admit(socket, admission).await;
        let site_client = admitted.map_err(|rejection| rejection.for_runtime())?;
        if let Some(principal) = service.principal_of(&site_client) {
            self.connection
                .set_principal(ExpiringPrincipal { principal, until: ExpiringPrincipal::NEVER });
        }
        self.pending.reserve(socket, service, site_client, gone).await
    }
}

impl ConnectionHandler for RequestHandler {
    fn connection(&self) -> Option<&Arc<Connection>> {
        Some(&self.connection)
    }

    fn admit(&self, socket: Arc<dyn Socket>) -> BoxFuture<'_, Result<(), String>> {
        let site = self.site.lock().take();
        Box::pin(async move {
            if let Some(site) = site {
                self.admit_to_site(&socket, site).await?;
            }
            let SocketContext { hooks, answers, .. } = &*self.context;
            self.hooks.connect(hooks, answers.shared(), self.client(socket)).await
        })
    }

    fn connected(&self, socket: Arc<dyn Socket>) {
        let client = self.client(socket);
        self.hooks.begin(&self.context.hooks, &client);
        let connection = SiteConnection::Runtime(client);
        self.pending.start_delivery(&self.context.delivery_service, connection);
    }

    fn received(&self, socket: Arc<dyn Socket>, Event { text, ack, is_binary }: Event) {
        let client = self.client(socket);
        let claim = |bytes| match self.connection.input.take_claim() {
            Some(mut claim) => {
                // If it cannot grow, it covers a part.
                claim.resize(bytes);
                Some(claim)
            }
            None => self.context.requests.claim(client.address(), bytes),
        };
        if *text == *PROBE.as_bytes() && client.dialect() == Dialect::Runtime {
            return self.context.answer_probe(&client, ack);
        }
        let mut event = QueuedEvent::new(text, ack, is_binary);
        if client.dialect() == Dialect::Runtime {
            event = event.of_runtime();
        }
        let is_websocket = client.socket.is_websocket();
        self.connection.learn_dialect(&event);
        match self.connection.inbox.enqueue(event, self.context.limits, is_websocket, claim) {
            EnqueueOutcome::Queued => {}
            EnqueueOutcome::First => {
                self.context.environment.spawn(self.context.clone().process_inbox(client));
            }
            EnqueueOutcome::Overflow => client.disconnect(),
        }
    }

    fn disconnected(&self, socket: Arc<dyn Socket>, ends_session: bool) {
        self.connection.mark_gone();
        let SocketContext { hooks, answers, .. } = &*self.context;
        self.hooks.end(hooks, answers.shared(), self.client(socket));
        // Packets that were sent wait in the queue of the session, which may go on without the
        // namespace.
        if ends_session {
            self.connection.output.clear();
        }
    }
}

impl SocketContext {
    /// Answers the events in the inbox, in arrival order, until the inbox is empty.
    ///
    /// The task begins as many events as it may, and then answers all of them before it begins
    /// more, except those that have left the order. Events that arrive meanwhile make up the next
    /// commit, instead of several small ones.
    async fn process_inbox(self: Arc<Self>, client: Client) {
        let client = DisconnectOnPanic(client);
        let client = &client.0;
        let (mut answers, mut unsent) = (InProgress::default(), Vec::new());
        let mut pause = Pause::default();
        let budget = self.answers.output_budget();
        client.connected(&self.environment).await;
        while client.connection.inbox.has_more() {
            let has_room = self.begin_events(client, &mut answers, &mut unsent).await;
            while answers.has_ordered()
                && let Some(progress) = answers.next().await
            {
                self.finish(client, progress, &mut unsent);
            }
            client.connection.output.set_answers_in_progress(answers.len());
            if !answers.is_empty() {
                self.wait_beside(client, &mut answers, &mut unsent, has_room).await;
                continue;
            }
            // No event is in progress now, so nothing waits for the events below.
            self.send_pending(client, unsent.drain(..)).await;
            self.refuse(client).await;
            client.connection.output.set_answers_in_progress(0);
            match client.begin_answer(self.limits, budget, 0) {
                Ok(()) => pause = Pause::default(),
                Err(no_room) => budget.wait_for_room(&self.environment, no_room, &mut pause).await,
            }
        }
        client.connection.output.set_answers_in_progress(0);
    }

    /// Begins as many events as it may. Returns `false` if there is no room for another answer.
    async fn begin_events<'a>(
        &'a self,
        client: &'a Client,
        answers: &mut InProgress<'a>,
        unsent: &mut Vec<AckReply>,
    ) -> bool {
        let (inbox, budget) = (&client.connection.inbox, self.answers.output_budget());
        while answers.can_begin() && unsent.is_empty() && inbox.has_next() {
            if client.begin_answer(self.limits, budget, answers.len()).is_err() {
                return false;
            }
            let Some(event) = inbox.begin() else { break };
            answers.begin(|turn| Box::pin(self.compute_answer(client, event, turn)));
            // This polls once. The engine decides whether that is enough for an answer.
            while let Some(Some(progress)) = answers.next().now_or_never() {
                self.finish(client, progress, unsent);
            }
            // Commits do not use the task's budget, see `Context::commit_and_pass_turn`, and
            // other tasks have to run, too.
            consume_budget().await;
        }
        true
    }

    /// Waits while events that have left the order are being answered: until one of them is, or
    /// another event arrives, or it is time to check again whether there is room.
    async fn wait_beside(
        &self,
        client: &Client,
        answers: &mut InProgress<'_>,
        unsent: &mut Vec<AckReply>,
        has_room: bool,
    ) {
        let retry = async {
            match has_room && unsent.is_empty() {
                true => pending().await,
                false => self.environment.sleep(SEND_BUFFER_POLL_INTERVAL).await,
            }
        };
        let progress = tokio::select! {
            biased;
            progress = answers.next() => progress,
            () = client.connection.inbox.arrival() => None,
            () = retry => None,
        };
        for mut reply in std::mem::take(unsent) {
            if !unsent.is_empty() || !self.try_send(client, &mut reply) {
                unsent.push(reply);
            }
        }
        if let Some(progress) = progress {
            self.finish(client, progress, unsent);
        }
    }

    /// Refuses the events that did not fit into the inbox, as fast as the client reads the
    /// refusals.
    async fn refuse(&self, client: &Client) {
        let (budget, mut pause) = (self.answers.output_budget(), Pause::default());
        let mut refused = client.connection.inbox.take_refused();
        if let Some((count, limit)) = refused.take_without_ack() {
            self.refusal(client, limit);
            self.counters.dropped.fetch_add(count, Ordering::Relaxed);
        }
        for (ack, limit) in refused {
            if !client.is_connected() {
                return;
            }
            consume_budget().await;
            while let Err(no_room) = client.begin_answer(self.limits, budget, 0) {
                budget.wait_for_room(&self.environment, no_room, &mut pause).await;
            }
            pause = Pause::default();
            let refusal = (Some(ack), Err(self.refusal(client, limit)));
            self.send_pending(client, std::iter::once(refusal)).await;
        }
    }

    /// Answers a probe, which does not wait for the answers before it. If there is no room for its
    /// answer, the client has something else to read, and needs no answer.
    fn answer_probe(&self, client: &Client, ack: Option<i64>) {
        client.try_answer(ack, &mut answers::to_probe(), self.answers.output_budget());
    }

    /// Returns the error of an event that a limit refuses.
    fn refusal(&self, client: &Client, limit: Limit) -> Error {
        let error = match limit {
            Limit::RequestBytes => Error::TooManyBytes { limit: self.limits.request_bytes },
            Limit::TotalRequestBytes => Error::Busy { limit, bytes: self.requests.limit() },
            _ => Error::TooManyRequests { limit: self.limits.in_flight },
        };
        self.answers.count_refusal(client, &error);
        error
    }

    /// Sends the answers that did not fit into the send buffer, as the client reads what it was
    /// sent before. A client that reads nothing is disconnected when the deadline of its TCP
    /// connection has passed.
    async fn send_pending(&self, client: &Client, unsent: impl Iterator<Item = AckReply>) {
        for mut reply in unsent {
            while !self.try_send(client, &mut reply) {
                self.environment.sleep(SEND_BUFFER_POLL_INTERVAL).await;
            }
        }
    }

    async fn compute_answer(&self, client: &Client, begun: BegunEvent, turn: Turn) -> Reply {
        let event = &begun.event;
        let answer = match client.connection.refused_page() {
            Some(origin) => Err(Error::SitesOnly(origin.to_string())),
            None if event.is_binary => Err(Error::Binary),
            None => self.answers.answer(client, event.text(), &turn).await,
        };
        if let Err(error) = &answer {
            self.answers.count_refusal(client, error);
        }
        turn.pass();
        (begun, answer)
    }

    /// Sends an answer, and counts its event as finished. If it cannot be sent yet, it becomes the
    /// last of `unsent`.
    fn finish(&self, client: &Client, progress: Progress, unsent: &mut Vec<AckReply>) {
        let Some((begun, answer)) = progress else { return };
        let mut reply = (begun.event.ack, answer);
        let is_sent = unsent.is_empty() && self.try_send(client, &mut reply);
        client.connection.inbox.finish(begun);
        if !is_sent {
            unsent.push(reply);
        }
    }

    /// Sends an answer. Returns `false` if the send buffer has no room for it.
    fn try_send(&self, client: &Client, (ack, answer): &mut AckReply) -> bool {
        if ack.is_none() {
            if answer.is_err() {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return true;
        }
        let budget = self.answers.output_budget();
        match answer {
            Ok(answer) => client.try_answer(*ack, answer, budget),
            Err(error) => {
                let arguments = client.dialect().refusal(error);
                client.try_answer(*ack, &mut Answer::new(arguments, None), budget)
            }
        }
    }
}

/// Disconnects a client when the task that empties its inbox panics: nothing else would answer its
/// events.
struct DisconnectOnPanic(Client);

impl Drop for DisconnectOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disconnect();
        }
    }
}
