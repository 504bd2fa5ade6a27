//! Configures a server. `routes` has the methods for routes and hooks.

mod routes;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use backwire_engine::{self as engine, Engine, Environment, Tail, Window};
use backwire_records::model::{Conventions, Model, ModelError, Undeclared};
use futures_util::FutureExt;

use super::Server;
use super::handle::Handle;
use super::own_paths;
use super::start::{self, OpenEngine, Started};
use super::start_error::StartError;
#[cfg(feature = "testing")]
use super::testing;
use crate::config::{Config, FileProblem};
use crate::route::{Paths, Shortcuts};
use crate::router::Routes;
use crate::settings::{
    AllowedHost, AllowedOrigin, ApiKey, Flake, Heartbeat, Limits, SessionSecret, SettingValue,
    Settings, SocketIo, Store, TrustedProxy, for_each_setting, open_blocking,
};
use crate::sites::{InvalidSite, Site};

/// Configures and starts a server. [`Server::builder`] creates it. [`bind`](Self::bind) starts the
/// server on its own listener, and [`build`](Self::build) returns a router for an axum app.
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    routes: Routes,
    open: Option<OpenEngine>,
    has_no_fallback: bool,
    #[cfg(feature = "testing")]
    tested: Option<testing::Tested>,
}

impl Server {
    /// Returns a builder with the defaults of [`Settings`].
    pub fn builder() -> Builder {
        Builder::default()
    }
}

