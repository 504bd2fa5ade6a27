//! Files and routes beside resources.

use std::collections::BTreeSet;

use axum::routing::get;
use backwire::Context;
use serde_json::json;

use crate::client::{Socket, builder, server, start};

#[tokio::test]
async fn file_takes_precedence_over_a_resource_of_the_same_name() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("index.html"), "<h1>home</h1>").unwrap();
    std::fs::write(home.path().join("todo"), "a file").unwrap();
    let server = start(builder().pages(home.path())).await;
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://{}{path}", server.addr())).await.unwrap();
        response.text().await.unwrap()
    };
    assert_eq!(get("/").await, "<h1>home</h1>");
    assert_eq!(get("/todo").await, "a file");
    assert_eq!(get("/cart").await, "[]");
    let url = format!("http://{}/todo", server.addr());
    let created = reqwest::Client::new().post(url).body("{}").send().await.unwrap();
    assert_eq!(created.status(), 201);
    // A stock client has no HTTP to fall back to, so it gets the resource.
    let mut socket = Socket::stock(&server).await;
    assert_eq!(socket.get("/todo").await["body"][0]["id"], 1);
    server.shutdown().await;
}

/// Returns whether a reply over a socket redirects the client to HTTP.
fn is_sent_to_http(ack: &serde_json::Value) -> bool {
    let is = ack["headers"].get("backwire-transport").is_some_and(|it| it == "http");
    assert_eq!(is, ack["statusCode"] == 404 && ack["body"]["code"] == "E_NOT_FOUND", "{ack}");
    is
}

#[tokio::test]
async fn runtime_is_redirected_to_http_for_static_files() {
    let home = tempfile::tempdir().unwrap();
    for directory in ["", "full", "empty"] {
        std::fs::create_dir_all(home.path().join(directory)).unwrap();
    }
    for file in ["index.html", "todo", "full/index.html", "pets.json"] {
        std::fs::write(home.path().join(file), "a file").unwrap();
    }
    let hello = get(async || "hello");
    let server = start(builder().pages(home.path()).route("/pets.json", hello)).await;
    let mut socket = Socket::runtime(&server).await;
    for (url, expected) in [
        ("/", true),
        ("/index.html", true),
        ("/todo", true),
        ("/t%6Fdo?x=1", true),
        ("/full", true),
        ("/full/", true),
        ("/empty", true),
        // The folder has no index, so the resource answers, also over HTTP.
        ("/empty/", false),
        ("/TODO", false),
        ("/cart", false),
        // Custom routes come before files.
        ("/pets.json", false),
    ] {
        for verb in ["get", "head"] {
            let ack = socket.ask(json!([verb, { "url": url }])).await;
            let is_sent = ack["headers"].get("backwire-transport").is_some();
            assert_eq!(is_sent, expected, "{verb} {url}: {ack}");
        }
        let response = reqwest::get(format!("http://{}{url}", server.addr())).await.unwrap();
        let is_file = response.text().await.unwrap() == "a file";
        // A folder is redirected to its index or to the resource.
        assert!(is_file == expected || url == "/empty", "{url}");
    }
    assert_eq!(socket.post("/todo", json!({ "title": "Milk" })).await["statusCode"], 201);
    server.shutdown().await;
}

