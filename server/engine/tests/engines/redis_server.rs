//! A real `redis-server` for the tests: one per process, on a free port, with data in a temporary
//! folder.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::polling::poll_blocking;

/// The maximum time until a server accepts connections.
const START: Duration = Duration::from_secs(20);

/// The same for one attempt. It is in vain if another process has taken the port.
const ATTEMPT: Duration = Duration::from_secs(4);

/// Starts Redis, and kills it when the test process is gone: its end of the pipe is closed then.
const GUARD: &str = r#"redis-server "$@" & server=$!; read -r line; kill -9 "$server""#;

/// A Redis server, which ends when this is dropped or the process ends.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    guard: Child,
    pipe: Option<ChildStdin>,
    pub(crate) folder: TempDir,
    options: Vec<String>,
}

impl RedisServer {
    /// Starts a server with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let options = options.iter().map(|it| (*it).to_owned()).collect();
        Self::start_in(tempfile::tempdir().unwrap(), options)
    }

    /// Starts a sentinel with these lines of configuration.
    pub(crate) fn start_sentinel(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, lines).unwrap();
        let options = [file.to_str().unwrap(), "--sentinel"];
        Self::start_in(folder, options.map(str::to_owned).into())
    }

    fn start_in(folder: TempDir, options: Vec<String>) -> Self {
        // Another process may take the free port before Redis does.
        for _ in 0..10 {
            let port = free_port();
            let mut guard = spawn(port, folder.path(), &options);
            let pipe = guard.stdin.take();
            if accepts(port, &mut guard) {
                return Self { port, guard, pipe, folder, options };
            }
            drop(pipe);
            guard.wait().unwrap();
        }
        panic!("redis-server does not start; its log is above")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server.
    pub(crate) fn stop(&mut self) {
        drop(self.pipe.take());
        self.guard.wait().unwrap();
    }

    /// Starts the server again on its port with its data.
    pub(crate) fn restart(&mut self) {
        let begin = Instant::now();
        loop {
            self.stop();
            repair(self.folder.path());
            self.guard = spawn(self.port, self.folder.path(), &self.options);
            self.pipe = self.guard.stdin.take();
            if accepts(self.port, &mut self.guard) {
                return;
            }
            assert!(begin.elapsed() < START, "redis-server does not start again");
        }
    }

    /// Runs a command and returns the first bytes of its reply.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.command_as(None, words)
    }

    /// The same with a password.
    pub(crate) fn command_as(&self, password: Option<&str>, words: &[&str]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        if let Some(password) = password {
            assert_eq!(exchange(&mut stream, &["AUTH", password]), "+OK\r\n");
        }
        exchange(&mut stream, words)
    }
}

/// Runs a command and returns the first bytes of its reply.
fn exchange(stream: &mut TcpStream, words: &[&str]) -> String {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    std::io::Write::write_all(stream, request.as_bytes()).unwrap();
    let mut reply = vec![0; 64 << 10];
    let length = stream.read(&mut reply).unwrap();
    String::from_utf8_lossy(&reply[..length]).into_owned()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the server that all tests of the process share.
pub(crate) fn shared() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(|| RedisServer::start(&["--save", ""]))
}

/// Returns a prefix for keys that no other test uses.
pub(crate) fn unused_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}:{{main}}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Removes a transaction of which a killed server has written only a part. Redis itself removes
/// only the command that is cut in the middle. The other commands of the transaction would have
/// their effect at the start after the next one, after those of later transactions.
fn repair(folder: &Path) {
    let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
    if !manifest.exists() {
        return;
    }
    let mut repair = Command::new("redis-check-aof")
        .arg("--fix")
        .arg(manifest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It asks only if it removes something, and has ended otherwise.
    let _ = repair.stdin.take().unwrap().write_all(b"y\n");
    let output = repair.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn spawn(port: u16, folder: &Path, options: &[String]) -> Child {
    let version = Command::new("redis-server").arg("--version").output();
    assert!(
        version.is_ok_and(|version| version.status.success()),
        "the tests of the Redis engine need redis-server: run `apt-get install redis-server`, or install \
         Redis 7 or later in another way"
    );
    // A file of configuration comes first.
    let has_file = options.first().is_some_and(|option| !option.starts_with("--"));
    let (file, options) = options.split_at(usize::from(has_file));
    Command::new("sh")
        .args(["-c", GUARD, "sh"])
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(folder)
        .args(["--loglevel", "warning"])
        .args(options)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a server accepts connections. Returns `false` if it does not.
fn accepts(port: u16, guard: &mut Child) -> bool {
    let begin = Instant::now();
    poll_blocking("Redis answers, or has ended", START, || {
        let has_ended = guard.try_wait().unwrap().is_some() || begin.elapsed() >= ATTEMPT;
        let answers = is_redis(port);
        (answers || has_ended).then_some(answers)
    })
}

/// Whether Redis answers at this port. A connection alone does not show that: if nobody listens, it
/// may be one to itself.
fn is_redis(port: u16) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 16];
        let length = stream.read(&mut answer)?;
        io::Result::Ok(answer[..length].to_vec())
    };
    answer().is_ok_and(|it| it.starts_with(b"+PONG") || it.starts_with(b"-"))
}
