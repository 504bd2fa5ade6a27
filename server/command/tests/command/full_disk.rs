//! A database file that cannot grow, as on a full disk.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::Process;

/// Starts `backwire serve` with this limit of file sizes in bytes.
fn limited(bytes: usize, engine: &str) -> (Process, SocketAddr) {
    // POSIX, and so `sh`, counts blocks of 512 bytes. Without the trap, the signal would end the
    // server, while a full disk is only an error.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 512);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_backwire"), "serve"]);
    let mut process = Process::spawn(&mut command, engine);
    let line = process.first_line();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_503_on_a_full_disk_and_liveness_stays_200() {
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
    // A health check needs less room than a record, and a good result is cached for a second.
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
