//! A client like Backwire's runtime in a page.

use std::collections::VecDeque;
use std::time::Duration;

use backwire_client_native::{
    Client as Core, Connection, Connector, Delivery, Event, Events, Json, Reply, Verb,
};
use futures_util::FutureExt;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::network::Network;
use crate::response::Response;

/// How long a test waits, in real time, for an event or an answer before it fails.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A client with the core of Backwire's runtime. It follows the records that it reads, sends
/// unanswered writes again, and gets missed changes after a reconnect. It has no page and no HTTP,
/// so requests wait while there is no connection.
///
/// It connects again by itself, in real time, after a random pause of about a second.
#[derive(Debug)]
pub struct Client {
    network: Network,
    core: Core,
    events: Events,
    /// Changes that have been received and not yet returned.
    changes: VecDeque<Change>,
    messages: VecDeque<(String, Vec<Value>)>,
    refreshes: VecDeque<String>,
}

/// A change that a client has received.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// The room that the client follows: `todo`, `todo/7`, or a longer name for a part of the
    /// records.
    pub room: String,
    /// The kind of the change.
    pub verb: ChangeVerb,
    /// The id of the record.
    pub id: Value,
    /// The record after a create, the attributes that were set by an update, or null.
    pub data: Value,
}

/// The kind of a change of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeVerb {
    /// It was created, or now belongs to the records that the client follows.
    Created,
    /// Some of its attributes were set.
    Updated,
    /// It was destroyed.
    Destroyed,
    /// It still exists, but no longer belongs to the records that the client follows.
    Left,
}

impl Client {
    pub(crate) async fn connect(
        network: Network,
        connector: Connector,
        auth: &Map<String, Value>,
    ) -> Result<Self, String> {
        let (core, events) = Core::unconnected(connector);
        if !auth.is_empty() {
            core.authenticate(auth);
        }
        core.reconnect();
        let (changes, messages, refreshes) = Default::default();
        let mut client = Self { network, core, events, changes, messages, refreshes };
        client.wait_for_connection().await?;
        Ok(client)
    }

    async fn wait_for_connection(&mut self) -> Result<(), String> {
        while self.core.status().state != Connection::Online {
            match timeout(TEST_TIMEOUT, self.events.next()).await {
                Ok(Some(Event::Refused(message))) => return Err(message),
                Ok(Some(event)) => self.queue_event(event),
                Ok(None) => return Err("the client has ended".to_owned()),
                Err(_) => return Err(format!("there is no connection after {TEST_TIMEOUT:?}")),
            }
        }
        Ok(())
    }

    /// Reads a resource and follows it from now on, as a `fetch` of a collection does. Returns its
    /// records.
    ///
    /// # Panics
    ///
    /// If the read is refused.
    pub async fn subscribe(&self, resource: &str) -> Vec<Value> {
        let answer = self.get(&format!("{}/{resource}", self.network.path)).await;
        match answer.ok() {
            Value::Array(records) => records,
            other => panic!("a list has records, and is not {other}"),
        }
    }

    /// Sends a `GET`, and follows the records that it reads. `url` is the path and the query. The
    /// client sends requests in the order of the calls, also before their futures are awaited.
    pub fn get(&self, url: &str) -> impl Future<Output = Response> + Send + use<> {
        self.request(Verb::Get, url, None)
    }

    /// Sends a `POST`.
    pub fn post(&self, url: &str, body: Value) -> impl Future<Output = Response> + Send + use<> {
        self.request(Verb::Post, url, Some(body))
    }

    /// Sends a `PUT`.
    pub fn put(&self, url: &str, body: Value) -> impl Future<Output = Response> + Send + use<> {
        self.request(Verb::Put, url, Some(body))
    }

    /// Sends a `PATCH`.
    pub fn patch(&self, url: &str, body: Value) -> impl Future<Output = Response> + Send + use<> {
        self.request(Verb::Patch, url, Some(body))
    }

    /// Sends a `DELETE`.
    pub fn delete(&self, url: &str) -> impl Future<Output = Response> + Send + use<> {
        self.request(Verb::Delete, url, None)
    }

