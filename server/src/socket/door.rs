//! Where connections and their events come in.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backwire_records::access::Known;
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use socketioxide::ProtocolVersion;
use socketioxide::TransportType;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::{ConnectHandler, DisconnectHandler, MessageHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tokio::task::consume_budget;
use tokio::time::sleep;

use super::connection::{Arrival, Client, Connection, Event, Met};
use super::output::Pause;
use super::session::{self, Session};
use super::site::{self, Line};
use super::turn::{Turn, Turns};
use super::{Counters, Entrance, Limits, SEND_BUFFER_POLL_INTERVAL, Sockets};
use crate::answers::{Answer, Answers};
use crate::delivery::courier::Courier;
use crate::dialect::Dialect;
use crate::error::Error;
use crate::http::origin::SitePage;
use crate::limit_monitor::LimitMonitor;
use crate::memory_budget::MemoryBudget;
use crate::rooms::Presence;
use crate::settings::Limit;

/// An answer, and the ack that it is.
type Found = (Option<i64>, Result<Answer, Error>);

impl Sockets {
    /// Lets sockets in, to be given these answers. They are given up when the sockets are closed.
    pub(crate) fn open(&self, answers: Answers, courier: Courier) {
        self.io.ns("/", Doors::new(answers, courier, self));
    }
}

/// Meets every connection.
#[derive(Clone)]
pub(super) struct Doors(Arc<House>);

/// What all connections share.
struct House {
    answers: Answers,
    /// Knows the sites, and attends to who is there for one.
    courier: Courier,
    limits: Limits,
    /// The budget of the requests that are not answered.
    requests: Arc<MemoryBudget>,
    presence: Arc<Presence>,
    counters: Arc<Counters>,
    limits_reached: Arc<LimitMonitor>,
    entrance: Entrance,
}

impl Doors {
    pub(super) fn new(answers: Answers, courier: Courier, sockets: &Sockets) -> Self {
        let sockets = sockets.clone();
        let Sockets { presence, counters, limits, limits_reached, entrance, requests, .. } =
            sockets;
        Self(Arc::new(House {
            answers,
            courier,
            limits,
            requests,
            presence,
            counters,
            limits_reached,
            entrance,
        }))
    }

    /// Runs before the CONNECT is answered, so the first event finds its door.
    async fn meet(&self, socket: &Arc<Socket>, auth: Option<&Value>) -> Result<(), String> {
        let auth = auth.and_then(Value::as_str).map(|auth| auth.as_str());
        let dialect = Dialect::of_auth(auth)?;
        let site = (dialect == Some(Dialect::Runtime)).then(|| site::named(socket, auth)).flatten();
        let site_page = site::page(socket).map(|SitePage(origin)| origin);
        if let Some(origin) = &site_page
            && site.is_none()
            && !joins_by_itself(socket)
        {
            return Err(format!("E_ORIGIN: {}", Error::SitesOnly(origin.to_string())));
        }
        let has_resources = |(name, _): &(String, _)| self.0.courier.has_resources(name);
        let refused_page = site_page.filter(|_| !site.as_ref().is_some_and(has_resources));
        let id = socket.id.to_string();
        let session = Session::of(socket).cloned();
        let (presence, limits_reached) = (self.0.presence.clone(), self.0.limits_reached.clone());
        let connection =
            Connection::new(&id, dialect, presence, limits_reached, refused_page, session);
        let connection = Arc::new(connection);
        let met = Met { socket: Arc::downgrade(socket), connection: connection.clone() };
        socket.extensions.insert(met);
        socket.on_disconnect(Exit(connection.clone()));
        socket.on_fallback(Door { house: self.0.clone(), connection: connection.clone() });
        if let Some((site, introduction)) = site {
            let gone = connection.going();
            let admission = self.0.courier.admit_to(&site, introduction);
            let admitted = site::admitted(socket, admission).await;
            let guest = admitted.map_err(|rejection| rejection.for_runtime())?;
            if let Some(who) = self.0.courier.who(&guest) {
                connection.know(Known { who, until: Known::FOR_EVER });
            }
            site::Met::seat(socket, &self.0.courier, guest, gone).await?;
        }
        Ok(())
    }
}

impl ConnectHandler<LocalAdapter, Self> for Doors {
    /// Its CONNECT has been answered: it can be told something.
    fn call(&self, socket: Arc<Socket>, _: Option<Value>) {
        if self.0.entrance.lets_in(&socket) {
            site::Met::attend(&socket, &self.0.courier, || Client::of(&socket).map(Line::Runtime));
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>> {
        Box::pin(async move {
            // A client of Engine.IO 3 is connected to this namespace without having asked for it.
            let met = self.meet(&socket, auth.as_ref());
            let met = match joins_by_itself(&socket) {
                true => met.await,
                false => session::connect(&socket, met).await,
            };
            met.map_err(|refusal| Box::new(refusal) as _)
        })
    }
}

/// Whether this is a client of Socket.IO 1 or 2. Such a client is connected to this namespace
/// before any other, and takes a refusal for one of all its namespaces.
fn joins_by_itself(socket: &Socket) -> bool {
    matches!(socket.protocol(), ProtocolVersion::V4)
}

/// Takes the events of one connection, in arrival order.
struct Door {
    house: Arc<House>,
    connection: Arc<Connection>,
}

impl MessageHandler<LocalAdapter, Doors> for Door {
    /// Called by the connection's reader, one event after the other; nothing here waits.
    fn call(&self, socket: Arc<Socket>, text: Value, ack: Option<i64>) {
        let client = Client { socket, connection: self.connection.clone() };
        let arrived = || Session::of(&client.socket)?.take_claim();
        let claim = |bytes| match arrived() {
            Some(mut claim) => {
                // If it cannot grow, it covers a part.
                claim.resize(bytes);
                Some(claim)
            }
            None => self.house.requests.claim(client.address(), bytes),
        };
        let event = Event::new(text, ack);
        let is_by_websocket = client.socket.transport_type() == TransportType::Websocket;
        match self.connection.arrived(event, self.house.limits, is_by_websocket, claim) {
            Arrival::Queued => {}
            Arrival::First => drop(tokio::spawn(self.house.clone().empty_inbox(client))),
            Arrival::Lost => client.disconnect(),
        }
    }
}

impl House {
    /// Answers what is in the inbox, in arrival order, until it is empty.
    ///
    /// What has come is begun as far as it may be, and then all of it is answered before more is begun:
    /// what comes meanwhile makes up the next commit, instead of several small ones.
    async fn empty_inbox(self: Arc<Self>, client: Client) {
        let client = HangUpOnPanic(client);
        let client = &client.0;
        let (mut turns, mut answers) = (Turns::default(), FuturesOrdered::new());
        let (mut unsent, mut pause) = (Vec::new(), Pause::default());
        let budget = self.answers.output_budget();
        client.connected().await;
        while client.connection.has_more() {
            while turns.are_open()
                && unsent.is_empty()
                && let Some(event) = client.connection.behind(turns.len())
                && client.begin_answer(self.limits, budget, turns.len()).is_ok()
            {
                answers.push_back(Box::pin(self.find_answer(client, event, turns.begin())));
                // It is asked once; whether that is enough for an answer is up to the engine.
                while let Some(Some(found)) = answers.next().now_or_never() {
                    unsent.extend(self.finish(client, &mut turns, found));
                }
                // Commits do not spend it, see `Context::commit_last`, and others want to run, too.
                consume_budget().await;
            }
            while let Some(found) = answers.next().await {
                unsent.extend(self.finish(client, &mut turns, found));
            }
            // Nothing is being answered now that others might wait for.
            self.catch_up(client, unsent.drain(..)).await;
            self.refuse(client).await;
            client.connection.output.all_are_made();
            match client.begin_answer(self.limits, budget, 0) {
                Ok(()) => pause = Pause::default(),
                Err(no_room) => budget.room(no_room, &mut pause).await,
            }
        }
        client.connection.output.all_are_made();
    }

    /// Refuses the events that there was no room for, as the client reads the refusals.
    async fn refuse(&self, client: &Client) {
        let (budget, mut pause) = (self.answers.output_budget(), Pause::default());
        let mut refused = client.connection.refused();
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
                budget.room(no_room, &mut pause).await;
            }
            pause = Pause::default();
            let refusal = (Some(ack), Err(self.refusal(client, limit)));
            self.catch_up(client, std::iter::once(refusal)).await;
        }
    }

    /// The error of an event that a limit refuses.
    fn refusal(&self, client: &Client, limit: Limit) -> Error {
        let error = match limit {
            Limit::RequestBytes => Error::TooManyBytes { limit: self.limits.request_bytes },
            Limit::TotalRequestBytes => Error::Busy { limit, bytes: self.requests.limit() },
            _ => Error::TooMany { limit: self.limits.in_flight },
        };
        self.answers.refused(client, &error);
        error
    }

    /// Sends what there was no room for, as the client takes what it was sent before. One that takes
    /// nothing is disconnected when the connection's own deadline has passed.
    async fn catch_up(&self, client: &Client, unsent: impl Iterator<Item = Found>) {
        for mut found in unsent {
            while !self.answer(client, &mut found) {
                sleep(SEND_BUFFER_POLL_INTERVAL).await;
            }
        }
    }

    async fn find_answer(&self, client: &Client, event: Event, turn: Turn) -> Found {
        let text = event.text.as_str().map_or("", |text| text.as_str());
        let answer = match client.connection.refused_page() {
            Some(origin) => Err(Error::SitesOnly(origin.to_string())),
            None if event.is_binary => Err(Error::Binary),
            None => self.answers.answer(client, text, &turn).await,
        };
        if let Err(error) = &answer {
            self.answers.refused(client, error);
        }
        turn.pass();
        (event.ack, answer)
    }

    /// Gives back what could not be sent yet.
    fn finish(&self, client: &Client, turns: &mut Turns, mut found: Found) -> Option<Found> {
        let is_sent = self.answer(client, &mut found);
        client.connection.done();
        turns.end();
        (!is_sent).then_some(found)
    }

    /// `false` if there is no room for it.
    fn answer(&self, client: &Client, (ack, answer): &mut Found) -> bool {
        if ack.is_none() {
            if answer.is_err() {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return true;
        }
        let budget = self.answers.output_budget();
        match answer {
            Ok(answer) => client.answer_with(*ack, answer, budget),
            Err(error) => {
                let arguments = client.dialect().refusal(error);
                client.answer_with(*ack, &mut Answer::new(arguments, None), budget)
            }
        }
    }
}

/// A connection whose inbox nobody empties any more is of no use to anyone.
struct HangUpOnPanic(Client);

impl Drop for HangUpOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disconnect();
        }
    }
}

/// Sees a connection off.
struct Exit(Arc<Connection>);

impl DisconnectHandler<LocalAdapter, Doors> for Exit {
    fn call_with_defer(
        &self,
        socket: Arc<Socket>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket>),
    ) {
        use DisconnectReason::{ClientNSDisconnect, ServerNSDisconnect};
        self.0.gone();
        // The packets that were sent wait in the queue of the session, which may go on without the namespace.
        if !matches!(reason, ClientNSDisconnect | ServerNSDisconnect) {
            self.0.output.clear();
        }
        defer(socket);
    }
}
