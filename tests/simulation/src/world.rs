//! The shared state of a run: the server or its absence, the network, the back end of the site, and
//! the truth that everything is compared with.

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
use backwire_checker::world::{Checks, Incoming, World};
use backwire_engine::{Memory, Window};
use backwire_environment::simulation::{Executor, Process};
use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::engine::SimulatedEngine;
use crate::network::{self, Line};
use crate::trace::Trace;

/// How long the back end waits before it repeats a request that was not answered.
const BACK_END_RETRY: Duration = Duration::from_secs(1);

/// The shared state of a run.
pub(crate) struct Network {
    checks: Checks,
    pub(crate) trace: Arc<Trace>,
    executor: Executor,
    limits: Limits,
    running: Mutex<Option<Running>>,
    /// The engine of the last start.
    engine: Mutex<Option<Arc<SimulatedEngine>>>,
    /// The pages that cannot reach the server.
    offline: Mutex<BTreeSet<String>>,
    lines: Mutex<BTreeMap<u64, Weak<network::Shared>>>,
}

/// The limits of a run.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How much of the logs is kept.
    pub(crate) window: Window,
    /// The requests that a connection may have in flight.
    pub(crate) in_flight: usize,
    /// The packets that may wait for a client.
    pub(crate) unread_packets: usize,
    /// The longest time that a step of the disk takes, in milliseconds.
    pub(crate) disk_latency: u64,
}

/// A server that is running.
struct Running {
    process: Process,
    server: Arc<SimulatedServer>,
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
        let running = self.running.lock();
        let server = running.as_ref().map(|running| Arc::clone(&running.server));
        let destination = server.filter(|_| !is_offline);
        let line = Line::open(
            &self.environment,
            &self.trace,
            name,
            to_page,
            (destination, self.limits.unread_packets),
        );
        let mut lines = self.lines.lock();
        lines.retain(|_, line| line.strong_count() > 0);
        let number = lines.last_key_value().map_or(0, |(number, _)| number + 1);
        lines.insert(number, Arc::downgrade(line.shared()));
        line
    }
}

impl Network {
    pub(crate) fn new(executor: &Executor, limits: Limits, is_traced: bool) -> Arc<Self> {
        let environment = executor.process().environment();
        let trace = Arc::new(Trace::new(environment.clone(), is_traced));
        Arc::new(Self {
            trace,
            executor: executor.clone(),
            limits,
            running: Mutex::default(),
            engine: Mutex::default(),
            offline: Mutex::default(),
            lines: Mutex::default(),
            checks: Checks::new(environment),
        })
    }

    pub(crate) fn set_offline(&self, name: &str, is_offline: bool) {
        let mut offline = self.offline.lock();
        if is_offline {
            offline.insert(name.to_owned());
        } else {
            offline.remove(name);
        }
    }

    /// Starts the server, unless it is running, on what the former one has left.
    pub(crate) async fn start(self: &Arc<Self>) {
        if self.running.lock().is_some() {
            return;
        }
        let process = self.executor.process();
        let environment = process.environment();
        let (tail, changes) = changes();
        let former = self.engine.lock().clone();
        let engine = Arc::new(match former {
            Some(engine) => engine.reopen(environment.clone(), tail),
            None => {
                let memory = Memory::in_environment(environment.clone(), self.limits.window, tail);
                SimulatedEngine::new(
                    memory,
                    Arc::clone(&self.history),
                    environment.clone(),
                    self.limits.disk_latency,
                )
            }
        });
        *self.engine.lock() = Some(Arc::clone(&engine));
        let others = self.back_end();
        let builder = builder().in_flight(self.limits.in_flight);
        let server = SimulatedServer::start(environment, builder, engine, changes, others).await;
        match server {
            Ok(server) => {
                *self.running.lock() = Some(Running { process, server: Arc::new(server) });
                self.trace.log("server", "·", "started");
            }
            Err(error) => self.history.violated(format!("the server did not start: {error}")),
        }
    }

    /// Ends the server at once, as a power cut does. Its disk keeps what was committed.
    pub(crate) fn crash(&self) {
        let Some(Running { process, server }) = self.running.lock().take() else { return };
        self.trace.log("server", "·", "crashed");
        let lines: Vec<_> = self.lines.lock().values().filter_map(Weak::upgrade).collect();
        lines.iter().for_each(|line| line.cut());
        process.kill();
        drop(server);
    }

    /// Shuts the server down and starts it again.
    pub(crate) async fn restart(self: &Arc<Self>) {
        let server = self.running.lock().as_ref().map(|running| Arc::clone(&running.server));
        if let Some(server) = server {
            self.trace.log("server", "·", "shuts down");
            server.drain(Duration::from_millis(500), Duration::from_secs(5)).await;
            self.crash();
        }
        self.start().await;
    }

    /// Lets the disk of the server fail for a time.
    pub(crate) fn fail_disk(&self, time: Duration) {
        if let Some(engine) = &*self.engine.lock() {
            engine.fail(time);
        }
    }

    /// Returns what answers the requests of the server to the back end.
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

    /// Sends a request of the back end until it is answered with 200.
    pub(crate) async fn post(self: &Arc<Self>, path: &str, body: &str, key: &str) {
        loop {
            let process_of = |it: &Running| (Arc::clone(&it.server), it.process.environment());
            let running = self.running.lock().as_ref().map(process_of);
            if let Some((server, environment)) = running {
                let request = Request::post(format!("{path}?apiKey=key&site=app"))
                    .header("content-type", "application/json")
                    .header("idempotency-key", key)
                    .body(Body::from(body.to_owned()))
                    .expect("it is valid");
                let (sender, answer) = oneshot::channel();
                // The request belongs to the server: it ends when the server crashes.
                environment.spawn(async move {
                    let (status, _) = server.post(request).await;
                    // The run may have ended.
                    let _ = sender.send(status);
                });
                // The answer may be lost as well.
                let is_lost = self.environment.random_u64().is_multiple_of(8);
                if let Ok(status) = answer.await {
                    self.trace.log("back end", "←", &format!("{path} {key} {status}"));
                    if status.is_success() && !is_lost {
                        return;
                    }
                    if status.is_client_error() {
                        return self.history.violated(format!("{path} {body}: {status}"));
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

    /// Heals all faults that do not end by themselves.
    pub(crate) fn heal(&self) {
        self.offline.lock().clear();
    }
}

/// Returns the configuration of the server.
fn builder() -> backwire::server::Builder {
    let rooms = "https://app.example/rooms".parse().expect("it is valid");
    let site = Site::new(rooms, "key".parse().expect("it is valid"));
    let site = Site { user_room_prefix: Some("user_".to_owned()), resources: true, ..site };
    // The pages are away for hours.
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
