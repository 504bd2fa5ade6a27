//! `backwire migrate`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;

use super::Process;
use crate::backup::{self, resume, stop};
use crate::client::{Socket, position};
use crate::redis_server::RedisServer;

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
    command.args(arguments).current_dir(home);
    for name in ["BACKWIRE_ENV", "NODE_ENV", "RUST_LOG", "PORT"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command. Returns its output and its log, or its log if it fails.
fn run(home: &Path, arguments: &[&str]) -> Result<(String, String), String> {
    let Output { status, stdout, stderr } = command(home, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match status.success() {
        true => Ok((text(stdout), text(stderr))),
        false => Err(text(stderr)),
    }
}

fn serve(home: &Path, engine: &str) -> (Process, SocketAddr) {
    backup::serve(&mut command(home, &["serve", "--port", "0", "--engine", engine]))
}

#[tokio::test]
async fn clients_resume_after_a_migration_to_redis_and_back() {
    let (home, redis) = (TempDir::new().unwrap(), RedisServer::start(&["--requirepass", "pw"]));
    let home = home.path();
    let shown = format!("redis://127.0.0.1:{}", redis.port);
    let address = shown.replace("//", "//:pw@");
    let sqlite = "sqlite:data/backwire.db";
    let (process, addr) = serve(home, sqlite);
    let mut client = Socket::runtime_at(addr).await;
    client.post("/todo", json!({ "title": "Milk" })).await;
    let at = position(&client.get("/todo").await);
    client.post("/todo", json!({ "title": "Bread" })).await;
    stop(process);

    let (printed, _) = run(home, &["migrate", sqlite, &address]).unwrap();
    assert!(printed.contains("\nrecords: 2\n"), "{printed}");
    let last = printed.lines().last().unwrap();
    assert!(last.starts_with(&format!("{sqlite} is copied to {shown}, checksum ")), "{last}");
    let refused = run(home, &["migrate", sqlite, &address]).unwrap_err();
    assert!(refused.contains("the target is not empty") && !refused.contains("pw@"), "{refused}");

    let (process, addr) = serve(home, &address);
    let missed = resume(addr, at).await;
    assert_eq!(missed[3].as_array().unwrap().len(), 1, "{missed}");
    let mut client = Socket::runtime_at(addr).await;
    let created = client.post("/todo", json!({ "title": "Eggs" })).await;
    assert_eq!(created["body"]["id"], 3);
    let refused = run(home, &["migrate", &address, "sqlite:back.db"]).unwrap_err();
    assert!(refused.contains("a server with the number 0 uses the data"), "{refused}");
    stop(process);

    run(home, &["migrate", &address, "sqlite:back.db"]).unwrap();
    let (process, addr) = serve(home, "sqlite:back.db");
    let missed = resume(addr, at).await;
    assert_eq!(missed[3].as_array().unwrap().len(), 2, "{missed}");
    stop(process);
}

#[test]
fn messages_of_a_web_service_are_copied_for_the_sites_of_the_file() {
    let (home, redis) = (TempDir::new().unwrap(), RedisServer::start(&[]));
    let sites =
        "newsite:\n  authUrl: http://newsite.com/rooms\n  apiKey: 54321\n  userRoomPrefix: user_\n";
    std::fs::create_dir(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/sites.yml"), sites).unwrap();
    let config = format!("redis: {{port: {}}}\n", redis.port);
    std::fs::write(home.path().join("config/config.yml"), config).unwrap();
    redis.command(&["RPUSH", "/newsite:socket.io:user_1:news", "7:[\"news\",1]"]);
    redis.command(&["RPUSH", "/newsite:socket.io:staff:news", "8:[\"news\",1]"]);
    let address = redis.url();
    let (printed, log) =
        run(home.path(), &["migrate", "--web-service", &address, &address]).unwrap();
    assert!(printed.contains("messages: 1\n") && printed.contains("persons: 1\n"), "{printed}");
    assert!(log.contains("left out: /newsite:socket.io:staff:news: the room is not"), "{log}");
    let refused = run(home.path(), &["migrate", "--web-service", "memory", &address]).unwrap_err();
    assert!(refused.contains("--web-service: FROM has to be redis://"), "{refused}");
    let refused = run(home.path(), &["migrate", "memory", &address]).unwrap_err();
    assert!(refused.contains("memory stores nothing"), "{refused}");
}
