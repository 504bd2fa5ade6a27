//! `Backbone.emulateHTTP`, `Backbone.emulateJSON`, and headers of requests over a socket.

use axum::routing::any;
use http::{HeaderMap, Method};
use reqwest::Client;
use serde_json::{Value, json};

use crate::client::{Socket, builder, server, start};

const OVERRIDE: &str = "x-http-method-override";
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn page_with_get_and_post_only_writes_over_http_and_sockets() {
    let server = server().await;
    let mut sockets = [Socket::runtime(&server).await, Socket::stock(&server).await];
    let client = Client::new();
    for id in 1..=3 {
        sockets[0].post("/todo", json!({ "id": id, "title": "Milk" })).await;
    }
    let url = |path: &str| format!("http://{}{path}", server.addr());
    let over_http = async |method: &str, path: &str, body: Value| {
        let request = client.post(url(path)).header(OVERRIDE, method).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, changed) = over_http("PATCH", "/todo/1", json!({ "done": true })).await;
    assert_eq!((status, &changed["done"], &changed["title"]), (200, &json!(true), &json!("Milk")));
    assert_eq!(over_http("PUT", "/todo", json!({ "id": 1, "done": false })).await.0, 200);
    assert_eq!(over_http("DELETE", "/todo/1", json!({})).await.0, 200);
    for (socket, id) in sockets.iter_mut().zip([2, 3]) {
        let url = format!("/todo/{id}");
        for (method, data) in [("PUT", json!({ "done": true })), ("DELETE", Value::Null)] {
            let headers = json!({ "X-HTTP-Method-Override": method });
            let request = json!({ "url": url, "headers": headers, "data": data });
            let ack = socket.ask(json!(["post", request])).await;
            assert_eq!(ack["statusCode"], 200, "{ack}");
        }
    }
    assert_eq!(sockets[0].get("/todo").await["body"], json!([]));
    server.shutdown().await;
}

#[tokio::test]
async fn page_that_sends_models_as_forms_writes_over_http_and_sockets() {
    let server = server().await;
    let mut socket = Socket::runtime(&server).await;
    let model =
        |json: &str| url::form_urlencoded::byte_serialize(json.as_bytes()).collect::<String>();
    let created = format!("model={}", model(r#"{"title":"A&B","n":1}"#));
    let changed = format!("model={}&_method=PUT", model(r#"{"n":2}"#));
    let http = async |path: &str, form: String| {
        let url = format!("http://{}{path}", server.addr());
        let request = Client::new().post(url).header("content-type", FORM).body(form);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, record) = http("/todo", created.clone()).await;
    assert_eq!((status, &record["title"], &record["n"]), (201, &json!("A&B"), &json!(1)));
    assert_eq!(http("/todo/1", changed.clone()).await.1["n"], 2);
    assert_eq!(http("/todo/1", "_method=DELETE".to_owned()).await.0, 200);
    let headers = json!({ "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8" });
    for (url, form, status) in [
        ("/todo", created, 201),
        ("/todo/2", changed, 200),
        ("/todo/2", "_method=DELETE".to_owned(), 200),
        // A form of plain values works too.
        ("/todo", "title=Milk".to_owned(), 201),
    ] {
        let request = json!(["post", { "url": url, "headers": headers, "data": form }]);
        let ack = socket.ask(request).await;
        assert_eq!(ack["statusCode"], status, "{ack}");
    }
    let (status, refused) = http("/todo/3", "x".repeat(2 << 20)).await;
    assert_eq!((status, &refused["code"]), (413, &json!("E_TOO_LARGE")));
    server.shutdown().await;
}

#[tokio::test]
async fn handlers_get_the_headers_of_a_socket_request_and_may_set_response_headers() {
    let echo = any(async |method: Method, headers: HeaderMap| {
        let seen = headers.iter().map(|(name, value)| {
            (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())))
        });
        let seen: serde_json::Map<String, Value> = seen.collect();
        (
            [("x-answer", "42"), ("set-cookie", "a=b")],
            axum::Json(json!({ "method": method.as_str(), "headers": seen })),
        )
    });
    let server = start(builder().route("/echo", echo)).await;
    let handshake =
        [("cookie", "mine=1"), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-port", "443")];
    let auth = crate::client::RUNTIME;
    let mut socket = Socket::connect_with(&server, "", &handshake, auth).await;
    let headers = json!({
        "Authorization": "Bearer x", "X-Requested-With": "XMLHttpRequest", "If-Match": "\"a\"",
        "Cookie": "theirs=1", "Host": "evil.example", "Origin": "https://evil.example",
        "X-Forwarded-For": "198.51.100.1", "X-Real-Ip": "198.51.100.1",
        "X-Forwarded-Port": "1", "X-Forwarded-Prefix": "/evil",
        "Connection": "close", "Transfer-Encoding": "chunked", "Content-Length": "7",
        "Accept-Encoding": "gzip", "Upgrade": "x", "bad name": "x",
        "x-number": 7, "x-boolean": true, "x-city": "Ålesund", "x-null": null, "x-list": ["a"],
        "x-lines": "a\nb",
    });
    let request = json!(["post", { "url": "/echo", "headers": headers, "data": { "a": 1 } }]);
    let ack = socket.ask(request).await;
    let (body, host) = (&ack["body"], server.addr().to_string());
    assert_eq!(
        body["headers"],
        json!({
            "authorization": "Bearer x", "x-requested-with": "XMLHttpRequest", "if-match": "\"a\"",
            "cookie": "mine=1", "host": host, "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "content-type": "application/json", "x-number": "7", "x-boolean": "true",
            "x-city": "Ålesund",
        })
    );
    assert_eq!(ack["headers"], json!({ "content-type": "application/json", "x-answer": "42" }));
    let none = socket.ask(json!(["options", { "url": "/todo" }])).await;
    assert_eq!((none.get("body"), none["headers"].get("content-type")), (None, None));
    server.shutdown().await;
}
