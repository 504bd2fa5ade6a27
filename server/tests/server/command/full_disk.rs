//! A database file that cannot grow, as on a full disk.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::Process;

/// Starts `backwire serve`, whose files may have this many bytes.
fn limited(bytes: usize, engine: &str) -> (Process, SocketAddr) {
    // POSIX counts blocks of 512 bytes, which is what `sh` does. Without the trap the signal would
    // end the server, where a full disk is an error.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 512);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_backwire"), "serve"]);
    let mut process = Process::spawn(&mut command, engine);
    let line = process.told();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_a_503_once_the_disk_is_full_and_the_process_is_live() {
    let home = tempfile::tempdir().unwrap();
    let engine = format!("sqlite:{}", home.path().join("backwire.db").display());
    let (_process, addr) = limited(2 << 20, &engine);
    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let answer = http.get(format!("http://{addr}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(get("/health").await.0, 200);
    let create = async |bytes: usize| {
        let todo = json!({ "text": "x".repeat(bytes) });
        http.post(format!("http://{addr}/todo")).json(&todo).send().await.unwrap().status()
    };
    for bytes in [100_000, 1000, 1] {
        while create(bytes).await == 201 {}
    }
    // A check needs less room than a record, and a good report is repeated for a second.
    let failed = loop {
        match get("/health").await {
            (200, _) => tokio::task::yield_now().await,
            failed => break failed,
        }
    };
    assert_eq!(failed, (503, json!({ "status": "the engine cannot write" })));
    assert_eq!(get("/health/live").await, (200, json!({ "status": "ok" })));
    assert_eq!(get("/todo?limit=1").await.0, 200);
}

/// A disk of its own for each server: a file system in memory, which only the server's processes see.
const SMALL_DISK: &str = "mount -t tmpfs -o size=24m tmpfs \"$0\" && ";

/// Whether this process may mount a file system.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["-rm", "true"]).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        eprintln!("not checked: this process may not mount a file system of its own");
    }
    can
}

/// Starts a server on a small disk, after a script of the shell in `$0`, the folder with the disk.
fn on_small_disk(home: &std::path::Path, before: &str) -> (Process, SocketAddr) {
    let script = format!("{SMALL_DISK} cd \"$0\" && {before} exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(home);
    command.args([env!("CARGO_BIN_EXE_backwire"), "serve"]);
    let engine = format!("sqlite:{}", home.join("backwire.db").display());
    let mut process = Process::spawn(&mut command, &engine);
    let line = process.told();
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
                // A good report is repeated for a second.
                (200, _) => tokio::task::yield_now().await,
                failed => return failed,
            }
        }
    }

    /// Until there is room for a record.
    async fn recovers(&self) {
        while self.create().await.0 != 201 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.get("/health").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_takes_deletes_until_there_is_room_again() {
    if !can_mount() {
        return;
    }
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
    assert_eq!(http.health().await, (503, json!({ "status": "the disk is full: reads only" })));
    assert_eq!(http.get("/health/live").await.0, 200);
    assert_eq!(http.get("/todo?limit=1").await.0, 200);
    // What is deleted stays in the log for a while, so it takes some to have room.
    for id in 1..=last {
        assert_eq!(http.delete(id).await, 200, "{id} of {last}");
    }
    http.recovers().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_starts_on_a_full_disk_and_recovers_without_a_restart() {
    if !can_mount() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let first = "\"$@\" --open-for 1 > /dev/null 2>&1; \
                 dd if=/dev/zero of=filler bs=1k > /dev/null 2>&1;";
    let (process, addr) = on_small_disk(home.path(), first);
    let http = Http(reqwest::Client::new(), addr);
    assert_eq!(http.health().await, (503, json!({ "status": "the disk is full: reads only" })));
    assert_eq!(http.get("/todo").await, (200, json!([])));
    assert_eq!(http.create().await.0, 503);
    // The disk as the server sees it.
    let disk = format!("/proc/{}/root{}", process.child.id(), home.path().display());
    std::fs::remove_file(std::path::Path::new(&disk).join("filler")).unwrap();
    http.recovers().await;
}

#[test]
fn start_on_a_full_disk_without_a_reserve_fails_with_what_to_do_and_changes_nothing() {
    if !can_mount() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let script = format!(
        "{SMALL_DISK} cd \"$0\" && \"$@\" --open-for 1 > /dev/null 2>&1; rm backwire.db.reserve; \
         cksum backwire.db; dd if=/dev/zero of=filler bs=1k > /dev/null 2>&1; \"$@\"; cksum backwire.db"
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(home.path());
    command.args([env!("CARGO_BIN_EXE_backwire"), "serve", "--port", "0", "--engine"]);
    let output = command.arg("sqlite:backwire.db").output().unwrap();
    let [told, error] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(error.contains("the disk is full") && error.contains("free some space"), "{error}");
    let lines: Vec<_> = told.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{told}");
}
