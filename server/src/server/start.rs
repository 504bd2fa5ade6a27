//! Starts a server: opens the engine, starts the tasks, and listens.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use backwire_engine::{self as engine, Engine, Environment, Tail};
use backwire_records::change::Change;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Server;
use super::app::assemble;
use super::entry::Entry;
use super::handle::{Handle, Parts};
use super::logic::{Budgets, Logic, MAX_WAITING_CHANGES, World};
use super::own_paths;
use super::start_error::StartError;
use crate::delivery::delivery_queue::DeliveryQueue;
use crate::delivery::service::MAX_QUEUED_MESSAGES;
use crate::http::activity::Deadlines;
use crate::http::connections::{Connections, descriptors_for_connections};
use crate::http::embedded::Embedding;
use crate::pubsub::Publisher;
use crate::router::Routes;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::sites::HttpClient;
use crate::socket::SocketIoAdapter;

/// Opens an engine. It gets the sender that the engine sends each change to.
pub(super) type OpenEngine = Box<dyn FnOnce(Tail) -> OpeningEngine + Send>;

/// The engine when it is open.
type OpeningEngine = BoxFuture<'static, Result<Arc<dyn Engine>, engine::Error>>;

/// A server that has been started, without a listener.
pub(super) struct Started {
    pub(super) router: Router,
    pub(super) handle: Handle,
    #[cfg(feature = "testing")]
    pub(super) shared: Arc<Shared>,
    engine: String,
    sites: String,
    open: String,
}

impl Started {
    /// Logs the start.
    pub(super) fn log(&self, addr: Option<SocketAddr>) {
        let Self { engine, sites, open, .. } = self;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            addr = addr.map(tracing::field::display),
            engine,
            sites,
            open,
            "the server has started"
        );
    }
}

/// Returns the environment of a server that is not tested.
pub(super) fn environment() -> Environment {
    Environment::tokio()
}

/// Starts a server without a listener. The name of the engine is for the log. The router has only
/// the routes of the server's own paths if it is to have no fallback.
pub(super) async fn start(
    environment: Environment,
    mut settings: Settings,
    routes: &Routes,
    (engine_name, open): (String, OpenEngine),
    has_fallback: bool,
) -> Result<Started, StartError> {
    let (engine, changes) = open_engine(&mut settings, open).await?;
    let (message_sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
    let delivery_queue = DeliveryQueue::new(message_sender.downgrade());
    let budgets = Budgets::new(&environment, &settings);
    let limits = Arc::clone(&budgets.limits);
    let connections =
        Connections::new(&settings, descriptors_for_connections(), Arc::clone(&limits));
    let (adapter, socket_layer) = SocketIoAdapter::new(
        &settings,
        Arc::clone(&limits),
        (Arc::clone(&budgets.requests), Arc::clone(&budgets.output)),
    );
    let requests = Arc::clone(&budgets.requests);
    let embedding = Embedding::new(Deadlines::of(&settings.limits), requests, limits);
    let world = World {
        environment: environment.clone(),
        engine,
        adapter: Arc::new(adapter),
        http: HttpClient::default(),
    };
    let logic = Logic::new(world, &settings, routes, budgets).await?;
    let addresses = connections.addresses();
    let app = assemble(&settings, routes, &logic, delivery_queue, addresses, socket_layer);
    let tasks = logic.start(&settings, changes, messages);
    let Shared { sockets, engine, .. } = &*logic.shared;
    let parts = Parts { engine: Arc::clone(engine), tasks };
    let clients = (sockets.clone(), Publisher::of(&logic.shared));
    let entry = Entry::new(app, message_sender, embedding);
    let paths = (!has_fallback).then(|| own_paths::without_fallback(&settings, routes));
    let router = entry.router(paths);
    let (sites, open) = (settings.site_names(), settings.access_summary().join("; "));
    let environment = (environment, settings.shutdown_time);
    let handle = Handle::new(environment, entry, (connections, settings.limits), clients, parts);
    Ok(Started {
        router,
        handle,
        #[cfg(feature = "testing")]
        shared: logic.shared,
        engine: engine_name,
        sites,
        open,
    })
}

/// Serves the router alone on a port.
pub(super) async fn bind(address: SocketAddr, started: Started) -> Result<Server, StartError> {
    let (listener, addr) = match listen(address).await {
        Ok(listening) => listening,
        Err(error) => {
            started.handle.shutdown().await;
            return Err(error);
        }
    };
    started.log(Some(addr));
    let Started { router, handle, .. } = started;
    // A task runs on if its handle is dropped.
    let serve = handle.serve_alone(listener, router).into_future();
    tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::debug!(%error, "the server stopped before it began to serve");
        }
    });
    Ok(Server { addr, handle })
}

/// Opens the engine, and tells it the declared resources. Returns the receiver of its changes.
async fn open_engine(
    settings: &mut Settings,
    open: OpenEngine,
) -> Result<(Arc<dyn Engine>, mpsc::Receiver<Arc<Change>>), StartError> {
    let (tail, changes) = mpsc::channel(MAX_WAITING_CHANGES);
    let engine = open(tail).await?;
    settings.models.learn_keys(engine.keys().await?);
    engine.declare(&settings.models).await?;
    Ok((engine, changes))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}
