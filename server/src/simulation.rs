//! A server in a simulation: its clock, random numbers and tasks come from a
//! [`Process`](backwire_environment::simulation::Process), and its connections from the caller.
//!
//! This module is for tests, with the feature `simulation`, and may change in any version. It has
//! the real logic: rooms, subscriptions, the fan-out, the push service, sessions, access. It has
//! neither HTTP for resources nor the layers of Socket.IO and of TCP.
//!
//! `adapter` has the connections.

mod adapter;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use backwire_engine::{Engine, Environment};
use backwire_records::change::Change;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::mpsc;
use tower::ServiceExt;

pub use adapter::{Connection, Outgoing};

use crate::delivery::delivery_queue::{DeliveryQueue, SendRequest};
use crate::delivery::service::MAX_QUEUED_MESSAGES;
use crate::http::http_client;
use crate::http::{revoke, send};
use crate::server::logic::{Budgets, Logic, MAX_WAITING_CHANGES, Tasks, World};
use crate::server::{Builder, StartError};
use crate::sites::{HttpClient, RequestError};
use adapter::SimulatedAdapter;

/// Answers the requests of the server to other servers, such as the `authUrl` of a site. `None`
/// means that the other server cannot be reached.
pub type OtherServers =
    Arc<dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Option<Response<Bytes>>> + Send + Sync>;

/// A server without a network.
pub struct SimulatedServer {
    adapter: SimulatedAdapter,
    environment: Environment,
    /// Answers the requests of back ends.
    back_ends: Router,
    logic: Logic,
    _tasks: Tasks,
    _messages: mpsc::Sender<SendRequest>,
}

struct SimulatedHttp(OtherServers);

impl http_client::SendRequest for SimulatedHttp {
    fn send(
        &self,
        request: Request<Full<Bytes>>,
        _: usize,
    ) -> BoxFuture<'static, Result<Response<Bytes>, RequestError>> {
        let answer = (self.0)(request);
        Box::pin(async move {
            answer.await.ok_or_else(|| RequestError::Failed("connection refused".to_owned()))
        })
    }
}

/// Returns the channel for the changes of an engine: the engine sends, and the server receives.
pub fn changes() -> (backwire_engine::Tail, mpsc::Receiver<Arc<Change>>) {
    mpsc::channel(MAX_WAITING_CHANGES)
}

impl SimulatedServer {
    /// Starts a server with the settings and routes of a builder. Its tasks are those of the
    /// environment's process.
    pub async fn start(
        environment: Environment,
        builder: Builder,
        engine: Arc<dyn Engine>,
        changes: mpsc::Receiver<Arc<Change>>,
        others: OtherServers,
    ) -> Result<Self, StartError> {
        let (mut settings, routes) = builder.into_parts()?;
        settings.models.learn_keys(engine.keys().await?);
        engine.declare(&settings.models).await?;
        let adapter = SimulatedAdapter::new(environment.clone());
        let world = World {
            environment: environment.clone(),
            engine,
            adapter: Arc::new(adapter.clone()),
            http: HttpClient::new(SimulatedHttp(others)),
        };
        let budgets = Budgets::new(&environment, &settings);
        let logic = Logic::new(world, &settings, &routes, budgets).await?;
        let (sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
        let tasks = logic.start(&settings, changes, messages);
        let queue = DeliveryQueue::new(sender.downgrade());
        let revoke = revoke::router(settings.sites.clone(), logic.delivery_service.clone());
        let back_ends =
            send::router(settings.sites.clone(), settings.body_limit, queue.enqueue_function())
                .merge(revoke);
        Ok(Self { adapter, environment, back_ends, logic, _tasks: tasks, _messages: sender })
    }

    /// Connects a client to a namespace. `handshake` is the request that opened the connection, and
    /// `outgoing` receives its packets. An error is the message of the refusal.
    pub async fn connect(
        &self,
        handshake: Request<()>,
        namespace: &str,
        auth: Option<&str>,
        outgoing: Outgoing,
    ) -> Result<Connection, String> {
        self.adapter.connect(handshake, namespace, auth, outgoing).await
    }

    /// Returns the answer to a request of a back end to `/send` or `/revoke`: its status and body.
    pub async fn post(&self, request: Request<Body>) -> (StatusCode, Bytes) {
        let Ok(response) = self.back_ends.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await;
        (parts.status, body.expect("the body is in memory"))
    }

    /// Ends all connections as at a shutdown, spread over a time. A connection with requests in
    /// progress may take up to `grace` longer.
    pub async fn drain(&self, over: Duration, grace: Duration) {
        self.logic.shared.sockets.drain(&self.environment, over, grace).await;
    }

    /// Returns the environment that the server was started in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The adapter and what it calls hold each other.
impl Drop for SimulatedServer {
    fn drop(&mut self) {
        self.adapter.clear();
    }
}
