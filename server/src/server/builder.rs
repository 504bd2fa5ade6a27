//! A server before it starts, and its start.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::MethodRouter;
use backwire_engine::{self as engine, Engine, Tail, Window};
use backwire_records::model::{Model, Undeclarable};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::app::{assemble, keeper};
use super::{Server, Work};
use crate::caller;
use crate::cascade;
use crate::clock::now;
use crate::delivery::courier::{Courier, LETTERS, Slot};
use crate::fanout::Fanout;
use crate::http::connections::{Connections, descriptors_for_connections};
use crate::http::serve::HttpServer;
use crate::pubsub::Publisher;
use crate::route::Paths;
use crate::router::Routes;
use crate::settings::{AllowedHost, AllowedOrigin, ApiKey, Limits, SessionSecret, Settings, Store};

/// Changes that may wait for the fan-out before writers have to.
const TAIL: usize = 1024;

type OpenEngine = Box<dyn FnOnce(Tail) -> Result<Arc<dyn Engine>, engine::Error> + Send>;

/// A server that has not been started.
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    routes: Routes,
    open: Option<OpenEngine>,
}

impl Server {
    /// Starts with the defaults; see [`Settings`].
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// All settings at once.
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Where to listen.
    pub fn host(mut self, host: impl Into<IpAddr>) -> Self {
        self.settings.host = host.into();
        self
    }

