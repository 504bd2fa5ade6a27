//! The clients of a run: Backwire's, and npm's `socket.io-client` in a process of Node.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use backwire_client_native::{Client, Event, Events, Verb};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::journal::{Journal, now};
use crate::peer::{Kind, Programs};

/// Connected clients, which end when this is dropped.
pub(crate) struct Clients {
    _tasks: JoinSet<Result<()>>,
    _node: Option<Child>,
}

impl Clients {
    /// Connects a client by each of these ports, and reads the resource.
    pub(crate) async fn connect(
        programs: &Programs,
        kind: Kind,
        ports: Vec<u16>,
        journal: &Arc<Journal>,
    ) -> Result<Self> {
        match kind {
            Kind::Backwire => connect_ours(ports, journal).await,
            _ => connect_npms(programs, &ports, journal).await,
        }
    }
}

async fn connect_ours(ports: Vec<u16>, journal: &Arc<Journal>) -> Result<Clients> {
    let mut tasks = JoinSet::new();
    for (number, port) in ports.into_iter().enumerate() {
        let (client, events) = Client::connect(&format!("ws://127.0.0.1:{port}"));
        let reply = client.request(Verb::Get, "/todo", None).await;
        ensure!(reply.status == 200, "a read was answered with {}", reply.status);
        tasks.spawn(follow(number, client, events, Arc::clone(journal)));
    }
    Ok(Clients { _tasks: tasks, _node: None })
}

async fn follow(
    number: usize,
    client: Client,
    mut events: Events,
    journal: Arc<Journal>,
) -> Result<()> {
    while let Some(event) = events.next().await {
        match event {
            Event::Changes(delivery) => {
                let time = now();
                for change in &delivery.changes {
                    let change =
                        change[3]["number"].as_u64().context("each change has a number")?;
                    journal.received(number, usize::try_from(change)?, time);
                }
            }
            Event::Resumed(resumed) => journal.resumed(number, resumed.count),
            Event::Refresh(_) => {
                journal.read_again(number);
                client.request(Verb::Get, "/todo", None).await;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn connect_npms(
    programs: &Programs,
    ports: &[u16],
    journal: &Arc<Journal>,
) -> Result<Clients> {
    let mut node = Command::new("node");
    node.arg(&programs.clients).env("NODE_ENV", "production");
    node.args(ports.iter().map(u16::to_string));
    let mut node = node.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = node.stdout.take().context("it has been piped")?;
    let mut lines = BufReader::new(output).lines();
    let line = lines.next_line().await?;
    ensure!(line.as_deref() == Some("ready"), "the clients do not connect: {line:?}");
    let mut tasks = JoinSet::new();
    tasks.spawn(read(lines, Arc::clone(journal)));
    Ok(Clients { _tasks: tasks, _node: Some(node) })
}

/// Reads what the clients have received: `client change time`, or `client again`.
async fn read(mut lines: Lines<BufReader<ChildStdout>>, journal: Arc<Journal>) -> Result<()> {
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split(' ');
        let mut next = || words.next().with_context(|| format!("unexpected line {line:?}"));
        let (client, what) = (next()?.parse()?, next()?);
        if what == "again" {
            journal.read_again(client);
        } else {
            journal.received(client, what.parse()?, next()?.parse()?);
        }
    }
    Ok(())
}
