//! The log of `backwire serve`.

use std::net::SocketAddr;

use axum::Router;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::{Process, backwire};
use crate::client::Socket;

/// Starts a server that logs at this level, with the site `shop`, whose `authUrl` is at the
/// listener.
async fn logging(level: &str, authority: &TcpListener) -> (TempDir, Process, SocketAddr) {
    logging_with("allowed_hosts: [push.example]\n", level, authority).await
}

/// Starts such a server with these settings.
async fn logging_with(
    settings: &str,
    level: &str,
    authority: &TcpListener,
) -> (TempDir, Process, SocketAddr) {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, yaml: String| {
        let file = home.path().join(name);
        std::fs::write(&file, yaml).unwrap();
        file
    };
    let url = format!("http://{}/rooms", authority.local_addr().unwrap());
    let site = format!("  authUrl: {url}\n  apiKey: secret-key\n  userRoomPrefix: user_\n");
    let (config, sites) =
        (file("c.yml", format!("port: 1\n{settings}")), file("s.yml", format!("shop:\n{site}")));
    let mut command = backwire("serve", &config, &sites);
    let command = command.env("RUST_LOG", level).env_remove("BACKWIRE_ENV").env_remove("NODE_ENV");
    let mut process = Process::spawn(command, "memory");
    let line = process.first_line();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    (home, process, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Connects to the site `shop`. Returns the first frame of the answer, or `None` if the transport
/// ends.
async fn connect(addr: SocketAddr, token: &str) -> Option<String> {
    let mut socket = Socket::open_at(addr, &[]).await.unwrap();
    socket.send(format!(r#"40/shop,{{"token":"{token}"}}"#)).await;
    socket.frame().await
}

fn serve(listener: TcpListener) {
    let rooms = |headers: HeaderMap| async move {
        match headers["authorization"].to_str().unwrap() {
            "Bearer secret-token" => axum::Json(["user_1"]).into_response(),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    };
    let app = Router::new().fallback(rooms);
    tokio::spawn(async { axum::serve(listener, app).await });
}

#[tokio::test(flavor = "multi_thread")]
async fn log_has_one_line_for_the_start_the_first_failure_of_an_auth_url_and_its_recovery() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_home, mut process, addr) = logging("info", &listener).await;
    let fails = async {
        for _ in 0..3 {
            assert_eq!(connect(addr, "secret-token").await, None);
        }
    };
    let down = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The server would reconnect repeatedly if the connection ended before its request.
            tokio::spawn(async move { stream.read(&mut [0; 4096]).await });
        }
    };
    tokio::select! { () = fails => {}, () = down => {} }
    serve(listener);
    for _ in 0..3 {
        assert!(connect(addr, "secret-token").await.unwrap().starts_with("40/shop,"));
        assert!(connect(addr, "bad").await.unwrap().starts_with("44/shop,"));
    }
    process.signal("-TERM");
    let log = process.rest();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    let start = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    for (line, parts) in lines.iter().zip([
        ["the server has started", &start, "engine=\"memory\" sites=\"shop\""],
        [
            "authUrl failed: Auth error: the authUrl cannot be reached",
            "site=shop",
            "url=http://127.",
        ],
        ["authUrl answers again", "site=shop", "url=http://127."],
        ["stopping", "", ""],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)) && line.contains(" INFO "), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_log_has_connects_refusals_and_sends_with_ids_and_no_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_home, mut process, addr) = logging("backwire=debug", &listener).await;
    serve(listener);
    assert!(connect(addr, "secret-token").await.unwrap().starts_with("40/shop,"));
    assert!(connect(addr, "secret-bad-token").await.unwrap().starts_with("44/shop,"));
    let send = async |key: &str, id: &str| {
        let url = format!("http://{addr}/send?site=shop&apiKey={key}");
        let message = json!({ "rooms": "user_1", "event": "news", "args": "secret-args" });
        let request = reqwest::Client::new().post(url).json(&message).header("x-request-id", id);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("secret-key", "first").await, 200);
    assert_eq!(send("secret-other", "second").await, 401);
    process.signal("-TERM");
    let log = process.rest();
    for (line, part) in [
        ("a client has connected", "connection="),
        ("a client is refused", "reason=\"Authentication error\""),
        ("messages are sent", "request=\"first\" site=\"shop\" status=200"),
        ("a message is refused", "request=\"second\" site=\"shop\""),
    ] {
        let found = log.lines().find(|it| it.contains(line)).unwrap_or_else(|| panic!("{log}"));
        assert!(found.contains(part) && found.contains("DEBUG"), "{found}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_reachable_by_any_host_name_logs_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (settings, is_warned) in [("", true), ("host: 127.0.0.1\n", false)] {
        let (_home, mut process, _) = logging_with(settings, "info", &listener).await;
        process.signal("-TERM");
        let log = process.rest();
        let warned =
            log.lines().any(|line| line.contains(" WARN ") && line.contains("allowed_hosts"));
        assert_eq!(warned, is_warned, "{log}");
    }
}
