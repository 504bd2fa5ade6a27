//! Starts a server: opens the engine, listens, and starts the tasks.

use std::net::SocketAddr;
use std::sync::Arc;

use backwire_engine::{self as engine, Engine, Environment, Tail};
use backwire_records::change::Change;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::app::{assemble, session_policy};
use super::start_error::StartError;
use super::{Server, Tasks};
use crate::caller;
use crate::cascade;
use crate::delivery::service::{DeliveryQueue, DeliveryService, MAX_QUEUED_MESSAGES};
use crate::fanout::Fanout;
use crate::http::connections::{Connections, descriptors_for_connections};
use crate::http::serve::HttpServer;
use crate::limit_monitor::LimitMonitor;
use crate::pubsub::Publisher;
use crate::router::Routes;
use crate::settings::Settings;

/// Changes that may wait for the fan-out. If there are more, writers wait.
const MAX_WAITING_CHANGES: usize = 1024;

/// Opens an engine. It gets the sender that the engine sends each change to.
pub(super) type OpenEngine = Box<dyn FnOnce(Tail) -> Result<Arc<dyn Engine>, engine::Error> + Send>;

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
    let sessions = session_policy(&environment, &settings, &*engine).await?;
    engine.queues().begin(settings.node(), environment.unix_millis()).await?;
    let (message_sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
    let delivery_service = DeliveryService::new(
        environment.clone(),
        engine.clone(),
        settings.sites.clone(),
        settings.ttl(),
    );
    let delivery_queue = DeliveryQueue::new(message_sender.downgrade());
    let max = descriptors_for_connections();
    let connections =
        Connections::new(&settings, max, Arc::new(LimitMonitor::new(environment.clone())));
    let (app, shared) = assemble(
        &settings,
        addr,
        routes,
        sessions,
        &delivery_service,
        delivery_queue,
        &connections,
    );
    let (sockets, publisher) = (shared.sockets.clone(), Publisher::of(&shared));
    let fanout = Fanout::new(
        environment.clone(),
        sockets.clone(),
        Arc::clone(&shared.models),
        Arc::clone(&shared.limits),
    )
    .with_searched_bytes(settings.limits.searched_bytes);
    let fanout = environment.spawn(fanout.follow(changes));
    let site_updates =
        delivery_service.clone().follow_sites(sockets.clone(), settings.sites.changes());
    let site_updates = environment.spawn(site_updates);
    let delivery = environment.spawn(delivery_service.deliver(messages));
    let cascades = environment.spawn(cascade::run(Arc::clone(&shared)));
    let session_watch = environment.spawn(caller::watch_sessions(shared));
    let (stop, stopped) = oneshot::channel();
    // If the `Server` is dropped without a shutdown, it runs on.
    let stopped = async {
        if stopped.await.is_err() {
            std::future::pending().await
        }
    };
    let http = HttpServer::new(app, connections, &settings.limits);
    let serving = environment.spawn(http.serve(listener, stopped));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %addr,
        engine = engine_name,
        sites = settings.site_names(),
        open = settings.access_summary().join("; "),
        "the server has started"
    );
    let tasks = Tasks { serving, fanout, delivery, session_watch, site_updates, cascades };
    Ok(Server { environment, addr, sockets, publisher, stop, message_sender, tasks })
}

/// Opens the engine, and tells it the declared resources. Returns the receiver of its changes.
async fn open_engine(
    settings: &mut Settings,
    open: OpenEngine,
) -> Result<(Arc<dyn Engine>, mpsc::Receiver<Arc<Change>>), StartError> {
    let (tail, changes) = mpsc::channel(MAX_WAITING_CHANGES);
    // Opening may wait for another process.
    let opened = spawn_blocking(|| open(tail)).await;
    let engine = opened.map_err(|error| engine::Error::Unavailable(error.to_string()))??;
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
