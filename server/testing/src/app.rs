//! The server of one test.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use backwire::change::{Attributes, Resource, ToId};
use backwire::server::{Builder, Handle, StartError};
use backwire::testing::Records;
use backwire::write::Action;
use backwire::{Error, Session};
use backwire_environment::Environment;
use serde_json::Value;

use crate::browser::{Browser, SIGN_IN};
use crate::client::Client;
use crate::clock::{Clock, Time};
use crate::network::Network;
use crate::stock::StockClient;
use crate::tasks::{SystemRandom, Tasks};

/// A server with its records in memory, without a network. Clones are the same server. The server
/// ends with the runtime of the test, or with [`shutdown`](Self::shutdown).
///
/// Methods panic where a test has to fail: if the server does not start, or if a name is not the
/// name of a resource.
#[derive(Clone)]
pub struct App(Arc<Running>);

struct Running {
    network: Network,
    handle: Handle,
    records: Records,
    clock: Clock,
}

impl App {
    /// Starts a server with the settings, resources and routes of a builder. Its store is in
    /// memory, even if the builder names another one. It has an additional route for
    /// [`Browser::sign_in`].
    ///
    /// # Panics
    ///
    /// If the server does not start; see [`try_new`](Self::try_new).
    pub async fn new(server: Builder) -> Self {
        expect_started(Self::try_new(server).await)
    }

    /// Starts a server like [`new`](Self::new), and returns an error if it does not start.
    pub async fn try_new(server: Builder) -> Result<Self, StartError> {
        Self::start(server, "", Builder::build).await
    }

    /// Starts an app that contains the server. The function `app` calls `build` of the builder and
    /// puts the router into the app, as your program does. `path` is the path at which it nests the
    /// router, such as `/live`, or empty if the router is not nested.
    ///
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    /// use backwire::server::{Builder, Handle, StartError};
    /// use backwire_testing::App;
    ///
    /// async fn my_app(server: Builder) -> Result<(Router, Handle), StartError> {
    ///     let (live, handle) = server.build().await?;
    ///     Ok((Router::new().route("/", get(async || "home")).nest("/live", live), handle))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let app = App::inside("/live", backwire::Server::builder(), my_app).await;
    /// assert_eq!(app.browser().get("/").await.ok(), "home");
    /// assert_eq!(app.client().await.get("/live/todo").await.status, 200);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the server does not start.
    pub async fn inside<F, E>(path: &str, server: Builder, app: impl FnOnce(Builder) -> F) -> Self
    where
        F: Future<Output = Result<(Router, Handle), E>>,
        E: fmt::Display,
    {
        expect_started(Self::start(server, path.trim_end_matches('/'), app).await)
    }

    async fn start<F, E>(
        server: Builder,
        path: &str,
        app: impl FnOnce(Builder) -> F,
    ) -> Result<Self, E>
    where
        F: Future<Output = Result<(Router, Handle), E>>,
    {
        let (time, tasks) = (Time::new(), Tasks::new());
        let environment = Environment::new(time.clone(), SystemRandom, tasks.clone());
        let server = server.concurrent_route(SIGN_IN, get(sign_in));
        let (server, records) = server.tested(environment);
        let (app, handle) = app(server).await?;
        let network = Network { app, path: path.into(), tasks: tasks.clone() };
        let clock = Clock::new(time, tasks);
        Ok(Self(Arc::new(Running { network, handle, records, clock })))
    }

    /// Returns the clock of the server.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the handle of the server, which has its publisher and its clients.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Returns a browser without cookies.
    pub fn browser(&self) -> Browser {
        Browser::new(self.0.network.clone())
    }

    /// Connects a client like Backwire's runtime in the page of a new visitor.
    ///
    /// # Panics
    ///
    /// If the server refuses it; see [`Browser::connect`].
    pub async fn client(&self) -> Client {
        self.browser().client().await
    }

    /// Connects a stock client of Socket.IO, such as `sails.io.js`, of a new visitor.
    ///
    /// # Panics
    ///
    /// If the server refuses it; see [`Browser::connect_stock`].
    pub async fn stock_client(&self) -> StockClient {
        self.browser().stock_client().await
    }

    /// Waits until the server is idle: every request is answered, and every change has been sent
    /// and received. The clock does not move.
    ///
    /// This waits for the tasks of the server, and gives all other tasks several turns. In a
    /// runtime with one thread, as `#[tokio::test]` has, that is enough unless your code waits for
    /// a thread, a network or a timer of its own.
    pub async fn wait_until_idle(&self) {
        self.0.network.wait_until_idle().await;
    }

