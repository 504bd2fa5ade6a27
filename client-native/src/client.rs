//! What the app holds: a client to ask with, and a stream of what happens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backwire_protocol::Delivery;
use backwire_protocol::{Failure, Request, Status, Token, Verb};
use futures_util::Stream;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;

use crate::json::Json;
use crate::shell::{Shared, Shell};

/// The server's answer to a request: status, body, headers.
pub type Reply = backwire_protocol::Reply<Json>;

/// What happens without being asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// News of a room that was read: each change once, in the order of their commits, as
    /// `[offset, verb, id, data, mark]` with verb 1 for created, 2 updated, 3 destroyed. What was
    /// written here is not among them: the reply said it.
    News(Delivery<Json>),
    /// This room lost its place, because the server no longer knows what was missed: read it again.
    Refresh(String),
    /// How we stand with the server has changed.
    Status(Status),
    /// A write that had waited was answered 401. It is sent again after
    /// [`Client::authenticate`], or on the next connection.
    Unauthorized,
    /// The server refuses the connection for good, with this message. The client does not try again
    /// until [`Client::reconnect`].
    Refused(String),
}

/// A client of one server. Clones are the same client; when the last is dropped, it ends.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What happens, in order. Nothing is dropped, so it should be read; or dropped, if it is of no
/// interest.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<Event>);

impl Client {
    /// Connects to `url` (`ws://host:port`), and stays connected: what breaks is mended, what was
    /// asked is sent again, what was missed is fetched. Must be called within a tokio runtime.
    pub fn connect(url: &str) -> (Self, Events) {
        Self::connect_as(url, format!("{:032x}", rand::random::<u128>()), rand::random())
    }

    /// Connects with an identity and a jitter that are known, for a run that is to be repeated.
    /// `session` starts every idempotency key, so no two clients of a server may share one.
    pub fn connect_as(url: &str, session: String, seed: u64) -> (Self, Events) {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket", url.trim_end_matches('/'));
        let shared = Arc::new(Shared::new(session, seed));
        let (events, received) = mpsc::unbounded_channel();
        let shell = Shell { shared: shared.clone(), url, events, socket: None };
        let task = tokio::spawn(shell.run()).abort_handle();
        let client = Self(Arc::new(Handle { shared, task }));
        client.reconnect();
        (client, Events(received))
    }

    /// Asks for something and waits for the answer as long as it takes. `url` is path and query.
    ///
    /// A read subscribes to what it reads. A write that may have been lost is sent again, and
    /// committed once. Requests leave in the order of the calls, whoever awaits them in which
    /// order; the call is what counts, not the first poll. All go over the link, and wait while
    /// there is none: this client does not fall back to HTTP.
    ///
    /// Dropping the future means that the answer is of no interest. It withdraws a write that has
    /// not been sent; what one that has been sent changes arrives as news.
    pub fn request(
        &self,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Reply> + Send + use<> {
        self.send(Request { body: body.map(Json::from), ..Request::new(verb, url) })
    }

    /// The same with request headers: an object of names in lower case and strings. With an
    /// `idempotency-key` among them, the write has that key.
    pub fn request_with(
        &self,
        headers: Map<String, Value>,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Reply> + Send + use<> {
        let mut headers = headers;
        let key = headers.remove("idempotency-key");
        let key = key.and_then(|key| key.as_str().map(Into::into));
        let headers = Some(Value::Object(headers).to_string());
        let body = body.map(Json::from);
        self.send(Request { headers, body, key, ..Request::new(verb, url) })
    }

    /// Asks for something and waits for the answer until `timeout` is over. What was sent by then
    /// may still be committed.
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
        let (token, answer) = self.0.shared.ask(request);
        // Holds the client, and with it the task that will answer.
        let asked = Asked { client: self.clone(), token };
        async move {
            let answer = answer.await;
            drop(asked);
            match answer {
                Ok(Ok(reply)) => reply,
                Ok(Err(failure)) => reply_of(failure),
                // The runtime is going down, and this future with it.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Replaces what is sent when the client connects, from the next connection on: an object with
    /// members such as `site` and `token`. Writes that were answered 401 are sent again.
    pub fn authenticate(&self, auth: &Map<String, Value>) {
        let auth = Value::Object(auth.clone()).to_string();
        self.0.shared.drive(|core, now| core.authenticate(now, &auth));
    }

    /// The app no longer listens to a room: `todo` or `todo/7`.
    pub fn unsubscribe(&self, room: &str) {
        self.0.shared.drive(|core, _| core.unsubscribe(room));
    }

    /// Gives the connection up until [`reconnect`](Self::reconnect); requests wait.
    pub fn disconnect(&self) {
        self.0.shared.drive(|core, now| core.disconnect(now));
    }

    /// Connects at once, if it is not connected.
    pub fn reconnect(&self) {
        self.0.shared.drive(|core, now| core.connect(now));
    }

    /// How we stand with the server.
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

/// Somebody who waits for an answer. Dropped before it came, the answer is of no interest.
struct Asked {
    client: Client,
    token: Token,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.client.0.shared.abort(self.token);
    }
}

impl Events {
    /// The next thing that happens; `None` once the client has ended.
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

/// What the server would have answered, or what it can no longer answer.
fn reply_of(failure: Failure) -> Reply {
    match failure {
        Failure::TooLarge(limit) => {
            refusal(413, "E_TOO_LARGE", format!("the body is over the limit of {limit} bytes"))
        }
        Failure::Outdated => {
            refusal(408, "E_OUTDATED", "sent a week ago and never answered".into())
        }
        Failure::Unreachable => {
            refusal(503, "E_UNAVAILABLE", "the server cannot be reached".into())
        }
    }
}

/// An answer in the server's form that never came from there.
fn refusal(status: u16, code: &str, message: String) -> Reply {
    let body = Json::from(json!({ "code": code, "message": message }));
    Reply { status, body: Some(body), headers: None }
}
