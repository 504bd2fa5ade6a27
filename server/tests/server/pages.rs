//! Files and routes beside resources.

use axum::routing::get;
use backwire::Context;
use serde_json::json;

use crate::client::{Socket, builder, server, start};

#[tokio::test]
async fn a_file_wins_over_a_resource_of_the_same_name() {
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
    // Over a socket there are no files.
    let mut socket = Socket::runtime(&server).await;
    assert_eq!(socket.get("/todo").await["body"][0]["id"], 1);
    server.shutdown().await;
}

#[tokio::test]
async fn a_route_of_ones_own_works_over_http_and_sockets_and_can_tell_them_apart() {
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

#[tokio::test]
async fn the_scripts_are_at_their_addresses_or_said_to_be_missing() {
    let server = server().await;
    for path in ["/backwire.js", "/backwire.esm.js", "/socket.io/socket.io.js"] {
        let url = format!("http://{}{path}", server.addr());
        // Pages of any origin may load them; what the script may then do is another question.
        let request = reqwest::Client::new().get(url).header("origin", "https://page.example");
        let answer = request.send().await.unwrap();
        match answer.status().as_u16() {
            200 => assert_eq!(answer.headers()["access-control-allow-origin"], "*"),
            503 => assert!(answer.text().await.unwrap().contains("cargo xtask build")),
            other => panic!("{path}: {other}"),
        }
    }
    server.shutdown().await;
}
