//! Runs of the simulated server with clients that the tests direct.

mod network;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::routing::{get, post};
use backwire_engine::{Environment, Memory, Window};
use backwire_environment::simulation::Executor;
use backwire_protocol::wire::{AUTH_VERSION, VERSION};
use futures_util::future::BoxFuture;
use http::{Request, Response};

use super::{OtherServers, SimulatedServer};
use crate::sites::Site;
use crate::socket::Sockets;
use crate::socket::adapter::Adapter;
use crate::{Server, Session};
use network::{Network, Peer};

/// How long a session is kept without a request.
const SESSION_AGE: Duration = Duration::from_secs(3600);

/// A server and its network.
struct Simulation {
    network: Network,
    environment: Environment,
    server: Arc<SimulatedServer>,
}

/// Returns the back end of a site: each token is for a person of that name.
fn back_end(network: Network) -> OtherServers {
    Arc::new(move |request| {
        let network = network.clone();
        Box::pin(async move {
            network.latency().await;
            let header = request.headers()["authorization"].to_str().unwrap().to_owned();
            network.log(&format!("authUrl {header}"));
            Some(Response::new(r#"["user_1","staff"]"#.into()))
        })
    })
}

impl Simulation {
    async fn start(environment: Environment) -> Self {
        let network = Network::new(environment.clone());
        let shop = Site::new("https://shop.example/rooms".parse().unwrap(), "key".parse().unwrap());
        let shop = Site { user_room_prefix: Some("user_".to_owned()), ..shop };
        let slow = environment.clone();
        let answer_slowly = async move || slow.sleep(Duration::from_secs(1)).await;
        let builder = Server::builder()
            .site("shop", shop)
            .unwrap()
            .session_age(SESSION_AGE)
            .route("/session", get(read_session).post(write_session))
            .route("/slow", post(answer_slowly));
        let (tail, changes) = super::changes();
        let engine = Memory::in_environment(environment.clone(), Window::default(), tail);
        let others = back_end(network.clone());
        let server =
            SimulatedServer::start(environment.clone(), builder, Arc::new(engine), changes, others);
        Self { network, server: Arc::new(server.await.unwrap()), environment }
    }

    async fn connect_to(
        &self,
        name: &str,
        namespace: &str,
        url: &str,
        auth: Option<&str>,
    ) -> Result<Peer, String> {
        self.network.connect(&self.server, name, namespace, url, auth).await
    }

    async fn connect(&self, name: &str, namespace: &str, auth: Option<&str>) -> Peer {
        self.connect_to(name, namespace, "/socket.io/", auth).await.unwrap()
    }

    async fn sails(&self, name: &str) -> Peer {
        self.connect(name, "/", None).await
    }

    async fn runtime(&self, name: &str) -> Peer {
        let auth = format!(r#"{{"{AUTH_VERSION}":{VERSION}}}"#);
        self.connect(name, "/", Some(&auth)).await
    }

    fn sockets(&self) -> &Sockets {
        &self.server.logic.shared.sockets
    }

    /// Sends a message of the back end to a person.
    async fn send(&self, event: &str) {
        let message = format!(r#"{{"rooms":["user_1"],"event":"{event}","args":[1]}}"#);
        let request = Request::post("/send?apiKey=key&site=shop")
            .header("content-type", "application/json")
            .body(Body::from(message))
            .unwrap();
        let (status, _) = self.server.post(request).await;
        assert_eq!(status, 200);
    }
}

async fn write_session(session: Session) -> Result<(), crate::Error> {
    session.insert("name", "Amanda")
}

async fn read_session(session: Session) -> Result<String, crate::Error> {
    Ok(format!("{:?}", session.get::<String>("name").await?))
}

/// Two clients follow the todos that two others write at the same time.
async fn write_and_follow(server: &Simulation) {
    let (mut ann, mut bob) = (server.sails("ann").await, server.runtime("bob").await);
    ann.ask(r#"["get",{"url":"/todo"}]"#).await;
    bob.ask(r#"["get",{"url":"/todo"}]"#).await;
    // The order in which these receive one change is that of a hash map.
    for number in 0..4 {
        bob.ask(&format!(
            r#"["get",{{"url":"/todo","data":{{"where":{{"title":{{"!":{number}}}}}}}}}]"#
        ))
        .await;
    }
    let mut writing = Vec::new();
    for name in ["carol", "dave"] {
        let mut writer = server.sails(name).await;
        let create = format!(r#"["post",{{"url":"/todo","data":{{"title":"{name}"}}}}]"#);
        writing.push(server.environment.spawn_with_handle(async move {
            writer.send(&create);
            writer.send(&create);
            writer.ask(r#"["put",{"url":"/todo/1","data":{"done":true}}]"#).await;
            writer.ask(r#"["delete",{"url":"/todo/2"}]"#).await;
        }));
    }
    for task in writing {
        task.await;
    }
    // Four creates, an update, or two, and a destroy.
    for _ in 0..6 {
        ann.next().await;
    }
    bob.next().await;
    server.environment.sleep(Duration::from_secs(1)).await;
}

/// A device is away, comes back, does not ack its batch, and acks a later message.
async fn deliver(server: &Simulation) {
    let url = "/socket.io/?token=secret";
    server.connect_to("eve", "/shop", url, None).await.unwrap().close();
    server.environment.sleep(Duration::from_secs(60)).await;
    server.send("first").await;
    let mut eve = server.connect_to("eve", "/shop", url, None).await.unwrap();
    let batch = eve.next().await;
    assert!(batch.contains("first"), "{batch}");
    server.send("second").await;
    let second = eve.next().await;
    assert!(second.contains("second"), "{second}");
    eve.ack(&second);
    eve.ack(&batch);
    server.environment.sleep(Duration::from_secs(1)).await;
    eve.close();
    let mut eve = server.connect_to("eve", "/shop", url, None).await.unwrap();
    server.send("third").await;
    let third = eve.next().await;
    assert!(third.contains("third"), "{third}");
}

/// Twenty clients are drained within a second.
async fn drain(server: &Simulation) {
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(server.runtime(&format!("client-{number}")).await);
    }
    let connected = || server.server.adapter.all_sockets().len();
    let before = connected();
    let (environment, sockets) = (server.environment.clone(), server.sockets().clone());
    let begin = environment.now();
    let draining = environment.spawn_with_handle({
        let environment = environment.clone();
        async move {
            sockets.drain(&environment, Duration::from_secs(1), Duration::from_secs(5)).await;
        }
    });
    environment.sleep(Duration::from_millis(500)).await;
    let half = connected();
    assert!((before / 3..before).contains(&half), "{half} of {before} after half of the time");
    draining.await;
    assert_eq!(connected(), 0);
    let took = environment.now() - begin;
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(2), "{took:?}");
}

/// Requests that arrived before the end of their connection are answered, and no later ones begin.
async fn answer_and_drain(server: &Simulation) {
    let mut client = server.runtime("grace").await;
    let create = r#"["post",{"url":"/slow"}]"#;
    let expected = client.send(create);
    // It has arrived after the longest latency, and is answered a second later.
    server.environment.sleep(Duration::from_millis(100)).await;
    let sockets = server.sockets().clone();
    let grace = Duration::from_secs(5);
    let environment = server.environment.clone();
    let draining = server.environment.spawn_with_handle(async move {
        sockets.drain(&environment, Duration::ZERO, grace).await;
    });
    server.environment.sleep(Duration::from_millis(100)).await;
    let late = client.send(create);
    draining.await;
    server.environment.sleep(Duration::from_secs(5)).await;
    let trace = server.network.trace();
    assert!(trace.contains(&format!("grace {expected}")), "{trace}");
    assert!(!trace.contains(&format!("grace {late}")), "{trace}");
}

/// Events of other servers were missed, and a revocation may be among them.
async fn recheck(server: &Simulation) {
    let service = &server.server.logic.delivery_service;
    service.use_events();
    let asked = || server.network.trace().matches("authUrl").count();
    let _eve = server.connect_to("eve", "/shop", "/socket.io/?token=secret", None).await;
    server.environment.sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked(), 1);
    service.recheck_all();
    server.environment.sleep(Duration::from_secs(31)).await;
    assert_eq!(asked(), 2);
    server.environment.sleep(Duration::from_secs(3600)).await;
    assert_eq!(asked(), 2);
}

/// A session ends when it was not used for as long as it may be.
async fn expire(server: &Simulation) {
    let mut client = server.sails("frank").await;
    client.ask(r#"["post",{"url":"/session"}]"#).await;
    server.environment.sleep(SESSION_AGE / 2).await;
    assert!(client.ask(r#"["get",{"url":"/session"}]"#).await.contains("Amanda"));
    server.environment.sleep(SESSION_AGE * 2).await;
    assert!(client.ask(r#"["get",{"url":"/session"}]"#).await.contains("None"));
}

/// Runs a story and returns what all clients have received.
fn run(seed: u64, story: for<'s> fn(&'s Simulation) -> BoxFuture<'s, ()>) -> String {
    println!("seed {seed}");
    let executor = Executor::new(seed);
    let environment = executor.process().environment();
    executor.run(async move {
        let server = Simulation::start(environment).await;
        story(&server).await;
        server.network.trace()
    })
}

fn trace(seed: u64) -> String {
    run(seed, |server| {
        Box::pin(async {
            write_and_follow(server).await;
            deliver(server).await;
            expire(server).await;
        })
    })
}

#[test]
fn connections_of_a_drained_server_end_spread_over_the_time() {
    run(rand::random(), |server| Box::pin(drain(server)));
}

#[test]
fn back_end_is_asked_about_each_client_again_after_events_were_missed() {
    run(rand::random(), |server| Box::pin(recheck(server)));
}

#[test]
fn drained_connection_ends_when_its_requests_are_answered_and_begins_no_others() {
    run(rand::random(), |server| Box::pin(answer_and_drain(server)));
}

#[test]
fn runs_with_one_seed_are_the_same_and_other_seeds_have_other_interleavings() {
    let first: u64 = rand::random();
    let traces = [0, 1, 2, 3, 4, 5, 6, 7].map(|index| {
        let seed = first.wrapping_add(index);
        let run = trace(seed);
        assert_eq!(run, trace(seed), "seed {seed}");
        without_times(&run)
    });
    println!("{}", trace(first));
    let different: std::collections::BTreeSet<_> = traces.iter().collect();
    assert!(different.len() > 1, "seeds from {first}");
}

/// Returns the names of the clients in the order in which they received packets.
fn without_times(trace: &str) -> Vec<String> {
    let names = trace.lines().filter_map(|line| line.split(' ').nth(1));
    names.map(str::to_owned).collect()
}
