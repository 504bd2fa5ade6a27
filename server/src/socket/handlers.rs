//! The handlers that socketioxide calls: for a connect, for each event and for a disconnect.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backwire_engine::Environment;
use backwire_records::access::ExpiringPrincipal;
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use socketioxide::ProtocolVersion;
use socketioxide::TransportType;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{self, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::task::consume_budget;

use super::connection::{Client, Connection, EnqueueOutcome, Event, SocketExtension};
use super::output::Pause;
use super::session::{self, Session};
use super::site::{self, PendingConnection};
use super::site_connection::SiteConnection;
use super::turn::{Turn, Turns};
use super::{Counters, Limits, SEND_BUFFER_POLL_INTERVAL, ShutdownFlag, Sockets};
use crate::answer::Answer;
use crate::answers::Answers;
use crate::delivery::service::DeliveryService;
use crate::dialect::Dialect;
use crate::error::Error;
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
    pub(crate) fn open(&self, answers: Answers, delivery_service: DeliveryService) {
        self.io.ns("/", ConnectHandler::new(answers, delivery_service, self));
    }
}

/// Accepts every connection.
#[derive(Clone)]
pub(super) struct ConnectHandler(Arc<SocketContext>);

/// The state that all connections share.
struct SocketContext {
    environment: Environment,
    answers: Answers,
    /// Knows the sites, and delivers messages to the devices that are connected.
    delivery_service: DeliveryService,
    limits: Limits,
    /// The memory budget of the requests that have not been answered.
    requests: Arc<MemoryBudget>,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
    limits_reached: Arc<LimitMonitor>,
    shutdown: ShutdownFlag,
}

impl ConnectHandler {
    pub(super) fn new(
        answers: Answers,
        delivery_service: DeliveryService,
        sockets: &Sockets,
    ) -> Self {
        let sockets = sockets.clone();
        let Sockets {
            environment,
            presence,
            counters,
            limits,
            limits_reached,
            shutdown,
            requests,
            ..
        } = sockets;
        Self(Arc::new(SocketContext {
            environment,
            answers,
            delivery_service,
            limits,
            requests,
            presence,
            counters,
            limits_reached,
            shutdown,
        }))
    }

    /// Decides on a CONNECT. It runs before the CONNECT is answered, so the message handler is
    /// registered before the first event arrives. An error is the message of the refusal.
    async fn accept(&self, socket: &Arc<Socket>, auth: Option<&Value>) -> Result<(), String> {
        let auth = auth.and_then(Value::as_str).map(|auth| auth.as_str());
        let dialect = Dialect::of_auth(auth)?;
        let site = (dialect == Some(Dialect::Runtime))
            .then(|| site::runtime_request(socket, auth))
            .flatten();
        let site_page = site::page(socket).map(|SiteOrigin(origin)| origin);
        if let Some(origin) = &site_page
            && site.is_none()
            && !is_legacy_client(socket)
        {
            return Err(format!("E_ORIGIN: {}", Error::SitesOnly(origin.to_string())));
        }
        let has_resources = |(name, _): &(String, _)| self.0.delivery_service.has_resources(name);
        let refused_page = site_page.filter(|_| !site.as_ref().is_some_and(has_resources));
        let id = socket.id.to_string();
        let session = Session::of(socket).cloned();
        let (presence, limits_reached) = (self.0.presence.clone(), self.0.limits_reached.clone());
        let connection =
            Connection::new(&id, dialect, presence, limits_reached, refused_page, session);
        let connection = Arc::new(connection);
        let extension =
            SocketExtension { socket: Arc::downgrade(socket), connection: connection.clone() };
        socket.extensions.insert(extension);
        socket.on_disconnect(DisconnectHandler(connection.clone()));
        socket.on_fallback(MessageHandler {
            context: self.0.clone(),
            connection: connection.clone(),
        });
        if let Some((site, connect_request)) = site {
            let gone = connection.gone_receiver();
            let admission = self.0.delivery_service.authenticate_by_name(&site, connect_request);
            let admitted = site::admit(socket, admission).await;
            let site_client = admitted.map_err(|rejection| rejection.for_runtime())?;
            if let Some(principal) = self.0.delivery_service.principal_of(&site_client) {
                connection.set_principal(ExpiringPrincipal {
                    principal,
                    until: ExpiringPrincipal::NEVER,
                });
            }
            PendingConnection::reserve(socket, &self.0.delivery_service, site_client, gone).await?;
        }
        Ok(())
    }
}

impl handler::ConnectHandler<LocalAdapter, Self> for ConnectHandler {
    /// Runs when the CONNECT has been answered: from now on the client can be sent events.
    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        if self.0.shutdown.accept(&socket) {
            PendingConnection::start_delivery(&socket, &self.0.delivery_service, || {
                Client::of(&socket).map(SiteConnection::Runtime)
            });
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            // A client of Engine.IO 3 is connected to this namespace without a CONNECT.
            let outcome = self.accept(&socket, auth.as_ref());
            let outcome = match is_legacy_client(&socket) {
                true => outcome.await,
                false => session::connect(&socket, outcome).await,
            };
            outcome.map_err(|refusal| Box::new(refusal) as _)
        })
    }
}

