//! All of it together: engine, router, sockets, pages, and the task that follows the log.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::{MethodRouter, get};
use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_http::services::ServeDir;

use crate::answers::Answers;
use crate::caller;
use crate::clock::now;
use crate::context::Site;
use crate::delivery::courier::{Courier, LETTERS, Posting, Slot};
use crate::engine::{self, Engine, Tail, Window};
use crate::fanout::Fanout;
use crate::http::cookies::{self, Cookies};
use crate::http::listener::{Lines, Plug};
use crate::http::origin::Origins;
use crate::http::{assets, handshake, health, limit, origin, publish, send};
use crate::model::{Model, Undeclarable};
use crate::pubsub::Publisher;
use crate::route::{Paths, Routing};
use crate::router::{self, Routes};
use crate::session::Keeper;
use crate::settings::{ApiKey, SessionSecret, Settings, Store};
use crate::socket::Sockets;

/// Changes that may wait for the fan-out before writers have to.
const TAIL: usize = 1024;

/// How long it may take to end the connections.
const FAREWELL: Duration = Duration::from_secs(4);

/// How long each other step of a shutdown may take.
const GRACE: Duration = Duration::from_secs(5);

/// A running server. It stops when [`shutdown`](Self::shutdown) is called; dropping it lets it run.
pub struct Server {
    addr: SocketAddr,
    sockets: Sockets,
    publisher: Publisher,
    stop: oneshot::Sender<()>,
    /// As long as it is there, messages are taken in.
    slot: mpsc::Sender<Posting>,
    work: Work,
}

/// What a server does all the time.
struct Work {
    serving: JoinHandle<io::Result<()>>,
    fanout: JoinHandle<()>,
    post: JoinHandle<()>,
    watch: JoinHandle<()>,
    following: JoinHandle<()>,
}

impl Server {
    /// Starts with the defaults; see [`Settings`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address for people and browsers.
    pub fn url(&self) -> String {
        let is_here = self.addr.ip().is_loopback() || self.addr.ip().is_unspecified();
        match is_here {
            true => format!("http://localhost:{}", self.addr.port()),
            false => format!("http://{}", self.addr),
        }
    }

    /// Says things to those who listen, whoever asks or nobody; see [`pubsub`](crate::pubsub).
    ///
    /// ```
    /// use backwire::settings::Store;
    /// use serde_json::json;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = backwire::Server::builder().port(0).store(Store::Memory).bind().await?;
    /// let users = server.publisher().pubsub("user")?;
    /// let change = users.publish_update(7, json!({ "name": "Amanda" }), None).await?;
    /// assert_eq!(change.position.offset, 1);
    /// # server.shutdown().await;
    /// # Ok(()) }
    /// ```
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Accepts nobody any more, ends all connections, and returns when what had been committed has
    /// been said. What does not end in time is left behind.
    pub async fn shutdown(self) {
        // If nobody hears this, the server has stopped by itself.
        let _ = self.stop.send(());
        self.work.watch.abort();
        self.work.following.abort();
        self.sockets.close(FAREWELL).await;
        in_time("http", self.work.serving).await;
        drop(self.slot);
        in_time("post", self.work.post).await;
        in_time("fan-out", self.work.fanout).await;
    }
}

