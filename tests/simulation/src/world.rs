//! The shared state of a run: the running servers, the connections, the store, the back end of the
//! site, and the expected state for the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use axum::body::Body;
use backwire::Server;
use backwire::access::{Access, Grant, Rule};
use backwire::model::Model;
use backwire::simulation::{OtherServers, SimulatedServer, changes};
use backwire::sites::Site;
use backwire_checker::people::PEOPLE;
use backwire_checker::world::{Checks, Incoming, World};
use backwire_engine::{Engine, Environment, Memory, Tail, Window};
use backwire_environment::Watched;
use backwire_environment::simulation::{Executor, Process};
use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::engine::SimulatedEngine;
use crate::network::{self, Line};
use crate::node::NodeEngine;
use crate::store::link::Link;
use crate::store::{SharedStore, drain};
use crate::trace::Trace;

/// How long the back end waits before it repeats a request that was not answered.
const BACK_END_RETRY: Duration = Duration::from_secs(1);

/// The shared state of a run.
pub(crate) struct Network {
    checks: Checks,
    pub(crate) trace: Arc<Trace>,
    executor: Executor,
    limits: Limits,
    running: Mutex<BTreeMap<usize, Running>>,
    storage: Mutex<Storage>,
    /// The pages that cannot reach the server.
    offline: Mutex<BTreeSet<String>>,
    lines: Mutex<BTreeMap<u64, OpenLine>>,
}

/// A connection, and the number of its server, if it has reached one.
struct OpenLine {
    server: Option<usize>,
    line: Weak<network::Shared>,
}

/// The storage of the servers.
enum Storage {
    /// A single server has a disk. The engine is that of its last start.
    Disk(Option<Arc<SimulatedEngine>>),
    /// Several servers share a store. Each reaches it over a link of its own.
    Shared { store: Arc<SharedStore>, links: Vec<Arc<Link>> },
}

/// The limits of a run.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How much of each log is kept.
    pub(crate) window: Window,
    /// The requests that a connection may have in flight.
    pub(crate) in_flight: usize,
    /// The packets that may wait for a client.
    pub(crate) unread_packets: usize,
    /// The maximum time of a step of the disk, or of a packet to the store, in milliseconds.
    pub(crate) disk_latency: u64,
    /// The number of servers.
    pub(crate) servers: usize,
}

/// A server that is running.
struct Running {
    process: Process,
    server: Arc<SimulatedServer>,
    is_paused: Arc<Watched<bool>>,
    /// The number of its subscription to the shared store.
    subscription: Option<u64>,
}

impl Deref for Network {
    type Target = Checks;

    fn deref(&self) -> &Checks {
        &self.checks
    }
}

impl World for Network {
    type Line = Line;

    fn auth(&self, person: &str, device: &str) -> String {
        format!(r#"{{"site":"app","token":"{person}","deviceId":"{device}"}}"#)
    }

    fn log(&self, name: &str, direction: &str, what: &str) {
        self.trace.log(name, direction, what);
    }

    fn open(&self, name: &str, to_page: (u64, mpsc::UnboundedSender<(u64, Incoming)>)) -> Line {
        let is_offline = self.offline.lock().contains(name);
        let (server, destination) = self.pick_server().filter(|_| !is_offline).unzip();
        let line = Line::open(
            &self.environment,
            &self.trace,
            name,
            to_page,
            (destination, self.limits.unread_packets),
        );
        let mut lines = self.lines.lock();
        lines.retain(|_, open| open.line.strong_count() > 0);
        let number = lines.last_key_value().map_or(0, |(number, _)| number + 1);
        lines.insert(number, OpenLine { server, line: Arc::downgrade(line.shared()) });
        line
    }
}

impl Network {
    pub(crate) fn new(executor: &Executor, limits: Limits, is_traced: bool) -> Arc<Self> {
        let environment = executor.process().environment();
        let trace = Arc::new(Trace::new(environment.clone(), is_traced));
        let checks = Checks::new(environment);
        let storage = match limits.servers {
            1 => Storage::Disk(None),
            servers => {
                checks.writes.use_several_servers();
                let environment = executor.process().environment();
                let (tail, received) = changes();
                let memory = Memory::in_environment(environment.clone(), limits.window, tail);
                environment.spawn(drain(received));
                let truth = (Arc::clone(&checks.history), Arc::clone(&checks.messages));
                let store = SharedStore::new(memory, truth, environment, limits.disk_latency);
                let links = (0..servers).map(|_| Link::new(&store)).collect();
                Storage::Shared { store, links }
            }
        };
        Arc::new(Self {
            trace,
            executor: executor.clone(),
            limits,
            running: Mutex::default(),
            storage: Mutex::new(storage),
            offline: Mutex::default(),
            lines: Mutex::default(),
            checks,
        })
    }