    /// Returns all records of a resource in the order of their ids, without its access rules.
    pub async fn records(&self, resource: &str) -> Vec<Value> {
        let records = self.0.records.all(&parse_resource(resource)).await;
        records.expect("the server runs").into_iter().map(Value::Object).collect()
    }

    /// Creates a record without a user and without the access rules, and returns it. Clients get
    /// this change like any other.
    ///
    /// # Panics
    ///
    /// If the model refuses it, or if it is not an object.
    pub async fn create(&self, resource: &str, record: Value) -> Value {
        let action = Action::Create(attributes(record));
        self.commit(resource, action).await.expect("the model accepts the record")
    }

    /// Sets attributes of a record in the way of [`create`](Self::create), and returns the record.
    ///
    /// # Panics
    ///
    /// If there is no such record or the model refuses it.
    pub async fn update(&self, resource: &str, id: impl ToId, set: Value) -> Value {
        let action = Action::Update(id.to_id().expect("it is an id"), attributes(set));
        self.commit(resource, action).await.expect("the model accepts the update")
    }

    /// Destroys a record in the way of [`create`](Self::create).
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub async fn destroy(&self, resource: &str, id: impl ToId) {
        let action = Action::Destroy(id.to_id().expect("it is an id"));
        self.commit(resource, action).await.expect("there is such a record");
    }

    async fn commit(&self, resource: &str, action: Action) -> Result<Value, Error> {
        let change = self.0.records.commit(&parse_resource(resource), action).await?;
        let record = change.after.as_ref().map(|record| Attributes::clone(record));
        Ok(record.map_or(Value::Null, Value::Object))
    }

    /// Destroys all records of a resource, and lets its ids begin at 1 again.
    ///
    /// The records are destroyed in the order of their ids, as a client would do it, and references
    /// to them become null. So each client that follows them gets `destroyed` for each record, and
    /// gets new records afterwards. The log and its positions continue. A client without a
    /// connection does not get `destroyed`, so until it connects it takes a new record for the
    /// destroyed one with the same id.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use backwire_testing::{App, json};
    ///
    /// let app = App::new(backwire::Server::builder()).await;
    /// app.create("todo", json!({ "title": "Milk" })).await;
    /// app.truncate("todo").await;
    /// assert_eq!(app.create("todo", json!({ "title": "Eggs" })).await["id"], 1);
    /// # }
    /// ```
    pub async fn truncate(&self, resource: &str) {
        self.truncate_each(vec![parse_resource(resource)]).await;
    }

    /// Truncates all resources, and forgets the idempotency keys of all requests. Sessions and
    /// messages stay.
    pub async fn truncate_all(&self) {
        let resources = self.0.records.resources().expect("the server runs");
        self.truncate_each(resources).await;
        self.0.records.forget_keys().expect("the server runs");
    }

    async fn truncate_each(&self, resources: Vec<Resource>) {
        let records = &self.0.records;
        for resource in &resources {
            let destroyed = records.destroy_all(resource).await;
            destroyed.expect("records of a declared resource can be destroyed");
        }
        while records.has_dangling_references().await.expect("the server runs") {
            tokio::task::yield_now().await;
        }
        for resource in &resources {
            records.renumber(resource).expect("the server runs");
        }
        self.wait_until_idle().await;
    }

    /// Shuts the server down as [`Handle::shutdown`] does, but without its deadlines: this waits
    /// also for slow requests.
    pub async fn shutdown(&self) {
        self.0.handle.shutdown().await;
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Running { handle, clock, .. } = &*self.0;
        f.debug_struct("App").field("handle", handle).field("clock", clock).finish_non_exhaustive()
    }
}

#[track_caller]
fn expect_started<E: fmt::Display>(app: Result<App, E>) -> App {
    app.unwrap_or_else(|error| panic!("the server does not start: {error}"))
}

#[track_caller]
fn parse_resource(resource: &str) -> Resource {
    Resource::parse(resource)
        .unwrap_or_else(|| panic!("{resource:?} is not the name of a resource"))
}

#[track_caller]
fn attributes(record: Value) -> Attributes {
    match record {
        Value::Object(attributes) => attributes,
        other => panic!("a record is an object, and not {other}"),
    }
}

async fn sign_in(
    session: Session,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<(), Error> {
    let values = |name: &str| {
        let named = query.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    match values("person").first() {
        Some(person) => session.sign_in(&**person, values("role")).await,
        None => session.sign_out().await,
    }
}
