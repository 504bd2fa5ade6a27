//! What the app holds: a client to ask with, and a stream of what happens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use backwire_protocol::Delivery;
use backwire_protocol::{Failure, Request, Status, Token, Verb};
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

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
    /// The server refused the connection, in these words. The client goes on trying.
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
    /// order; the call is what counts, not the first poll.
    ///
    /// Dropping the future means that the answer is of no interest. It does not call the request
    /// back, and what a write changed arrives as news.
    pub fn request(
        &self,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Reply> + Send + use<> {
        let asked = self.ask(verb, url, body, None);
        async move {
            match asked.await {
                Ok(reply) => reply,
                // The time to wait has no limit.
                Err(Failure::Timeout) => std::future::pending().await,
                Err(Failure::TooLarge(limit)) => {
                    let message = format!("the body is over the limit of {limit} bytes");
                    refusal(413, "E_TOO_LARGE", message)
                }
                Err(Failure::Outdated) => {
                    refusal(408, "E_OUTDATED", "sent a week ago and never answered".into())
                }
            }
        }
    }

    /// Asks for something and waits for the answer until `timeout` is over. What was sent by then
    /// may still be carried out.
    pub fn request_within(
        &self,
        timeout: Duration,
        verb: Verb,
        url: &str,
        body: Option<Value>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send + use<> {
        self.ask(verb, url, body, Some(timeout))
    }

    fn ask(
        &self,
        verb: Verb,
        url: &str,
        body: Option<Value>,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send + use<> {
        let request = Request { verb, url: url.into(), body: body.map(Json::from), timeout };
        let (token, answer) = self.0.shared.ask(request);
        // Holds the client, and with it the task that will answer.
        let asked = Asked { client: self.clone(), token };
        async move {
            let answer = answer.await;
            drop(asked);
            match answer {
                Ok(answer) => answer,
                // The runtime is going down, and this future with it.
                Err(_) => std::future::pending().await,
            }
        }
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

/// An answer in the server's form that never came from there.
fn refusal(status: u16, code: &str, message: String) -> Reply {
    let body = Json::from(json!({ "code": code, "message": message }));
    Reply { status, body: Some(body), headers: None }
}
