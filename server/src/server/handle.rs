//! The handle of a server whose router is in another app.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use backwire_engine::{Engine, Environment};
use backwire_environment::Task;
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::SetOnce;

use super::entry::Entry;
use super::logic::Tasks;
use crate::http::connections::Connections;
use crate::http::serve::HttpServer;
use crate::pubsub::Publisher;
use crate::settings::Limits;
use crate::socket::{Client, Sockets};

/// How long it may take to end the connections: half of it is for clients that are notified, the
/// other half for those whose TCP connections are then aborted.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How long each other step of a shutdown may take.
const SHUTDOWN_STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle of a running server. [`Builder::build`](super::Builder::build) returns it with the
/// router, and [`Server::handle`](super::Server::handle) returns that of a server with a listener.
/// Clones are handles of the same server. If all are dropped, the server goes on.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use backwire::Server;
/// use backwire::settings::Store;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (router, handle) = Server::builder().store(Store::Memory).build().await?;
/// let app = Router::new().route("/", get(async || "my app")).nest("/live", router);
/// # let stop = async {};
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// handle.serve(listener, app).with_graceful_shutdown(stop).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Handle(Arc<Running>);

struct Running {
    environment: Environment,
    entry: Arc<Entry>,
    connections: Arc<Connections>,
    limits: Limits,
    sockets: Sockets,
    publisher: Publisher,
    shutdown_time: Duration,
    /// Taken by the first shutdown.
    parts: Mutex<Option<Parts>>,
    is_shut_down: SetOnce<()>,
}

/// The parts of a server that a shutdown ends.
pub(super) struct Parts {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) tasks: Tasks,
}

impl Handle {
    pub(super) fn new(
        (environment, shutdown_time): (Environment, Duration),
        entry: Arc<Entry>,
        (connections, limits): (Arc<Connections>, Limits),
        (sockets, publisher): (Sockets, Publisher),
        parts: Parts,
    ) -> Self {
        Self(Arc::new(Running {
            environment,
            entry,
            connections,
            limits,
            sockets,
            publisher,
            shutdown_time,
            parts: Mutex::new(Some(parts)),
            is_shut_down: SetOnce::new(),
        }))
    }

    /// Returns the publisher, which sends changes and events to subscribed clients, inside and
    /// outside of requests; see [`pubsub`](crate::pubsub).
    pub fn publisher(&self) -> Publisher {
        self.0.publisher.clone()
    }

    /// Returns the clients that are connected to this server now, as
    /// [`Publisher::clients`] does.
    pub fn sockets(&self) -> Vec<Client> {
        self.0.publisher.clients()
    }

    /// Serves an app that contains the router, over HTTP/1.1 without TLS. All limits on connections
    /// apply, also to the routes of the app: the numbers of connections in total and of each
    /// address, the deadlines of request heads, bodies, responses and idle connections, and the
    /// memory of request heads. Handlers of the app may extract a `ConnectInfo<SocketAddr>`.
    ///
    /// Nothing happens until the returned value is awaited. It resolves after a
    /// [`shutdown`](Self::shutdown), when all connections have ended. An error means that the
    /// server was shut down before.
    pub fn serve(&self, listener: TcpListener, app: Router) -> Serve {
        Serve { handle: self.clone(), listener, app, tells_peer: true, signal: None }
    }

    /// Serves the router alone.
    pub(super) fn serve_alone(&self, listener: TcpListener, router: Router) -> Serve {
        Serve { tells_peer: false, ..self.serve(listener, router) }
    }

    /// Shuts the server down: it refuses new requests with a 503, ends all connections, and waits
    /// until all requests are answered and all committed changes have been sent, within
    /// [`shutdown_time`](crate::Settings::shutdown_time). Steps that do not end in time are
    /// abandoned. Clients of Socket.IO connect again when they find a server.
    ///
    /// If other servers share the store, the connections end one after the other in the first half
    /// of that time, each when its requests are answered: the clients connect to the other servers.
    /// A server alone ends all of them at once.
    ///
    /// The shutdown goes on if the future is dropped. Later calls wait for the first one.
    pub async fn shutdown(&self) {
        if let Some(parts) = self.0.parts.lock().take() {
            let running = Arc::clone(&self.0);
            self.0.environment.spawn(async move {
                let time = running.shutdown_time;
                let shut_down = running.shut_down(parts);
                if running.environment.timeout(time, shut_down).await.is_err() {
                    tracing::warn!("the server did not stop within {time:?} (shutdown_time)");
                }
                running.entry.close();
                let _ = running.is_shut_down.set(());
            });
        }
        self.0.is_shut_down.wait().await;
    }
}

impl Running {
    async fn shut_down(&self, parts: Parts) {
        let Self { environment, entry, sockets, shutdown_time, .. } = self;
        let Parts { engine, tasks } = parts;
        entry.work().stop();
        if tasks.store_events.is_some() {
            sockets.drain(environment, *shutdown_time / 2, *shutdown_time / 4).await;
        }
        tasks.session_watch.abort();
        tasks.site_updates.abort();
        tasks.cascades.abort();
        sockets.close(DISCONNECT_TIMEOUT).await;
        wait_for(environment, "http", entry.work().done()).await;
        entry.close();
        wait_for(environment, "delivery", tasks.delivery).await;
        // Until then, other servers wait for its answers.
        tasks.store_events.iter().for_each(Task::abort);
        wait_for(environment, "the store", engine.close()).await;
        // The fan-out ends with the engine.
        drop(engine);
        wait_for(environment, "fan-out", tasks.fanout).await;
    }
}

async fn wait_for(environment: &Environment, step: &str, done: impl Future) {
    if environment.timeout(SHUTDOWN_STEP_TIMEOUT, done).await.is_err() {
        tracing::warn!("{step} did not stop in time");
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("sockets", &self.0.sockets).finish_non_exhaustive()
    }
}

/// Serves an app on a listener when it is awaited. [`Handle::serve`] returns it.
#[must_use = "it does nothing unless it is awaited"]
pub struct Serve {
    handle: Handle,
    listener: TcpListener,
    app: Router,
    /// Whether handlers of the app may extract the address of the peer.
    tells_peer: bool,
    signal: Option<BoxFuture<'static, ()>>,
}

impl Serve {
    /// Shuts the server down when the signal resolves; see [`Handle::shutdown`].
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { signal: Some(signal.boxed()), ..self }
    }

    async fn run(self) -> io::Result<()> {
        let Self { handle, listener, app, tells_peer, signal } = self;
        let running = &handle.0;
        let work = running.entry.work();
        let stopped = || io::Error::other("the server has been shut down");
        let guard = work.begin().ok_or_else(stopped)?;
        let (environment, connections) =
            (running.environment.clone(), Arc::clone(&running.connections));
        let http = HttpServer::new(environment, (app, tells_peer), connections, &running.limits);
        let stopping = work.stopping();
        if let Some(signal) = signal {
            let handle = handle.clone();
            let stopped = work.stopping();
            running.environment.spawn(async move {
                tokio::select! {
                    biased;
                    () = signal => handle.shutdown().await,
                    () = stopped => {}
                }
            });
        }
        http.serve(listener, stopping).await;
        drop(guard);
        handle.shutdown().await;
        Ok(())
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<'static, io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("listener", &self.listener).finish_non_exhaustive()
    }
}