    /// Prepares the shared store, and starts all servers.
    pub(crate) async fn begin(self: &Arc<Self>) {
        let store = match &*self.storage.lock() {
            Storage::Shared { store, .. } => Some(Arc::clone(store)),
            Storage::Disk(_) => None,
        };
        if let Some(store) = store
            && let Err(error) = store.begin().await
        {
            self.history.violated(format!("the store did not start: {error}"));
        }
        self.start_all().await;
    }

    /// Starts all servers that are not running.
    pub(crate) async fn start_all(self: &Arc<Self>) {
        for server in 0..self.limits.servers {
            self.start(server).await;
        }
    }

    /// Returns a random running server, as a load balancer does.
    fn pick_server(&self) -> Option<(usize, network::Server)> {
        let running = self.running.lock();
        let random = usize::try_from(self.environment.random_u64() >> 32).unwrap_or_default();
        let (number, picked) = running.iter().nth(random % running.len().max(1))?;
        let (server, is_paused) = (Arc::clone(&picked.server), Arc::clone(&picked.is_paused));
        Some((*number, network::Server { server, is_paused }))
    }

    pub(crate) fn set_offline(&self, name: &str, is_offline: bool) {
        let mut offline = self.offline.lock();
        if is_offline {
            offline.insert(name.to_owned());
        } else {
            offline.remove(name);
        }
    }

    /// Starts a server with the data that its former process has committed, unless it is running.
    pub(crate) async fn start(self: &Arc<Self>, number: usize) {
        if self.running.lock().contains_key(&number) {
            return;
        }
        let process = self.executor.process();
        let environment = process.environment();
        let (tail, changes) = changes();
        let (engine, subscription) = self.open_engine(number, &environment, tail);
        let others = self.back_end();
        let builder = builder().in_flight(self.limits.in_flight);
        let server = SimulatedServer::start(environment, builder, engine, changes, others).await;
        match server {
            Ok(server) => {
                let (server, is_paused) = (Arc::new(server), Arc::new(Watched::new(false)));
                let running = Running { process, server, is_paused, subscription };
                self.running.lock().insert(number, running);
                self.trace.log(&server_name(number), "·", "started");
            }
            // A server does not start while it cannot reach the store.
            Err(error) if subscription.is_some() => {
                process.kill();
                self.unsubscribe(subscription);
                self.trace.log(&server_name(number), "·", &format!("did not start: {error}"));
            }
            Err(error) => self.history.violated(format!("the server did not start: {error}")),
        }
    }

    fn open_engine(
        &self,
        number: usize,
        environment: &Environment,
        tail: Tail,
    ) -> (Arc<dyn Engine>, Option<u64>) {
        let environment = environment.clone();
        match &mut *self.storage.lock() {
            Storage::Disk(last) => {
                let engine = Arc::new(match last {
                    Some(engine) => engine.reopen(environment, tail),
                    None => {
                        let window = self.limits.window;
                        let memory = Memory::in_environment(environment.clone(), window, tail);
                        let history = Arc::clone(&self.history);
                        SimulatedEngine::new(memory, history, environment, self.limits.disk_latency)
                    }
                });
                *last = Some(Arc::clone(&engine));
                (engine, None)
            }
            Storage::Shared { links, .. } => {
                let link = Arc::clone(&links[number]);
                let engine = NodeEngine::new(number, environment, link, tail);
                let subscription = engine.number();
                (Arc::new(engine), Some(subscription))
            }
        }
    }

    fn unsubscribe(&self, subscription: Option<u64>) {
        if let Storage::Shared { store, .. } = &*self.storage.lock()
            && let Some(number) = subscription
        {
            store.expire(number);
        }
    }

