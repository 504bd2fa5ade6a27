//! The API for the app: a client that sends requests, and a stream of events.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backwire_protocol::wire::header::IDEMPOTENCY_KEY;
use backwire_protocol::{Failure, Request, Status, Token, Verb};
use futures_util::Stream;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;

use crate::connector::Connector;
use crate::event::{Event, Reply};
use crate::json::Json;
use crate::shell::{Shared, Shell};

/// A client of one server. Clones share the same client. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// The events of a client, in order. The queue has no limit: an app that does not read the events
/// should drop this stream.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Client {
    /// Connects to `url` (`ws://host:port`). After an interruption the client reconnects, sends
    /// unanswered requests again and fetches missed changes. Must be called within a tokio runtime.
    pub fn connect(url: &str) -> (Self, Events) {
        Self::connect_as(url, format!("{:032x}", rand::random::<u128>()), rand::random())
    }

    /// Connects with a given identity and jitter, so that a run can be repeated. `session` is the
    /// prefix of every idempotency key, so no two clients of a server may share one.
    pub fn connect_as(url: &str, session: String, seed: u64) -> (Self, Events) {
        let (client, events) = Self::begin(Connector::new(url), session, seed);
        client.reconnect();
        (client, events)
    }

    /// Connects like [`connect`](Self::connect), in the way that the connector has.
    pub fn connect_by(connector: Connector) -> (Self, Events) {
        let (client, events) = Self::unconnected(connector);
        client.reconnect();
        (client, events)
    }

    /// Returns a client that does not connect before [`reconnect`](Self::reconnect), so that
    /// [`authenticate`](Self::authenticate) can set the auth of its first connection.
    pub fn unconnected(connector: Connector) -> (Self, Events) {
        Self::begin(connector, format!("{:032x}", rand::random::<u128>()), rand::random())
    }

    fn begin(connector: Connector, session: String, seed: u64) -> (Self, Events) {
        let shared = Arc::new(Shared::new(session, seed));
        let (events, received) = mpsc::unbounded_channel();
        let shell = Shell { shared: shared.clone(), connector, events, socket: None };
        let task = tokio::spawn(shell.run()).abort_handle();
        (Self(Arc::new(Handle { shared, task })), Events(received))
    }

    /// Sends a request and waits for the response, without a time limit. `url` is path and query.
    ///
    /// A read subscribes to the records that it reads. A write that may have been lost is sent
    /// again, and committed once. Requests are sent in the order of the calls; the order of the
    /// first polls does not matter. This client does not fall back to HTTP: while there is no link,
    /// requests wait.
    ///
    /// If the future is dropped, the response is discarded. A write that is not sent yet is then
    /// withdrawn. A write that is already sent may take effect, and its change arrives as an event.
    pub fn request(
        &self,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Reply> + Send + use<> {
        self.send(Request { body: body.map(Json::from), ..Request::new(verb, url) })
    }

    /// Sends a request with headers: an object of names in lower case and string values. A header
    /// `idempotency-key` becomes the key of the write.
    pub fn request_with(
        &self,
        headers: Map<String, Value>,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Reply> + Send + use<> {
        let mut headers = headers;
        let key = headers.remove(IDEMPOTENCY_KEY);
        let key = key.and_then(|key| key.as_str().map(Into::into));
        let headers = Some(Value::Object(headers).to_string());
        let body = body.map(Json::from);
        self.send(Request { headers, body, key, ..Request::new(verb, url) })
    }

    /// Sends a request and waits for the response for at most `timeout`. A write that was already
    /// sent at that time may still be committed.
    pub fn request_within(
        &self,
        timeout: Duration,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Result<Reply, Elapsed>> + Send + use<> {
        tokio::time::timeout(timeout, self.request(verb, url, body))
    }

    fn send(&self, request: Request<Json>) -> impl Future<Output = Reply> + Send + use<> {
        let (token, answer) = self.0.shared.send_request(request);
        // Keeps the client alive, and with it the task that receives the response.
        let pending = PendingRequest { client: self.clone(), token };
        async move {
            let answer = answer.await;
            drop(pending);
            match answer {
                Ok(Ok(reply)) => reply,
                Ok(Err(failure)) => reply_of(failure),
                // The tokio runtime is shutting down, and drops this future.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Sets the auth for the next connections: an object with members such as `site` and `token`.
    /// Also resends writes that were answered with 401.
    pub fn authenticate(&self, auth: &Map<String, Value>) {
        let auth = Value::Object(auth.clone()).to_string();
        self.0.shared.drive(|core, now| core.authenticate(now, &auth));
    }

    /// Unsubscribes from a room, such as `todo` or `todo/7`.
    pub fn unsubscribe(&self, room: &str) {
        self.0.shared.drive(|core, _| core.unsubscribe(room));
    }

    /// Closes the connection until [`reconnect`](Self::reconnect). Requests wait.
    pub fn disconnect(&self) {
        self.0.shared.drive(|core, now| core.disconnect(now));
    }

    /// Connects at once, if it is not connected.
    pub fn reconnect(&self) {
        self.0.shared.drive(|core, now| core.connect(now));
    }

    /// Returns the state of the connection and the number of unsent writes.
    pub fn status(&self) -> Status {
        self.0.shared.drive(|core, _| core.status())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// A request that the app waits for. Dropping it before the response arrives aborts the request.
struct PendingRequest {
    client: Client,
    token: Token,
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.client.0.shared.abort(self.token);
    }
}

impl Events {
    /// Waits for the next event. Returns `None` once the client has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.poll_recv(cx)
    }
}

/// Returns the response that the app gets for a failure, in the server's form.
fn reply_of(failure: Failure) -> Reply {
    match failure {
        Failure::TooLarge(limit) => {
            refusal(413, "E_TOO_LARGE", format!("the body is over the limit of {limit} bytes"))
        }
        Failure::Outdated => {
            refusal(408, "E_OUTDATED", "the write was sent a week ago and got no response".into())
        }
        Failure::Unreachable => {
            refusal(503, "E_UNAVAILABLE", "the server cannot be reached".into())
        }
    }
}

/// Creates a response in the server's form that the server did not send.
fn refusal(status: u16, code: &str, message: String) -> Reply {
    let body = Json::from(json!({ "code": code, "message": message }));
    Reply { status, body: Some(body), headers: None }
}
