//! Starts a server: opens the engine, listens, and starts the tasks.

use std::net::SocketAddr;
use std::sync::Arc;

use backwire_engine::{self as engine, Engine, Environment, Tail};
use backwire_records::change::Change;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::Server;
use super::app::assemble;
use super::logic::{Budgets, Logic, MAX_WAITING_CHANGES, World};
use super::start_error::StartError;
use crate::delivery::delivery_queue::DeliveryQueue;
use crate::delivery::service::MAX_QUEUED_MESSAGES;
use crate::http::connections::{Connections, descriptors_for_connections};
use crate::http::serve::HttpServer;
use crate::pubsub::Publisher;
use crate::router::Routes;
use crate::settings::Settings;
use crate::sites::HttpClient;
use crate::socket::SocketIoAdapter;

/// Opens an engine. It gets the sender that the engine sends each change to.
pub(super) type OpenEngine = Box<dyn FnOnce(Tail) -> OpeningEngine + Send>;

/// The engine when it is open.
type OpeningEngine = BoxFuture<'static, Result<Arc<dyn Engine>, engine::Error>>;

/// Starts a server. The name of the engine is for the log.
pub(super) async fn start(
    mut settings: Settings,
    routes: &Routes,
    engine_name: &str,
    open: OpenEngine,
) -> Result<Server, StartError> {
    let environment = Environment::tokio();
    let (engine, changes) = open_engine(&mut settings, open).await?;
    let (listener, addr) = listen(SocketAddr::new(settings.host, settings.port)).await?;
    let (message_sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
    let delivery_queue = DeliveryQueue::new(message_sender.downgrade());
    let budgets = Budgets::new(&environment, &settings);
    let (limits, max) = (&budgets.limits, descriptors_for_connections());
    let connections = Connections::new(&settings, max, Arc::clone(limits));
    let (adapter, socket_layer) = SocketIoAdapter::new(
        &settings,
        Arc::clone(limits),
        (Arc::clone(&budgets.requests), Arc::clone(&budgets.output)),
    );
    let world = World {
        environment: environment.clone(),
        engine,
        adapter: Arc::new(adapter),
        http: HttpClient::default(),
    };
    let logic = Logic::new(world, &settings, routes, budgets).await?;
    let app = assemble(
        &settings,
        addr,
        routes,
        &logic,
        delivery_queue,
        connections.addresses(),
        socket_layer,
    );
    let tasks = logic.start(&settings, changes, messages);
    let (sockets, publisher) = (logic.shared.sockets.clone(), Publisher::of(&logic.shared));
    let engine = Arc::clone(&logic.shared.engine);
    let (stop, stopped) = oneshot::channel();
    // If the `Server` is dropped without a shutdown, it runs on.
    let stopped = async {
        if stopped.await.is_err() {
            std::future::pending().await
        }
    };
    let http = HttpServer::new(environment.clone(), app, connections, &settings.limits);
    let serving = environment.spawn_with_handle(http.serve(listener, stopped));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %addr,
        engine = engine_name,
        sites = settings.site_names(),
        open = settings.access_summary().join("; "),
        "the server has started"
    );
    let shutdown_time = settings.shutdown_time;
    Ok(Server {
        environment,
        addr,
        sockets,
        publisher,
        engine,
        shutdown_time,
        stop,
        message_sender,
        serving,
        tasks,
    })
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