    /// Ends a server at once, as a power cut does. Committed writes are kept.
    pub(crate) fn crash(&self, number: usize) {
        let Some(running) = self.running.lock().remove(&number) else { return };
        self.trace.log(&server_name(number), "·", "crashed");
        let is_of = |_: &u64, it: &mut OpenLine| it.server == Some(number);
        let lines: Vec<_> = self.lines.lock().extract_if(.., is_of).collect();
        lines.iter().filter_map(|(_, it)| it.line.upgrade()).for_each(|line| line.cut());
        running.process.kill();
        running.is_paused.update(|is_paused| *is_paused = false);
        self.unsubscribe(running.subscription);
    }

    /// Shuts a server down and starts it again.
    pub(crate) async fn restart(self: &Arc<Self>, number: usize) {
        let server = self.running.lock().get(&number).map(|running| Arc::clone(&running.server));
        if let Some(server) = server {
            self.resume(number);
            self.trace.log(&server_name(number), "·", "shuts down");
            server.drain(Duration::from_millis(500), Duration::from_secs(5)).await;
            self.crash(number);
        }
        self.start(number).await;
    }

    /// Pauses a server for a time.
    pub(crate) fn pause(self: &Arc<Self>, number: usize, time: Duration) {
        let Some(process) = self.set_paused(number, true) else { return };
        process.pause();
        let network = Arc::downgrade(self);
        self.environment.spawn(async move {
            let Some(environment) = network.upgrade().map(|it| it.environment.clone()) else {
                return;
            };
            environment.sleep(time).await;
            if let Some(network) = network.upgrade() {
                network.resume(number);
            }
        });
    }

    fn resume(&self, number: usize) {
        if let Some(process) = self.set_paused(number, false) {
            process.resume();
        }
    }

    fn set_paused(&self, number: usize, is_paused: bool) -> Option<Process> {
        let running = self.running.lock();
        let server = running.get(&number)?;
        self.trace.log(&server_name(number), "·", if is_paused { "paused" } else { "continues" });
        server.is_paused.update(|it| *it = is_paused);
        Some(server.process.clone())
    }

    /// Makes the disk of the server, or the store of all servers, fail for a time.
    pub(crate) fn fail_storage(&self, time: Duration) {
        match &*self.storage.lock() {
            Storage::Disk(engine) => engine.iter().for_each(|engine| engine.fail(time)),
            Storage::Shared { store, .. } => store.fail(time),
        }
    }

    /// Lets a replica of the shared store receive nothing any more, and replaces the store by it
    /// after a lag. It is not reachable for a time.
    pub(crate) fn fail_over(self: &Arc<Self>, lag: Duration, time: Duration) {
        let store = match &*self.storage.lock() {
            Storage::Shared { store, .. } => Arc::clone(store),
            Storage::Disk(_) => return,
        };
        if !store.stop_replication() {
            return;
        }
        let network = Arc::downgrade(self);
        self.environment.spawn(async move {
            let Some(environment) = network.upgrade().map(|it| it.environment.clone()) else {
                return;
            };
            environment.sleep(lag).await;
            store.fail_over(time).await;
            if let Some(network) = network.upgrade() {
                network.trace.log("store", "·", "replaced by its replica");
            }
        });
    }

    /// Whether a replica has replaced the shared store.
    pub(crate) fn has_failed_over(&self) -> bool {
        match &*self.storage.lock() {
            Storage::Shared { store, .. } => store.run().number > 0,
            Storage::Disk(_) => false,
        }
    }

    /// Cuts the network between a server and the shared store for a time.
    pub(crate) fn cut_store(&self, number: usize, time: Duration) {
        if let Storage::Shared { links, .. } = &*self.storage.lock() {
            links[number].cut(time);
        }
    }

    /// Returns the simulated back end, which answers the requests of the server.
    fn back_end(self: &Arc<Self>) -> OtherServers {
        let network = Arc::downgrade(self);
        Arc::new(move |request: Request<_>| {
            let network = network.upgrade();
            Box::pin(async move {
                let network = network?;
                let header = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
                let token = header.rsplit(' ').next()?;
                let millis = network.environment.random_u64() % 40;
                network.environment.sleep(Duration::from_millis(millis)).await;
                // The back end is sometimes down.
                if network.environment.random_u64().is_multiple_of(24) {
                    return None;
                }
                let is_editor = network.people.is_editor(token);
                let user = format!("user_{token}");
                let rooms = if is_editor { json!([user, "editor"]) } else { json!([user]) };
                Some(Response::new(Bytes::from(rooms.to_string())))
            })
        })
    }