macro_rules! define_methods {
    ($(
        $(#[$doc:meta])+
        $name:ident: $type:ty = $default:expr => {
            key: $key:literal,
            builder: $verb:literal $method:ident($parameter:ty),
            $($facets:tt)*
        }
    )+) => {
        /// The methods for settings that are a value or a list. A configuration file has a key for
        /// each.
        impl Builder {
            $(
                #[doc = concat!($verb, " [`", stringify!($name), "`](Settings::", stringify!($name), ").")]
                pub fn $method(mut self, value: $parameter) -> Self {
                    <$type>::set(&mut self.settings.$name, value.into());
                    self
                }
            )+
        }
    };
}

for_each_setting!(define_methods);

impl Builder {
    /// Reads a configuration file, as the command line program does. Its values replace those of
    /// the builder, and later calls replace its values. Warnings about keys that have no effect are
    /// logged.
    ///
    /// If the file has sections, this reads the one that the variable `BACKWIRE_ENV` names, or else
    /// `NODE_ENV`, or else `production`. An error names the line and the column of what is invalid.
    /// For an unknown key it suggests the closest valid one.
    ///
    /// ```
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, "port: 80\nsesion_age: 1d")?;
    /// # let path = file.path();
    /// let error = backwire::Server::builder().config_file(path).err().unwrap();
    /// let problem = ":2:1: unknown key sesion_age; did you mean session_age?";
    /// assert!(error.to_string().ends_with(problem), "{error}");
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn config_file(mut self, file: impl AsRef<Path>) -> Result<Self, StartError> {
        let file = file.as_ref();
        let config = Config::read(file)?;
        for warning in config.warnings(file) {
            tracing::warn!("{warning}");
        }
        let has_engine = config.has_engine();
        self.settings = config.apply_to(self.settings)?;
        self.settings.private_files.push(file.to_owned());
        let selected = self.settings.select_redis(has_engine);
        selected.map_err(|problem| FileProblem::new(problem).in_file(file))?;
        Ok(self)
    }

    /// Replaces all settings.
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Sets how much is kept of the log of each resource, and of the ledger, which has the
    /// idempotency keys.
    pub fn window(mut self, window: Window) -> Self {
        let Window { count, bytes, age, ledger_age, ledger_bytes } = window;
        let settings = &mut self.settings;
        (settings.log_count, settings.log_bytes, settings.log_age) = (count, bytes, age);
        (settings.ledger_age, settings.ledger_bytes) = (ledger_age, ledger_bytes);
        self
    }

    /// Sets what all resources have unless they say otherwise: those of
    /// [`resource_with`](Self::resource_with) and of [`config_file`](Self::config_file) that are
    /// declared after this call, and undeclared ones, which have neither its attributes nor its
    /// key, plural and schema. In a configuration file this is `resource_defaults`, which replaces
    /// what it sets of these defaults.
    ///
    /// ```
    /// use backwire::Server;
    /// use backwire::model::{Attribute, Find, Ids, Model, Timestamps};
    ///
    /// let find = Find { limit: Some(100), ..Find::default() };
    /// let all = Model { ids: Ids::Uuid, timestamps: Timestamps::Iso, find, ..Model::default() };
    /// let server = Server::builder()
    ///     .resource_defaults(all.attribute("tenant", Attribute::default()))?
    ///     .resource_with("note", |note| note.attribute("title", Attribute::default()))?
    ///     .resource_with("counter", |counter| Model { ids: Ids::Integer, ..counter })?;
    /// # Ok::<_, backwire::model::ModelError>(())
    /// ```
    pub fn resource_defaults(mut self, defaults: Model) -> Result<Self, ModelError> {
        self.settings.models.set_defaults(defaults)?;
        Ok(self)
    }

    /// Declares a resource with a model that is made of the
    /// [defaults](Self::resource_defaults). The values that the function sets
    /// count, also if they are those that a `Model` has by default.
    pub fn resource_with(
        self,
        name: &str,
        model: impl FnOnce(Model) -> Model,
    ) -> Result<Self, ModelError> {
        let defaults = self.settings.models.defaults().clone();
        self.resource(name, model(defaults))
    }

    /// Declares a resource with its model. The model is complete, so the
    /// [defaults](Self::resource_defaults) do not change it. An error names the invalid part of the
    /// model.
    ///
    /// ```
    /// use backwire::Server;
    /// use backwire::model::{Ids, Model};
    ///
    /// let notes = Model { key: "_id".to_owned(), ids: Ids::Uuid, ..Model::default() };
    /// let server = Server::builder().resource("note", notes)?;
    /// # Ok::<_, backwire::model::ModelError>(())
    /// ```
    pub fn resource(mut self, name: &str, model: Model) -> Result<Self, ModelError> {
        self.settings.models.declare(name, model)?;
        Ok(self)
    }

    /// Adds a site of the push service. An error names the invalid part of the site.
    ///
    /// A server that has sites and no resources should begin with the settings of a
    /// [push service](Settings::push_service), as the command does.
    ///
    /// ```
    /// use backwire::sites::Site;
    /// use backwire::{Server, Settings};
    ///
    /// let shop = Site::new("https://shop.example/rooms".parse()?, "its key".parse()?);
    /// let shop = Site { user_room_prefix: Some("user_".to_owned()), ..shop };
    /// let server = Server::builder().settings(Settings::push_service()).site("shop", shop)?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn site(self, name: &str, site: Site) -> Result<Self, InvalidSite> {
        let name = name.parse().map_err(InvalidSite::Name)?;
        self.settings.sites.insert(name, site)?;
        Ok(self)
    }

    /// Sets the paths of resources: prefixes and shortcuts.
    pub fn paths(mut self, paths: Paths) -> Self {
        let Paths { prefix, rest_prefix, shortcuts } = paths;
        let settings = &mut self.settings;
        (settings.prefix, settings.rest_prefix, settings.shortcuts) =
            (prefix, rest_prefix, Some(shortcuts));
        self
    }

    /// Sets whether resources that are not declared exist.
    pub fn undeclared(mut self, undeclared: Undeclared) -> Self {
        self.settings.models.undeclared(undeclared);
        self
    }

    /// Sets the pings that detect dead connections.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.settings.heartbeat = heartbeat;
        self
    }

    /// Sets the settings of Socket.IO.
    pub fn socket_io(mut self, socket_io: SocketIo) -> Self {
        self.settings.socket_io = socket_io;
        self
    }

    /// Sets the number of this server in the ids of messages: `flakeid` in a configuration file.
    /// Servers that share a store need different numbers.
    pub fn flake(mut self, flake: Flake) -> Self {
        self.settings.flake = flake;
        self
    }

    /// Sets what one client, site or resource may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Sets how many requests one connection may have in flight (`requests_in_flight`).
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.settings.limits.requests_in_flight = requests;
        self
    }

    /// Sets how many packets may wait until one client reads them (`unread_packets`).
    pub fn unread(mut self, packets: usize) -> Self {
        self.settings.limits.unread_packets = packets;
        self
    }

    /// Sets how long a client may read nothing while output waits for it. Then it is disconnected.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.settings.limits.write_deadline = deadline;
        self
    }

    /// Stores the records in an engine of your own instead of the [`store`](Self::store). The
    /// function opens the engine. The engine has to send each committed change to the [`Tail`].
    pub fn engine<F>(mut self, open: F) -> Self
    where
        F: FnOnce(Tail) -> Result<Arc<dyn Engine>, engine::Error> + Send + 'static,
    {
        self.open = Some(Box::new(|tail| open_blocking(|| open(tail)).boxed()));
        self
    }

    /// Lets the router of [`build`](Self::build) answer only the server's own paths: those of
    /// Socket.IO, of the scripts, of [`route`](Self::route) and of declared resources (each in its
    /// own spelling), and `/health`, `/metrics`, `/publish`, `/send`, `/revoke` and `/__getcookie`
    /// with what is below `/health`, and `/csrfToken` if [`csrf`](Self::csrf) is set. It serves
    /// neither undeclared resources nor files. Such a router can be merged with one that has a
    /// fallback, if none of the paths is in both.
    pub fn without_fallback(mut self) -> Self {
        self.has_no_fallback = true;
        self
    }

    /// Starts the server without a listener. Returns its router, to be nested, merged and layered
    /// in an app of yours, and its handle. The tasks of the server run in the background until
    /// [`Handle::shutdown`].
    ///
    /// The router is a fallback and has no routes. If it is merged with an app, the routes of the
    /// app come first, and the server answers all other requests: a path that names no resource is
    /// a 404. If it is nested, it answers only below its path. axum allows one fallback in merged
    /// routers; [`without_fallback`](Self::without_fallback) gives the router routes instead.
    ///
    /// Serve the app with [`Handle::serve`], or with another server for axum. `host` and `port` of
    /// the settings have no effect. The server runs in the runtime of tokio that this is called in.
    pub async fn build(self) -> Result<(Router, Handle), StartError> {
        let started = self.start().await?;
        started.log(None);
        Ok((started.router, started.handle))
    }

    /// Lets the builder start a server in an environment, with its store in memory, whichever one
    /// the builder has. Returns the records of that server. This is for `backwire-testing`.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn tested(mut self, environment: Environment) -> (Self, testing::Records) {
        let records = testing::Records::default();
        self.tested = Some(testing::Tested::new(environment, records.clone()));
        (self, records)
    }

    #[cfg(not(feature = "testing"))]
    async fn start(self) -> Result<Started, StartError> {
        self.start_in(start::environment()).await
    }

    #[cfg(feature = "testing")]
    async fn start(mut self) -> Result<Started, StartError> {
        let Some(tested) = self.tested.take() else {
            return self.start_in(start::environment()).await;
        };
        self.open = Some(tested.open(&self.settings));
        let started = self.start_in(tested.environment()).await?;
        tested.has_started(&started);
        Ok(started)
    }

    /// Starts the server in an environment.
    async fn start_in(mut self, environment: Environment) -> Result<Started, StartError> {
        let (open, has_no_fallback) = (self.open.take(), self.has_no_fallback);
        let (settings, routes) = self.into_parts()?;
        let (engine_name, open) = match open {
            Some(open) => ("custom".to_owned(), open),
            None => (settings.store.to_string(), open_store(&settings)),
        };
        let engine = (engine_name, open);
        start::start(environment, settings, &routes, engine, !has_no_fallback).await
    }

    /// Finds the errors in the settings, resources and routes that a start would find before it
    /// opens the store.
    pub fn check(&self) -> Result<(), StartError> {
        prepare(&mut self.settings.clone(), &self.routes)
    }

    /// Returns the settings, with associated models, and the routes.
    pub(crate) fn into_parts(self) -> Result<(Settings, Routes), StartError> {
        let Self { mut settings, routes, .. } = self;
        prepare(&mut settings, &routes)?;
        Ok((settings, routes))
    }

    /// Starts the server on the `host` and the `port` of the settings.
    pub async fn bind(self) -> Result<Server, StartError> {
        let address = SocketAddr::new(self.settings.host, self.settings.port);
        start::bind(address, self.start().await?).await
    }
}

/// Associates the models, and checks what no setting decides alone.
fn prepare(settings: &mut Settings, routes: &Routes) -> Result<(), StartError> {
    settings.models.follow(settings.compat);
    settings.models.associate()?;
    Ok(own_paths::check(settings, routes)?)
}

/// Returns the function that opens the engine of the settings.
fn open_store(settings: &Settings) -> OpenEngine {
    let (store, window, limits) =
        (settings.store.clone(), settings.window(), settings.limits.clone());
    Box::new(move |tail| store.open(window, limits, tail).boxed())
}
