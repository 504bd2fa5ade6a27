//! `cargo xtask cluster`: the todo app, served by three servers that share a Redis.

mod balancer;
mod redis;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::command::program;
use crate::output::{self, print_line};
use crate::requirements::{REDIS, Requirement};
use crate::server::{Event, Server};
use crate::workspace::{Profile, Workspace};
use crate::{build, demo_site};
use balancer::Balancer;
use redis::Redis;

/// The requirements of the command.
pub(crate) const REQUIREMENTS: &[&[Requirement]] = &[build::RUNTIME, build::SERVER, &[REDIS]];

/// The number of servers.
const NODES: u8 = 3;

/// How long a server may take to stop.
const SHUTDOWN_TIME: &str = "4s";

/// Build everything and serve the todo app by three servers that share a Redis, until Ctrl-C.
///
/// Open the printed address in two browsers, and kill a server with the printed command: a change
/// in one browser still appears in the other.
#[derive(Args)]
pub(crate) struct Cluster {
    /// Port to listen on, on this machine only; 0 takes any free port
    #[arg(long, default_value_t = 1337)]
    port: u16,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    open_for: Option<u64>,
}

/// Servers that share a Redis, behind a balancer.
struct Nodes {
    servers: Vec<Server>,
    balancer: Balancer,
    redis: Redis,
}

impl Cluster {
    /// Runs the command.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        build::runtime(workspace)?;
        build::server(workspace, Profile::Release)?;
        demo_site::assemble(workspace)?;
        let folder = workspace.scratch().join("cluster");
        let pages = workspace.demo_site();
        let nodes = Nodes::start(workspace, Profile::Release, &pages, &folder, self.port)?;
        let senders = nodes.senders();
        ctrlc::set_handler(move || {
            for sender in &senders {
                let _ = sender.send(Event::Interrupted);
            }
        })?;
        let mut description = Vec::new();
        nodes.describe(&mut description)?;
        output::write(&description)?;
        nodes.wait(self.open_for.map(Duration::from_secs))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Nodes {
    /// Starts Redis, the servers and the balancer. Their files are in a folder, which is created.
    fn start(
        workspace: &Workspace,
        profile: Profile,
        pages: &Path,
        folder: &Path,
        port: u16,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let redis = Redis::start(folder)?;
        let mut servers = Vec::new();
        for number in 1..=NODES {
            let config = folder.join(format!("node-{number}.yml"));
            fs::write(&config, format!("flakeid: {{worker: {number}}}\n"))?;
            let mut serve = program(workspace, workspace.server(profile));
            serve.args(["serve", "--port", "0", "--engine", &redis.url(), "--config"]).arg(config);
            serve.args(["--shutdown-time", SHUTDOWN_TIME]).arg("--static").arg(pages);
            let log = fs::File::create(folder.join(format!("node-{number}.log")))?;
            let server = Server::start(&mut serve, log).with_context(|| {
                format!("node {number} did not start; its log is in {}", folder.display())
            })?;
            servers.push(server);
        }
        let addresses = servers.iter().map(address).collect::<Result<Vec<_>>>()?;
        let balancer = Balancer::start(port, addresses)?;
        Ok(Self { servers, balancer, redis })
    }

    fn senders(&self) -> Vec<Sender<Event>> {
        self.servers.iter().map(Server::sender).collect()
    }

    /// Prints the addresses and the processes, and what to try.
    fn describe(&self, output: &mut impl Write) -> Result<()> {
        writeln!(output, "\n  Open {} in two browsers.\n", self.url())?;
        for (server, number) in self.servers.iter().zip(1..) {
            let (origin, id) = (server.origin(), server.id());
            writeln!(output, "  node {number}   {origin}   process {id}   kill -9 {id}")?;
        }
        writeln!(output, "  redis    {}   process {}\n", self.redis.url(), self.redis.id())?;
        writeln!(
            output,
            "  Kill a node (`kill -9` at once, `kill` with a graceful shutdown): its pages reconnect to \
             another one.\n  Ctrl-C ends all.\n"
        )?;
        Ok(())
    }

    /// Returns the address of the balancer.
    fn url(&self) -> String {
        format!("http://localhost:{}", self.balancer.port())
    }

    /// Waits until the servers are interrupted, or for as long as given, and stops them. A server
    /// that ends before is reported.
    fn wait(self, limit: Option<Duration>) -> Result<()> {
        let Self { servers, balancer, redis } = self;
        let watching: Vec<_> = servers
            .into_iter()
            .zip(1..)
            .map(|(server, number)| {
                thread::spawn(move || match server.next_event(limit) {
                    Some(Event::Ended) => {
                        print_line(format_args!("  node {number} has ended; the others go on"))?;
                        Ok(())
                    }
                    _ => server.stop(),
                })
            })
            .collect();
        let outcomes = watching.into_iter().map(|it| it.join().expect("the thread cannot panic"));
        let outcome = outcomes.collect::<Result<Vec<()>>>();
        drop((balancer, redis));
        outcome.map(drop)
    }
}

fn address(server: &Server) -> Result<SocketAddr> {
    let origin = server.origin();
    let (_, port) = origin.rsplit_once(':').context("a server has no port")?;
    Ok(([127, 0, 0, 1], port.parse()?).into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    /// Sends a request and returns the whole answer.
    fn request(port: u16, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "{head} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn cluster_serves_the_demo_from_all_nodes_and_goes_on_without_a_killed_one() {
        let workspace = Workspace::find();
        // Tests of the whole workspace have built the server; another build would take minutes.
        if !workspace.server(Profile::Debug).exists() {
            build::server(&workspace, Profile::Debug).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let nodes =
            Nodes::start(&workspace, Profile::Debug, &workspace.demo(), folder.path(), 0).unwrap();
        let port = nodes.balancer.port();
        let node_ports: Vec<_> =
            nodes.servers.iter().map(|it| address(it).unwrap().port()).collect();
        for node in &node_ports {
            assert!(request(*node, "GET /", "").contains("<html"), "node {node}");
        }
        let created = request(node_ports[0], "POST /todo", r#"{"title":"Milk"}"#);
        assert!(created.starts_with("HTTP/1.1 201 "), "{created}");
        assert!(request(node_ports[1], "GET /todo", "").contains("Milk"));
        let mut described = Vec::new();
        nodes.describe(&mut described).unwrap();
        let described = String::from_utf8(described).unwrap();
        for server in &nodes.servers {
            assert!(described.contains(&format!("kill -9 {}", server.id())), "{described}");
        }
        let killed = Pid::from_raw(nodes.servers[1].id().cast_signed());
        kill(killed, Signal::SIGKILL).unwrap();
        assert_eq!(nodes.servers[1].next_event(None), Some(Event::Ended));
        // Each connection goes to another node, and none to the killed one.
        for number in 0..6 {
            let created = request(port, "POST /todo", &format!(r#"{{"title":"n{number}"}}"#));
            assert!(created.starts_with("HTTP/1.1 201 "), "{created}");
        }
        let list = request(port, "GET /todo", "");
        assert!((0..6).all(|number| list.contains(&format!("n{number}"))), "{list}");
        for sender in nodes.senders() {
            sender.send(Event::Interrupted).unwrap();
        }
        nodes.wait(None).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
