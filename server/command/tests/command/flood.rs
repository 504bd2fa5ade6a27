//! The memory that one client can make a server use. The server is a separate process, so that the
//! tests can measure its memory. It must answer other clients in the meantime.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Socket, Stream};
use crate::polling::poll;

/// The number of events of one kilobyte. If the server kept them, they would use 100 megabytes.
const EVENTS: usize = 100_000;

/// The maximum growth of the memory in bytes. Most of it is kept by sockets and the allocator.
const MAX_GROWTH: usize = 40 << 20;

/// `backwire serve` with a store on disk, where each commit takes some time.
struct Process {
    child: Child,
    addr: SocketAddr,
    _home: TempDir,
}

impl Process {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = format!("sqlite:{}", home.path().join("backwire.db").display());
        // The clients of these tests do not answer pings.
        let config = home.path().join("config.yml");
        std::fs::write(&config, "io: {pingTimeout: 600000}\n").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_backwire"))
            .args(["serve", "--port", "0", "--engine", &engine, "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit_once(':').unwrap().1.parse().unwrap();
        Self { child, addr: ([127, 0, 0, 1], port).into(), _home: home }
    }

    /// Returns the peak memory in bytes.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// Returns the current memory in bytes.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// Returns the number of open sockets.
    fn sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let opened = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        opened.filter(|opened| opened.to_string_lossy().starts_with("socket:")).count()
    }

    /// Kills the process, and returns its log.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has ended already if the test has passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends events as fast as the connection accepts them, until it is closed.
async fn flood(mut sink: SplitSink<Stream, Message>) {
    let data = json!({ "title": "x".repeat(1000) });
    for number in 0..EVENTS {
        let request = format!(r#"42{number}["post",{{"url":"/flood","data":{data}}}]"#);
        if sink.feed(Message::text(request)).await.is_err() {
            return;
        }
    }
    let _ = sink.flush().await;
}

/// Counts the answers with 201 and 429, until all are answered or the connection is closed.
async fn count(mut stream: SplitStream<Stream>) -> [usize; 2] {
    let mut counts = [0, 0];
    while counts.iter().sum::<usize>() < EVENTS
        && let Some(Ok(Message::Text(frame))) = stream.next().await
    {
        let Some((_, ack)) = frame.strip_prefix("43").and_then(|ack| ack.split_once('[')) else {
            continue;
        };
        let ack: Value = serde_json::from_str(ack.strip_suffix(']').unwrap()).unwrap();
        match ack["statusCode"].as_u64() {
            Some(201) => counts[0] += 1,
            Some(429) => counts[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    counts
}

/// Sends requests until a task is finished, and checks that each is answered.
async fn asks_until_done<T>(socket: &mut Socket, task: tokio::task::JoinHandle<T>) -> T {
    while !task.is_finished() {
        assert_eq!(socket.get("/todo/1").await["statusCode"], 404);
    }
    task.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_with_100_000_events_in_flight_uses_bounded_memory_and_gets_429() {
    let process = Process::start();
    let (mut other, greedy) =
        tokio::join!(Socket::runtime_at(process.addr), Socket::runtime_at(process.addr),);
    let before = process.peak();
    let (sink, stream) = greedy.into_stream().split();
    tokio::spawn(flood(sink));
    let [done, refused] = asks_until_done(&mut other, tokio::spawn(count(stream))).await;
    let grown = process.peak() - before;
    assert!(grown < MAX_GROWTH, "it took {grown} bytes more");
    // A client that does not read all refusals in time is disconnected after those that it has
    // read.
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    assert!(!process.end().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_does_not_read_its_answers_is_disconnected_by_the_server() {
    let process = Process::start();
    let mut other = Socket::runtime_at(process.addr).await;
    let sockets = process.sockets();
    let greedy: Stream = Socket::runtime_at(process.addr).await.into_stream();
    assert_eq!(process.sockets(), sockets + 1);
    let before = process.peak();
    let (sink, mut stream) = greedy.split();
    let flood = tokio::spawn(flood(sink));
    // The kernel of the client may need minutes to notice that nobody reads its data.
    let mut asked = 0;
    while process.sockets() > sockets {
        assert_eq!(other.get("/todo/1").await["statusCode"], 404);
        asked += 1;
        assert!(asked < EVENTS, "it is still connected");
    }
    flood.abort();
    let mut answers = 0;
    while let Some(Ok(Message::Text(_))) = stream.next().await {
        answers += 1;
    }
    assert!(answers < EVENTS, "it is ended before all is answered");
    let grown = process.peak() - before;
    assert!(grown < MAX_GROWTH, "it took {grown} bytes more");
    assert!(!process.end().contains("panicked"));
}

/// Sends 8 writes of 900 KB at once, and returns the statuses of the answers.
async fn write_much(addr: SocketAddr) -> Vec<String> {
    let (mut sink, mut stream) = Socket::runtime_at(addr).await.into_stream().split();
    let data = json!({ "title": "x".repeat(900_000) });
    let write = async move {
        for number in 0..8 {
            let request = format!(r#"42{number}["post",{{"url":"/flood","data":{data}}}]"#);
            sink.send(Message::text(request)).await.unwrap();
        }
        sink
    };
    let read = async {
        let mut statuses = Vec::new();
        while statuses.len() < 8
            && let Some(Ok(Message::Text(frame))) = stream.next().await
        {
            statuses.extend(status_in(&frame));
        }
        statuses
    };
    tokio::join!(write, read).1
}

/// Returns the status in an ack. Parsing a whole large ack takes too long.
fn status_in(frame: &str) -> Option<String> {
    const NAME: &str = r#""statusCode":"#;
    let ack = frame.strip_prefix("43")?;
    let place = ack.rfind(NAME)? + NAME.len();
    Some(ack[place..place + 3].to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_connections_with_large_writes_use_bounded_memory_and_release_it() {
    let process = Process::start();
    let mut other = Socket::runtime_at(process.addr).await;
    let before = process.peak();
    let addr = process.addr;
    let writers = tokio::spawn(async move { join_all((0..10).map(|_| write_much(addr))).await });
    let statuses = asks_until_done(&mut other, writers).await.concat();
    assert_eq!(statuses.len(), 10 * 8);
    assert!(statuses.iter().all(|it| ["201", "429", "503"].contains(&&**it)), "{statuses:?}");
    assert!(statuses.iter().any(|status| status == "201"));
    let grown = process.peak() - before;
    println!("the peak is {grown} bytes higher");
    assert!(grown < 3 * MAX_GROWTH, "it took {grown} bytes more");
    let has_released = async || {
        assert_eq!(other.get("/todo/1").await["statusCode"], 404);
        (process.memory() <= before + MAX_GROWTH).then_some(())
    };
    poll("the memory is released", Duration::from_secs(60), has_released).await;
}
