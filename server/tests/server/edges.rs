//! Response headers for browsers, caches and proxies, and requests that the server refuses at once.

use axum::http::header;
use axum::routing::get;
use backwire::error::Result;
use backwire::model::Model;
use backwire::settings::{Settings, Store};
use backwire::{Server, Session};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Socket, builder, start};

async fn headers(server: &Server, path: &str) -> HeaderMap {
    let response = reqwest::get(format!("http://{}{path}", server.addr())).await.unwrap();
    response.headers().clone()
}

/// Sends these bytes, and returns the head of the answer.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap_or_else(|| panic!("{head:?}")).parse().unwrap()
}

#[tokio::test]
async fn every_answer_forbids_content_sniffing_and_foreign_frames() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("page.html"), "a page").unwrap();
    let own = get(async || [(header::CONTENT_SECURITY_POLICY, "default-src 'none'")]);
    let server = start(builder().pages(home.path()).route("/own", own)).await;
    let polling = "/socket.io/?EIO=4&transport=polling";
    for path in ["/todo", "/todo/1", "/page.html", "/backwire.js", "/health", polling] {
        let headers = headers(&server, path).await;
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "strict-origin-when-cross-origin", "{path}");
        assert_eq!(headers["content-security-policy"], "frame-ancestors 'self'", "{path}");
    }
    let own = headers(&server, "/own").await;
    assert_eq!(own["content-security-policy"], "default-src 'none'");
    assert_eq!(own["x-content-type-options"], "nosniff");
    server.shutdown().await;
}