async fn in_time(what: &str, done: impl Future) {
    if timeout(GRACE, done).await.is_err() {
        tracing::warn!("{what} did not stop in time");
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}

type OpenEngine = Box<dyn FnOnce(Tail) -> Result<Arc<dyn Engine>, engine::Error> + Send>;

/// A server that has not been started.
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    routes: Routes,
    open: Option<OpenEngine>,
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

    /// How much of each log is kept.
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = window;
        self
    }

    /// What the records of a resource are like; an error names what can not be so.
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
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.origins.push(origin.into());
        self
    }

    /// Bytes a body may have.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// Requests one connection may have in flight.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.settings.in_flight = requests;
        self
    }

    /// Packets that may wait for one client to read them.
    pub fn unread(mut self, packets: usize) -> Self {
        self.settings.unread = packets;
        self
    }

    /// How long a client may read nothing of what is sent to it.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.settings.write_deadline = deadline;
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
        let engine = match open {
            Some(open) => open(tail),
            None => settings.store.open(settings.window, tail),
        };
        let engine = engine.map_err(io::Error::other)?;
        engine.declare(&settings.models).await.map_err(io::Error::other)?;
        let listener = TcpListener::bind((settings.host, settings.port)).await?;
        let addr = listener.local_addr()?;
        let sessions = keeper(&settings, &*engine).await.map_err(io::Error::other)?;
        engine.queues().begin(settings.node(), now()).await.map_err(io::Error::other)?;
        let (slot, letters) = mpsc::channel(LETTERS);
        let courier = Courier::new(engine.clone(), settings.sites.clone(), settings.ttl());
        let to = Slot::new(slot.downgrade());
        let (app, site) = assemble(&settings, &routes, sessions, &courier, to);
        let (sockets, publisher) = (site.sockets.clone(), site.publisher());
        let fanout = Fanout::new(sockets.clone(), Arc::clone(&site.models));
        let fanout = tokio::spawn(fanout.follow(changes));
        let following = courier.clone().follow_sites(sockets.clone(), settings.sites.changes());
        let following = tokio::spawn(following);
        let post = tokio::spawn(courier.deliver(sockets.clone(), letters));
        let watch = tokio::spawn(caller::watch(site));
        let (stop, stopped) = oneshot::channel();
        let app = app.into_make_service_with_connect_info::<Plug>();
        // A sender that is dropped is a server that is left to run.
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let lines = Lines::new(listener, settings.write_deadline);
        let serving = axum::serve(lines, app).with_graceful_shutdown(stopped);
        let serving = tokio::spawn(async { serving.await });
        let declared = settings.models.declared().count();
        tracing::info!(%addr, declared, undeclared = ?settings.models.others(), "resources");
        let work = Work { serving, fanout, post, watch, following };
        Ok(Server { addr, sockets, publisher, stop, slot, work })
    }
}

/// Cookies are signed with the secret that is set, or else with the engine's own, so that they are good
/// after a restart, too.
async fn keeper(settings: &Settings, engine: &dyn Engine) -> Result<Keeper, engine::Error> {
    let secret = match &settings.session_secret {
        Some(secret) => secret.clone(),
        None => engine.sessions().secret().await?.into(),
    };
    let cookies = Cookies::new(&secret, !settings.origins.is_empty());
    Ok(Keeper::new(Arc::new(cookies), settings.session_age))
}

/// Edges outermost. A request meets, in this order: what detaches handshakes from their buffer, CORS,
/// the origin check, the stock client, Socket.IO, the giver of cookies; then our own routes, the user's, files, resources.
fn assemble(
    settings: &Settings,
    routes: &Routes,
    sessions: Keeper,
    courier: &Courier,
    slot: Slot,
) -> (Router, Arc<Site>) {
    let engine = courier.engine().clone();
    let (sockets, socket_layer) = Sockets::new(settings.limits());
    let cookies = sessions.cookies().clone();
    let models = Arc::new(settings.models.clone());
    let routing = routes.known_to(Routing::new(settings.paths.clone(), Arc::clone(&models)));
    let site = Arc::new(Site {
        engine: engine.clone(),
        sockets: sockets.clone(),
        models,
        routing: routing.clone(),
        sessions,
    });
    let dressed = |routes| router::dressed(routes, Arc::clone(&site), settings.body_limit);
    let plain =
        dressed(routes.spelled(routes.router().fallback_service(router::resources()), &routing));
    let with_pages = settings.pages.as_ref().map(|directory| {
        let files = ServeDir::new(directory).call_fallback_on_method_not_allowed(true);
        let routed = routes.router().fallback_service(files.fallback(router::resources()));
        dressed(routes.spelled(routed, &routing))
    });
    let answers = Answers::new(plain.clone(), site.clone(), settings.body_limit);
    sockets.open(answers, courier.clone());
    let services = publish::router(settings.api_key.clone())
        .merge(send::router(settings.sites.clone(), slot.post()));
    let over_http = dressed(services)
        .fallback_service(with_pages.unwrap_or(plain))
        .layer(middleware::from_fn_with_state(settings.body_limit, limit::check));
    let origins = Origins::new(&settings.origins);
    let app = assets::router()
        .route("/health", get(async move || health::report(&*engine).await))
        .fallback_service(over_http)
        .layer(middleware::from_fn_with_state(cookies, cookies::greet))
        .layer(socket_layer)
        .route(assets::STOCK_CLIENT, assets::stock_client())
        .layer(middleware::from_fn_with_state(origins.clone(), origin::check));
    let app = app
        .clone()
        .layer(origins.cors())
        .layer(middleware::from_fn_with_state(app, origin::no_preflight))
        .layer(middleware::map_request(handshake::detach));
    (app, site)
}
