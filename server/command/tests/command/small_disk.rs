//! A full disk. Each server has its own small disk, so these tests need a machine that allows them
//! to mount one. On other machines they fail, and `cargo xtask test` excludes them by the name of
//! this module.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::Process;

/// Mounts a file system in memory, which only the processes of one server see.
const SMALL_DISK: &str = "mount -t tmpfs -o size=24m tmpfs \"$0\" && ";

/// The options of `unshare` that allow a process to mount a file system: in its own user namespace,
/// or as root.
const WAYS: [&str; 2] = ["-rm", "-m"];

/// Returns a command that may mount a file system that no other process sees. The machine must
/// allow that.
fn unshare() -> Command {
    let unshare = |way: &str| {
        let mut unshare = Command::new("unshare");
        unshare.arg(way);
        unshare
    };
    let can_mount = |way: &&str| {
        let mut mount = unshare(way);
        mount.args(["mount", "-t", "tmpfs", "tmpfs"]).arg(std::env::temp_dir());
        mount.output().is_ok_and(|output| output.status.success())
    };
    unshare(WAYS.into_iter().find(can_mount).expect(
        "no small disk can be mounted: `unshare -rm mount` is not allowed, and `unshare -m mount` only to root. Without \
         it this test proves nothing; `cargo xtask test` leaves it out where it is not possible",
    ))
}

/// Starts a server on a small disk, after a script of the shell in `$0`, the folder with the disk.
fn on_small_disk(home: &std::path::Path, before: &str) -> (Process, SocketAddr) {
    let script = format!("{SMALL_DISK} cd \"$0\" && {before} exec \"$@\"");
    let mut command = unshare();
    command.args(["sh", "-c", &script]).arg(home);
    command.args([env!("CARGO_BIN_EXE_backwire"), "serve"]);
    let engine = format!("sqlite:{}", home.join("backwire.db").display());
    let mut process = Process::spawn(&mut command, &engine);
    let line = process.first_line();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

struct Http(reqwest::Client, SocketAddr);

impl Http {
    async fn ask(&self, verb: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.0.request(verb, format!("http://{}{path}", self.1));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn create(&self) -> (u16, Value) {
        self.ask(reqwest::Method::POST, "/todo", json!({ "text": "x".repeat(100_000) })).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(reqwest::Method::GET, path, Value::Null).await
    }

    async fn delete(&self, id: u64) -> u16 {
        self.ask(reqwest::Method::DELETE, &format!("/todo/{id}"), Value::Null).await.0
    }

    async fn health(&self) -> (u16, Value) {
        loop {
            match self.get("/health").await {
                // A good result is cached for a second.
                (200, _) => tokio::task::yield_now().await,
                failed => return failed,
            }
        }
    }

    /// Waits until there is room for a record.
    async fn recovers(&self) {
        while self.create().await.0 != 201 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.get("/health").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_accepts_deletes_until_there_is_room_again() {
    let home = tempfile::tempdir().unwrap();
    let (_process, addr) = on_small_disk(home.path(), "");
    let http = Http(reqwest::Client::new(), addr);
    let mut last = 0;
    let refused = loop {
        match http.create().await {
            (201, record) => last = record["id"].as_u64().unwrap(),
            refused => break refused,
        }
    };
    assert_eq!((refused.0, &refused.1["code"]), (503, &json!("E_DISK_FULL")), "{refused:?}");
    assert_eq!(
        http.health().await,
        (
            503,
            json!({ "status": "the disk is full: only reads, deletes and acknowledgements are accepted" })
        )
    );
    assert_eq!(http.get("/health/live").await.0, 200);
    assert_eq!(http.get("/todo?limit=1").await.0, 200);
    // Deleted records stay in the log for a while, so several deletes are needed to make room.
    for id in 1..=last {
        assert_eq!(http.delete(id).await, 200, "{id} of {last}");
    }
    http.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_starts_on_a_full_disk_and_recovers_without_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let first = "\"$@\" --open-for 1 > /dev/null 2>&1; \
                 dd if=/dev/zero of=filler bs=1k > /dev/null 2>&1;";
    let (process, addr) = on_small_disk(home.path(), first);
    let http = Http(reqwest::Client::new(), addr);
    assert_eq!(
        http.health().await,
        (
            503,
            json!({ "status": "the disk is full: only reads, deletes and acknowledgements are accepted" })
        )
    );
    assert_eq!(http.get("/todo").await, (200, json!([])));
    assert_eq!(http.create().await.0, 503);
    // The disk in the mount namespace of the server.
    let disk = format!("/proc/{}/root{}", process.child.id(), home.path().display());
    std::fs::remove_file(std::path::Path::new(&disk).join("filler")).unwrap();
    http.recovers().await;
}

#[test]
fn start_on_a_full_disk_without_a_reserve_fails_with_instructions_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let script = format!(
        "{SMALL_DISK} cd \"$0\" && \"$@\" --open-for 1 > /dev/null 2>&1; rm backwire.db.reserve; \
         cksum backwire.db; dd if=/dev/zero of=filler bs=1k > /dev/null 2>&1; \"$@\"; cksum backwire.db"
    );
    let mut command = unshare();
    command.args(["sh", "-c", &script]).arg(home.path());
    command.args([env!("CARGO_BIN_EXE_backwire"), "serve", "--port", "0", "--engine"]);
    let output = command.arg("sqlite:backwire.db").output().unwrap();
    let [printed, error] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(error.contains("the disk is full") && error.contains("free some space"), "{error}");
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{printed}");
}