/// Whether this is a client of Socket.IO 1 or 2. Such a client is connected to this namespace
/// before any other, and takes a refusal of it for a refusal of all its namespaces.
fn is_legacy_client(socket: &Socket) -> bool {
    matches!(socket.protocol(), ProtocolVersion::V4)
}

/// Receives the events of one connection, in arrival order.
struct MessageHandler {
    context: Arc<SocketContext>,
    connection: Arc<Connection>,
}

impl handler::MessageHandler<LocalAdapter, ConnectHandler> for MessageHandler {
    /// Called by the reader of the connection, one event after the other. It must not block.
    fn call(&self, socket: Arc<Socket>, text: Value, ack: Option<i64>) {
        let client = Client { socket, connection: self.connection.clone() };
        let message_claim = || Session::of(&client.socket)?.take_claim();
        let claim = |bytes| match message_claim() {
            Some(mut claim) => {
                // If it cannot grow, it covers a part.
                claim.resize(bytes);
                Some(claim)
            }
            None => self.context.requests.claim(client.address(), bytes),
        };
        let event = Event::new(text, ack);
        let is_websocket = client.socket.transport_type() == TransportType::Websocket;
        match self.connection.enqueue(event, self.context.limits, is_websocket, claim) {
            EnqueueOutcome::Queued => {}
            EnqueueOutcome::First => {
                let run = self.context.clone().process_inbox(client);
                drop(self.context.environment.spawn(run));
            }
            EnqueueOutcome::Overflow => client.disconnect(),
        }
    }
}

impl SocketContext {
    /// Answers the events in the inbox, in arrival order, until the inbox is empty.
    ///
    /// The task begins as many events as it may, and then answers all of them before it begins
    /// more. Events that arrive meanwhile make up the next commit, instead of several small ones.
    async fn process_inbox(self: Arc<Self>, client: Client) {
        let client = DisconnectOnPanic(client);
        let client = &client.0;
        let (mut turns, mut answers) = (Turns::default(), FuturesOrdered::new());
        let (mut unsent, mut pause) = (Vec::new(), Pause::default());
        let budget = self.answers.output_budget();
        client.connected(&self.environment).await;
        while client.connection.has_more() {
            while turns.can_begin()
                && unsent.is_empty()
                && let Some(event) = client.connection.peek(turns.len())
                && client.begin_answer(self.limits, budget, turns.len()).is_ok()
            {
                answers.push_back(Box::pin(self.compute_answer(client, event, turns.begin())));
                // This polls once. The engine decides whether that is enough for an answer.
                while let Some(Some(reply)) = answers.next().now_or_never() {
                    unsent.extend(self.finish(client, &mut turns, reply));
                }
                // Commits do not use the task's budget, see `Context::commit_and_pass_turn`, and
                // other tasks have to run, too.
                consume_budget().await;
            }
            while let Some(reply) = answers.next().await {
                unsent.extend(self.finish(client, &mut turns, reply));
            }
            // No event is in progress now, so nothing waits for the events below.
            self.send_pending(client, unsent.drain(..)).await;
            self.refuse(client).await;
            client.connection.output.finish_answers();
            match client.begin_answer(self.limits, budget, 0) {
                Ok(()) => pause = Pause::default(),
                Err(no_room) => budget.wait_for_room(&self.environment, no_room, &mut pause).await,
            }
        }
        client.connection.output.finish_answers();
    }

    /// Refuses the events that did not fit into the inbox, as fast as the client reads the
    /// refusals.
    async fn refuse(&self, client: &Client) {
        let (budget, mut pause) = (self.answers.output_budget(), Pause::default());
        let mut refused = client.connection.take_refused();
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

    async fn compute_answer(&self, client: &Client, event: Event, turn: Turn) -> AckReply {
        let text = event.text.as_str().map_or("", |text| text.as_str());
        let answer = match client.connection.refused_page() {
            Some(origin) => Err(Error::SitesOnly(origin.to_string())),
            None if event.is_binary => Err(Error::Binary),
            None => self.answers.answer(client, text, &turn).await,
        };
        if let Err(error) = &answer {
            self.answers.count_refusal(client, error);
        }
        turn.pass();
        (event.ack, answer)
    }

    /// Sends an answer and counts its event as finished. Returns the answer if it could not be sent
    /// yet.
    fn finish(&self, client: &Client, turns: &mut Turns, mut reply: AckReply) -> Option<AckReply> {
        let is_sent = self.try_send(client, &mut reply);
        client.connection.finish_first();
        turns.end();
        (!is_sent).then_some(reply)
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

/// Cleans up when a connection has ended.
struct DisconnectHandler(Arc<Connection>);

impl handler::DisconnectHandler<LocalAdapter, ConnectHandler> for DisconnectHandler {
    fn call_with_defer(
        &self,
        socket: Arc<Socket>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket>),
    ) {
        use DisconnectReason::{ClientNSDisconnect, ServerNSDisconnect};
        self.0.mark_gone();
        // Packets that were sent wait in the queue of the session, which may go on without the
        // namespace.
        if !matches!(reason, ClientNSDisconnect | ServerNSDisconnect) {
            self.0.output.clear();
        }
        defer(socket);
    }
}