    /// Revokes the connections of a person whose rights have changed. If all servers have answered,
    /// this checks that the connections have ended.
    pub(crate) async fn revoke(self: &Arc<Self>, person: &str, key: &str) {
        let begin = self.now();
        let Some(answer) = self.post("/revoke", &format!(r#"{{"user":"{person}"}}"#), key).await
        else {
            return;
        };
        if answer.get("missingServers").is_none() {
            self.check_revoked(person, |admitted| admitted < begin);
        }
    }

    /// Checks that no server serves a connection that was admitted when the person had other
    /// rights. This also holds for a server that did not answer a revocation: it asks the back end
    /// again later.
    pub(crate) fn check_rights(&self) {
        for person in PEOPLE {
            let is_editor = self.people.is_editor(person);
            let differ = |admitted| self.people.was_editor(person, admitted) != is_editor;
            self.check_revoked(person, differ);
        }
    }

    /// Checks that no server serves a connection of a person for whose time of admission
    /// `is_revoked` is true.
    fn check_revoked(&self, person: &str, is_revoked: impl Fn(u64) -> bool) {
        let lines: Vec<_> = self.lines.lock().values().filter_map(|it| it.line.upgrade()).collect();
        let since = lines.iter().filter_map(|line| line.served_since(person));
        for admitted in since.filter(|admitted| is_revoked(*admitted)) {
            self.history.violated(format!(
                "a connection of {person}, admitted at {admitted} ms and revoked, is still open"
            ));
        }
    }

    /// Sends a request of the back end until the answer is 200. Returns the answer, or `None` after
    /// a violation.
    pub(crate) async fn post(self: &Arc<Self>, path: &str, body: &str, key: &str) -> Option<Value> {
        loop {
            if let Some((_, network::Server { server, .. })) = self.pick_server() {
                let environment = server.environment().clone();
                let request = Request::post(format!("{path}?apiKey=key&site=app"))
                    .header("content-type", "application/json")
                    .header("idempotency-key", key)
                    .body(Body::from(body.to_owned()))
                    .expect("it is valid");
                let (sender, answer) = oneshot::channel();
                // The request belongs to the server: it ends when the server crashes.
                environment.spawn(async move {
                    // The run may have ended.
                    let _ = sender.send(server.post(request).await);
                });
                // The answer may be lost as well.
                let is_lost = self.environment.random_u64().is_multiple_of(8);
                if let Ok((status, answer)) = answer.await {
                    self.trace.log("back end", "←", &format!("{path} {key} {status}"));
                    if status.is_success() && !is_lost {
                        return Some(serde_json::from_slice(&answer).unwrap_or_default());
                    }
                    if status.is_client_error() {
                        self.history.violated(format!("{path} {body}: {status}"));
                        return None;
                    }
                }
            }
            self.environment.sleep(BACK_END_RETRY).await;
        }
    }

    /// Sets the wall clock of all machines ahead, or back.
    pub(crate) fn set_wall_clock(&self, milliseconds: i64) {
        self.executor.set_wall_clock(milliseconds);
    }

    /// Ends all faults that do not end by themselves.
    pub(crate) fn heal(&self) {
        self.offline.lock().clear();
        let running: Vec<_> = self.running.lock().keys().copied().collect();
        running.into_iter().for_each(|number| self.resume(number));
    }
}

/// Returns the name of a server in the trace.
fn server_name(number: usize) -> String {
    format!("server{number}")
}

/// Returns the configuration of the server.
fn builder() -> backwire::server::Builder {
    let rooms = "https://app.example/rooms".parse().expect("it is valid");
    let site = Site::new(rooms, "key".parse().expect("it is valid"));
    let site = Site { user_room_prefix: Some("user_".to_owned()), resources: true, ..site };
    // Pages may be away for hours, and their messages must not expire.
    let site = Site { client_ttl: Some(Duration::from_secs(7 * 24 * 3600)), ..site };
    let editors = Rule(vec![Grant::Owner, Grant::Role("editor".to_owned())]);
    let access = Access {
        owner: Some("owner".to_owned()),
        read: Some(editors.clone()),
        create: Some(Rule(vec![Grant::SignedIn])),
        update: Some(editors.clone()),
        destroy: Some(editors),
        ..Access::default()
    };
    let notes = Model { access, ..Model::default() };
    Server::builder()
        .site("app", site)
        .expect("it is valid")
        .resource("todo", Model::default())
        .expect("it is valid")
        .resource("note", notes)
        .expect("it is valid")
}