#[tokio::test]
async fn runtime_is_redirected_to_http_without_a_route_or_resource() {
    let missing = get(async || reqwest::StatusCode::NOT_FOUND);
    let mut settings = backwire::Settings::default();
    settings.models.undeclared(backwire::model::Undeclared::Refuse);
    settings.models.declare("todo", backwire::model::Model::default()).unwrap();
    settings.prefix = "/api".to_owned();
    (settings.port, settings.store) = (0, backwire::settings::Store::Memory);
    let server = start(builder().settings(settings).route("/api/missing", missing)).await;
    let (mut socket, mut stock) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    for url in ["/todo", "/api/cart", "/api/7up", "/health", "/backwire.js", "/api/todo/1/2", "/"] {
        for verb in ["get", "head", "post", "put", "patch", "delete", "options"] {
            let request = json!([verb, { "url": url, "data": { "title": "Milk" } }]);
            let ack = socket.ask(request.clone()).await;
            assert_eq!(ack["headers"]["backwire-transport"], "http", "{verb} {url}: {ack}");
            assert_eq!(ack["statusCode"], 404);
            assert!(stock.ask(request).await["headers"].get("backwire-transport").is_none());
        }
        assert!(is_sent_to_http(&socket.get(url).await), "{url}");
    }
    // A 404 for a missing record or from a custom route is final.
    for url in ["/api/todo/9", "/api/missing"] {
        let ack = socket.get(url).await;
        assert_eq!(ack["statusCode"], 404);
        assert!(ack["headers"].get("backwire-transport").is_none(), "{url}: {ack}");
    }
    assert_eq!(socket.get("/api/todo").await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn custom_route_works_over_http_and_sockets_and_can_distinguish_them() {
    let whoami = get(async |cx: Context| match cx.client() {
        Some(client) => client.id().to_string(),
        None => "nobody".to_owned(),
    });
    let home = tempfile::tempdir().unwrap();
    let server = start(builder().pages(home.path()).route("/whoami", whoami)).await;
    let over_http = reqwest::get(format!("http://{}/whoami", server.addr())).await.unwrap();
    assert_eq!(over_http.text().await.unwrap(), "nobody");
    let mut socket = Socket::runtime(&server).await;
    let over_socket = socket.get("/whoami").await;
    assert_eq!(over_socket["body"].as_str().map(str::len), Some(16), "{over_socket}");
    assert_eq!(socket.post("/whoami", json!({})).await["statusCode"], 405);
    server.shutdown().await;
}

/// Checks a script in each encoding, with HEAD, and with an ETag.
async fn is_served_compressed(server: &backwire::Server, path: &str) {
    let url = format!("http://{}{path}", server.addr());
    let client = reqwest::Client::new();
    let ask = async |method: reqwest::Method, name: &'static str, value: &str| {
        client.request(method, &url).header(name, value).send().await.unwrap()
    };
    let get = || reqwest::Method::GET;
    let whole = ask(get(), "accept-encoding", "identity").await.bytes().await.unwrap().len();
    for encoding in ["br", "gzip"] {
        let head = ask(reqwest::Method::HEAD, "accept-encoding", encoding).await;
        let answer = ask(get(), "accept-encoding", encoding).await;
        for name in ["content-encoding", "etag", "vary", "cache-control", "content-length"] {
            assert_eq!(head.headers()[name], answer.headers()[name], "{path}: {name}");
        }
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let etag = answer.headers()["etag"].clone();
        // Half of `backwire.js` is a wasm module, which is compressed already.
        assert!(answer.bytes().await.unwrap().len() < whole * 3 / 4, "{path}");
        let again = client.get(&url).header("accept-encoding", encoding);
        let again = again.header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
}

/// The paths of the scripts that were built. Pages load the parts of the runtime by these names.
fn built_scripts() -> impl Iterator<Item = String> {
    let dist = concat!(env!("CARGO_MANIFEST_DIR"), "/../js-shim/dist");
    let names = std::fs::read_dir(dist).into_iter().flatten();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("backwire.") && name.ends_with(".js"))
        .map(|it| format!("/{it}"))
}

#[tokio::test]
async fn scripts_are_served_or_reported_as_missing() {
    let server = server().await;
    let ours = ["/backwire.js", "/backwire.esm.js"].map(str::to_owned).into_iter();
    let all: BTreeSet<_> = ours.chain(built_scripts()).collect();
    for path in all.iter().map(String::as_str).chain(["/socket.io/socket.io.js"]) {
        let url = format!("http://{}{path}", server.addr());
        // Pages of any origin may load the scripts. Their requests are checked separately.
        let request = reqwest::Client::new().get(url).header("origin", "https://page.example");
        let answer = request.send().await.unwrap();
        match answer.status().as_u16() {
            200 => {
                assert_eq!(answer.headers()["access-control-allow-origin"], "*");
                is_served_compressed(&server, path).await;
            }
            503 => assert!(answer.text().await.unwrap().contains("cargo xtask build")),
            other => panic!("{path}: {other}"),
        }
    }
    server.shutdown().await;
}