#[tokio::test]
async fn origins_of_the_settings_may_show_pages_in_frames() {
    for (named, expected) in [
        ("https://portal.example", Some("frame-ancestors 'self' https://portal.example")),
        ("*", None),
    ] {
        let settings = Settings {
            port: 0,
            store: Store::Memory,
            frame_ancestors: vec![named.parse().unwrap()],
            ..Settings::default()
        };
        let server = start(builder().settings(settings)).await;
        let headers = headers(&server, "/todo").await;
        let policy = headers.get("content-security-policy").map(|it| it.to_str().unwrap());
        assert_eq!(policy, expected);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn session_dependent_answers_are_not_cached() {
    let mine = get(async |session: Session| -> Result<String> {
        Ok(session.get::<String>("name").await?.unwrap_or_default())
    });
    let own = get(async |_: Session| [(header::CACHE_CONTROL, "no-store")]);
    let note: Model =
        serde_json::from_value(json!({ "access": { "owner": "userId", "read": "everyone" } }))
            .unwrap();
    let server = builder().route("/mine", mine).route("/own", own).resource("note", note).unwrap();
    let server = start(server).await;
    for path in ["/mine", "/note", "/note/1", "/note?limit=1"] {
        let headers = headers(&server, path).await;
        assert_eq!(headers["cache-control"], "private", "{path}");
        let vary = headers.get_all("vary").into_iter().map(|it| it.to_str().unwrap());
        assert!(vary.flat_map(|it| it.split(", ")).any(|it| it == "cookie"), "{path}: {headers:?}");
    }
    assert_eq!(headers(&server, "/own").await["cache-control"], "no-store");
    let open = headers(&server, "/todo").await;
    assert_eq!(open.get("cache-control"), None);
    server.shutdown().await;
}

#[tokio::test]
async fn request_without_a_host_or_with_two_is_refused() {
    let server = start(builder()).await;
    for (version, hosts, expected) in [
        ("1.1", "", 400),
        ("1.1", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("1.1", "Host: localhost\r\nHost: evil.example\r\n", 400),
        ("1.1", "Host: localhost, evil.example\r\n", 400),
        ("1.1", "Host: me@localhost\r\n", 400),
        ("1.0", "Host: localhost\r\nHost: localhost\r\n", 400),
        ("1.1", "Host: localhost\r\n", 200),
        ("1.0", "", 200),
    ] {
        let request = format!("GET /todo HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        let head = raw(&server, &request).await;
        assert_eq!(status(&head), expected, "{version} {hosts:?}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn directory_redirect_stays_on_the_host() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("evil.example/dir")).unwrap();
    let server = start(builder().pages(home.path())).await;
    for path in ["//evil.example", "///evil.example", "//evil.example/dir", "/evil.example/dir"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let head = raw(&server, &request).await.to_ascii_lowercase();
        let place = head.lines().find_map(|line| line.strip_prefix("location: "));
        if let Some(place) = place {
            assert!(place.starts_with("/evil.example"), "{path}: {place}");
        }
        assert!(place.is_some() || status(&head) == 404, "{path}: {head}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn lax_handshake_of_a_websocket_is_refused() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let server = start(builder()).await;
    let good = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY];
    let open = async |eio: u8, lines: &[&str]| {
        let lines = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let path = format!("/socket.io/?EIO={eio}&transport=websocket");
        raw(&server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")).await
    };
    for eio in [3, 4] {
        assert_eq!(status(&open(eio, &good).await), 101);
        for (index, replaced) in [
            (0, "X: x"),
            (0, "Connection: close"),
            (0, "Connection: close, Upgrade"),
            (1, "X: x"),
            (1, "Upgrade: h2c"),
            (2, "X: x"),
            (2, "Sec-WebSocket-Version: 12"),
            (3, "X: x"),
            (3, "Sec-WebSocket-Key: x"),
        ] {
            let mut lines = good;
            lines[index] = replaced;
            let head = open(eio, &lines).await;
            assert_eq!(status(&head), 400, "{replaced}");
            assert!(head.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{head}");
        }
    }
    assert_eq!(Socket::runtime(&server).await.get("/todo").await["statusCode"], 200);
    server.shutdown().await;
}

#[tokio::test]
async fn attributes_named_like_javascript_object_members_work_as_any_other() {
    let server = start(builder()).await;
    let url = |path: &str| format!("http://{}{path}", server.addr());
    let http = reqwest::Client::new();
    let record = r#"{"__proto__":{"admin":true},"constructor":"c","toString":1,"prototype":null}"#;
    let create = http.post(url("/todo")).header("content-type", "application/json");
    let created: Value = create.body(record).send().await.unwrap().json().await.unwrap();
    let own = json!({ "admin": true });
    assert_eq!((&created["__proto__"], &created["constructor"]), (&own, &json!("c")));
    assert_eq!(created.get("admin"), None);
    for query in [
        "?sort=__proto__",
        "?sort=constructor DESC",
        "?select=id,__proto__,toString",
        "?where={\"constructor\":\"c\"}",
        "?where={\"toString\":{\">\":0}}",
        "?where={\"__proto__\":{\"!\":null}}",
        "?constructor=c",
    ] {
        let found = reqwest::get(url(&format!("/todo{query}"))).await.unwrap();
        let is_found = found.status() == 200;
        let body: Value = found.json().await.unwrap();
        assert!(is_found || body["code"] == "E_BAD_CRITERIA", "{query}: {body}");
        assert!(!is_found || body[0]["id"] == 1, "{query}: {body}");
    }
    let refused = reqwest::get(url("/todo?populate=__proto__")).await.unwrap();
    assert!(refused.status() == 400 || refused.status() == 200);
    let mut socket = Socket::runtime(&server).await;
    let found = socket.get("/todo/1").await;
    assert_eq!((&found["body"]["__proto__"], &found["body"]["toString"]), (&own, &json!(1)));
    assert_eq!(socket.put("/todo/1", json!({ "__proto__": 2 })).await["body"]["__proto__"], 2);
    server.shutdown().await;
}

/// The server keeps the head of a handshake for as long as the connection.
#[tokio::test]
async fn handshake_with_a_large_head_is_431_and_other_requests_are_answered() {
    let server = start(builder()).await;
    let request = |path: &str, bytes: usize| {
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let cookie = "x".repeat(bytes);
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{upgrade}cookie: {cookie}\r\n\r\n")
    };
    for (transport, accepted) in [("polling", 200), ("websocket", 101)] {
        let path = format!("/socket.io/?EIO=4&transport={transport}");
        assert_eq!(status(&raw(&server, &request(&path, 15_000)).await), accepted);
        assert_eq!(status(&raw(&server, &request(&path, 17_000)).await), 431);
    }
    assert_eq!(status(&raw(&server, &request("/todo", 17_000)).await), 200);
    server.shutdown().await;
}