    /// Which port; 0 means any that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.settings.port = port;
        self
    }

    /// Where records and logs live.
    pub fn store(mut self, store: Store) -> Self {
        self.settings.store = store;
        self
    }

    /// How much is kept of each log, and of the ledger.
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = window;
        self
    }

    /// What the records of a resource are like; an error names what cannot be so.
    ///
    /// ```
    /// use backwire::Server;
    /// use backwire::model::{Ids, Model};
    ///
    /// let notes = Model { key: "_id".to_owned(), ids: Ids::Uuid, ..Model::default() };
    /// let server = Server::builder().resource("note", notes)?;
    /// # Ok::<_, backwire::model::Undeclarable>(())
    /// ```
    pub fn resource(mut self, name: &str, model: Model) -> Result<Self, Undeclarable> {
        self.settings.models.declare(name, model)?;
        Ok(self)
    }

    /// How resources are reached: prefixes and shortcuts.
    pub fn paths(mut self, paths: Paths) -> Self {
        self.settings.paths = paths;
        self
    }

    /// A directory of pages to serve.
    pub fn pages(mut self, directory: impl Into<PathBuf>) -> Self {
        self.settings.pages = Some(directory.into());
        self
    }

    /// One more origin whose pages may use the server.
    pub fn origin(mut self, origin: AllowedOrigin) -> Self {
        self.settings.origins.push(origin);
        self
    }

    /// One more name that the server may be asked by.
    pub fn allowed_host(mut self, host: AllowedHost) -> Self {
        self.settings.allowed_hosts.push(host);
        self
    }

    /// Bytes a body may have.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// What one client, site or resource may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Requests one connection may have in flight.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.settings.limits.requests_in_flight = requests;
        self
    }

    /// Packets that may wait for one client to read them.
    pub fn unread(mut self, packets: usize) -> Self {
        self.settings.limits.unread_packets = packets;
        self
    }

    /// How long a client may read nothing of what is sent to it.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.settings.limits.write_deadline = deadline;
        self
    }

    /// What back ends publish with over HTTP.
    pub fn api_key(mut self, key: ApiKey) -> Self {
        self.settings.api_key = Some(key);
        self
    }

    /// What session cookies are signed with.
    pub fn session_secret(mut self, secret: SessionSecret) -> Self {
        self.settings.session_secret = Some(secret);
        self
    }

    /// How long a session is kept that nothing is done with.
    pub fn session_age(mut self, age: Duration) -> Self {
        self.settings.session_age = age;
        self
    }

    /// A route of one's own, over HTTP and sockets alike. Its handler may take a
    /// [`Context`](crate::Context).
    pub fn route(mut self, path: &str, handler: MethodRouter) -> Self {
        self.routes = self.routes.add(path, handler);
        self
    }

    /// Handlers of one's own for some verbs of a resource or its records: `/todo`, `/todo/{id}`. The
    /// other verbs are answered as ever. They also answer where the url is spelled `/Todo/`.
    ///
    /// What a handler commits goes the way of every other write:
    ///
    /// ```
    /// use axum::Json;
    /// use axum::routing::post;
    /// use backwire::blueprints::Reply;
    /// use backwire::change::Attributes;
    /// use backwire::{Context, Error, Server};
    ///
    /// // Before a todo is created.
    /// async fn create(cx: Context, Json(mut todo): Json<Attributes>) -> Result<Reply, Error> {
    ///     todo.entry("done").or_insert(false.into());
    ///     cx.create("todo", todo).await
    /// }
    ///
    /// let server = Server::builder().instead("/todo", post(create));
    /// ```
    ///
    /// An update may come as `PUT` and as `PATCH`, which is what our runtime sends: give both a handler.
    /// Shortcuts past the handlers of a resource are not there.
    ///
    /// A request with an `Idempotency-Key` may come again: what a handler makes of it should be the
    /// same each time, or the repeat is refused as another request.
    pub fn instead(mut self, path: &str, handlers: MethodRouter) -> Self {
        self.routes = self.routes.add_instead(path, handlers);
        self
    }

    /// An engine of one's own. It is given the end of the log it has to send each change to.
    pub fn engine<F>(mut self, open: F) -> Self
    where
        F: FnOnce(Tail) -> Result<Arc<dyn Engine>, engine::Error> + Send + 'static,
    {
        self.open = Some(Box::new(open));
        self
    }

    /// Starts it.
    pub async fn bind(self) -> io::Result<Server> {
        let Self { mut settings, routes, open } = self;
        settings.models.associate().map_err(io::Error::other)?;
        let (tail, changes) = mpsc::channel(TAIL);
        let (store, window, limits) =
            (settings.store.clone(), settings.window, settings.limits.clone());
        let engine_name = match &open {
            Some(_) => "custom".to_owned(),
            None => store.to_string(),
        };
        let open = open.unwrap_or_else(|| Box::new(move |tail| store.open(window, &limits, tail)));
        // It may have to wait for another process.
        let engine = spawn_blocking(|| open(tail)).await?.map_err(io::Error::other)?;
        settings.models.learn_keys(engine.keys().await.map_err(io::Error::other)?);
        engine.declare(&settings.models).await.map_err(io::Error::other)?;
        let address = SocketAddr::new(settings.host, settings.port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let reason = format!("cannot listen on {address}: {error}");
            io::Error::new(error.kind(), reason)
        })?;
        let addr = listener.local_addr()?;
        let sessions = keeper(&settings, &*engine).await.map_err(io::Error::other)?;
        engine.queues().begin(settings.node(), now()).await.map_err(io::Error::other)?;
        let (slot, letters) = mpsc::channel(LETTERS);
        let courier = Courier::new(engine.clone(), settings.sites.clone(), settings.ttl());
        let to = Slot::new(slot.downgrade());
        let max = descriptors_for_connections();
        let connections = Connections::new(&settings, max, Arc::default());
        let (app, shared) =
            assemble(&settings, addr, &routes, sessions, &courier, to, &connections);
        let (sockets, publisher) = (shared.sockets.clone(), Publisher::of(&shared));
        let fanout =
            Fanout::new(sockets.clone(), Arc::clone(&shared.models), Arc::clone(&shared.limits))
                .with_searched_bytes(settings.limits.searched_bytes);
        let fanout = tokio::spawn(fanout.follow(changes));
        let following = courier.clone().follow_sites(sockets.clone(), settings.sites.changes());
        let following = tokio::spawn(following);
        let post = tokio::spawn(courier.deliver(letters));
        let cascades = tokio::spawn(cascade::work(Arc::clone(&shared)));
        let watch = tokio::spawn(caller::watch(shared));
        let (stop, stopped) = oneshot::channel();
        // A sender that is dropped is a server that is left to run.
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let http = HttpServer::new(app, connections, &settings.limits);
        let serving = tokio::spawn(http.serve(listener, stopped));
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            %addr,
            engine = engine_name,
            sites = settings.site_names(),
            open = settings.openness().join("; "),
            "the server has started"
        );
        let work = Work { serving, fanout, post, watch, following, cascades };
        Ok(Server { addr, sockets, publisher, stop, slot, work })
    }
}