    fn request(
        &self,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Response> + Send + use<> {
        let answer = self.core.request(verb, url, body);
        async { to_response(answer.await) }
    }

    /// Waits for the next change that others have made. The client's own changes are in the answers
    /// to its requests.
    ///
    /// # Panics
    ///
    /// If there is none within 10 seconds.
    pub async fn next_change(&mut self) -> Change {
        loop {
            match self.changes.pop_front() {
                Some(change) => return change,
                None => self.receive("change").await,
            }
        }
    }

    /// Waits until the server is idle, and returns all changes of others that have arrived.
    pub async fn received_changes(&mut self) -> Vec<Change> {
        self.drain().await;
        self.changes.drain(..).collect()
    }

    /// Waits for the next event that the server has sent to this client, with
    /// [`broadcast`](backwire::Publisher::broadcast) or [`emit`](backwire::Publisher::emit): its
    /// name and its arguments.
    ///
    /// # Panics
    ///
    /// If there is none within 10 seconds.
    pub async fn next_message(&mut self) -> (String, Vec<Value>) {
        loop {
            match self.messages.pop_front() {
                Some(message) => return message,
                None => self.receive("event").await,
            }
        }
    }

    /// Returns the rooms that the client has to read again, because its rights have changed or it
    /// was away for too long. A page reads them again by itself.
    pub async fn received_refreshes(&mut self) -> Vec<String> {
        self.drain().await;
        self.refreshes.drain(..).collect()
    }

    /// Closes the connection until [`reconnect`](Self::reconnect). Requests wait meanwhile.
    pub async fn disconnect(&mut self) {
        self.core.disconnect();
        self.network.wait_until_idle().await;
    }

    /// Connects again. The next [`received_changes`](Self::received_changes) contain the changes
    /// that the client has missed.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub async fn reconnect(&mut self) {
        self.core.reconnect();
        let connected = self.wait_for_connection().await;
        connected.unwrap_or_else(|reason| panic!("the server refuses the client: {reason}"));
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.core.status().state == Connection::Online
    }

    async fn receive(&mut self, what: &str) {
        let event = timeout(TEST_TIMEOUT, self.events.next()).await;
        match event.unwrap_or_else(|_| panic!("there is no {what} within {TEST_TIMEOUT:?}")) {
            Some(event) => self.queue_event(event),
            None => panic!("the client has ended before there was a {what}"),
        }
    }

    async fn drain(&mut self) {
        self.network.wait_until_idle().await;
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.queue_event(event);
        }
    }

    fn queue_event(&mut self, event: Event) {
        match event {
            Event::Changes(Delivery { room, changes }) if room.is_empty() => {
                self.messages.extend(changes.iter().filter_map(parse_message));
            }
            Event::Changes(Delivery { room, changes }) => {
                self.changes
                    .extend(changes.iter().filter_map(|change| parse_change(&room, change)));
            }
            Event::Refresh(room) => self.refreshes.push_back(room),
            Event::Resumed(_) | Event::Status(_) | Event::Unauthorized | Event::Refused(_) => {}
        }
    }
}

/// Reads `[offset, verb, id, data, mark]`.
fn parse_change(room: &str, change: &Json) -> Option<Change> {
    let verb = match change[1].as_u64()? {
        1 => ChangeVerb::Created,
        2 => ChangeVerb::Updated,
        3 => ChangeVerb::Destroyed,
        4 => ChangeVerb::Left,
        _ => return None,
    };
    let (room, id, data) = (room.to_owned(), change[2].clone(), change[3].clone());
    Some(Change { room, verb, id, data })
}

/// Reads an event. It is `[event, ...args]` in the place of a change's data.
fn parse_message(change: &Json) -> Option<(String, Vec<Value>)> {
    let mut parts = change[3].as_array()?.iter().cloned();
    let name = parts.next()?.as_str()?.to_owned();
    Some((name, parts.collect()))
}

fn to_response(reply: Reply) -> Response {
    let body = reply.body.map_or(Value::Null, |body| Value::clone(&body));
    Response::over_a_socket(reply.status, reply.headers.as_deref(), body)
}
