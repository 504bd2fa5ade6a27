//! JSON that is small as text and large when parsed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::post;
use backwire::Server;
use backwire::settings::{Limit, Limits};
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::client::{Socket, builder, refusal, start};
use crate::limits_reached::{count, limits};

/// Returns a list of this many objects, each with one value: `[{"":0},…]`.
fn objects(count: usize) -> String {
    format!(r#"{{"a":[{}{{}}]}}"#, r#"{"":0},"#.repeat(count))
}

async fn send(server: &Server, path: &str, kind: &str, body: String) -> (u16, Value) {
    let request = Client::new().post(format!("http://{}{path}", server.addr()));
    let reply = request.header("content-type", kind).body(body).send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn request_over_body_values_is_refused_over_each_transport() {
    let set = |limits: &mut Limits| limits.body_values = 1_000;
    let echo = post(async |body: Bytes| body.len().to_string());
    let key = "secret".parse().unwrap();
    let builder = builder().limits(limits(set)).api_key(key).route("/echo", echo);
    let server = start(builder).await;
    let (few, many) = (objects(400), objects(500));
    let news = format!(r#"{{"model":"todo","verb":"create","id":1,"data":{many}}}"#);
    let form = format!("model={}", many.replace('"', "%22"));
    for (path, kind, body) in [
        ("/todo", JSON, &many),
        ("/todo", "text/csv", &many),
        ("/todo", JSON, &format!("[{many}]")),
        ("/todo", FORM, &form),
        ("/echo", JSON, &many),
        ("/publish?site=/&apiKey=secret", JSON, &news),
    ] {
        let (status, refused) = send(&server, path, kind, body.clone()).await;
        assert_eq!((status, &refused["code"]), (413, &json!("E_TOO_LARGE")), "{path} {kind}");
        assert_eq!(refused["limit"], 1_000, "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("(body_values)"), "{refused}");
    }
    assert_eq!(count(&server, Limit::BodyValues).await, 6);
    assert_eq!(send(&server, "/todo", JSON, few.clone()).await.0, 201);
    // Text counts as one value, whatever it contains.
    let text = json!({ "csv": "1,[2],{3}".repeat(1_000) }).to_string();
    assert_eq!(send(&server, "/todo", JSON, text).await.0, 201);
    let csv = post_csv(&server).await;
    assert_eq!(csv, 200);

    let mut socket = Socket::runtime(&server).await;
    for event in [
        format!(r#"["post",{{"url":"/todo","data":{many}}}]"#),
        format!(r#"["unsubscribe","todo",{many}]"#),
    ] {
        let refused = socket.ask(serde_json::from_str(&event).unwrap()).await;
        assert_eq!(refusal(&refused), json!([413, "E_TOO_LARGE"]), "{refused}");
        assert_eq!(refused["body"]["limit"], 1_000);
    }
    // In an event, a form is a string, and its model is JSON in the form.
    let headers = json!({ "content-type": FORM });
    let event = json!(["post", { "url": "/todo", "headers": headers, "data": form }]);
    assert_eq!(refusal(&socket.ask(event).await), json!([413, "E_TOO_LARGE"]));
    let query = json!(["get", { "url": "/todo", "data": { "where": many } }]);
    assert_eq!(refusal(&socket.ask(query).await)[0], 400);
    // The rooms of a resume have their own limit.
    let (epoch, _) = crate::client::position(&socket.post("/todo", json!({})).await);
    let rooms = vec![json!(["todo", epoch, 0]); 1_000];
    assert_eq!(socket.ask(json!(["resume", rooms])).await.as_array().map(Vec::len), Some(1_000));
    let event = format!(r#"["post",{{"url":"/todo","data":{few}}}]"#);
    assert_eq!(socket.ask(serde_json::from_str(&event).unwrap()).await["statusCode"], 201);
    let mut old = Socket::stock(&server).await;
    let nested = json!(["post", format!(r#"{{"url":"/todo","data":{many}}}"#)]);
    assert!(old.ask(nested).await.to_string().contains("E_TOO_LARGE"));
    server.shutdown().await;
}

async fn post_csv(server: &Server) -> u16 {
    let url = format!("http://{}/echo", server.addr());
    let request = Client::new().post(url).header("content-type", "text/csv");
    request.body("1,2,3\n".repeat(1_000)).send().await.unwrap().status().as_u16()
}

/// Starts a server whose route `/hold` reports that it has received its body, and answers when it
/// gets a permit.
async fn holding(
    set: impl FnOnce(&mut Limits),
) -> (Server, mpsc::UnboundedReceiver<usize>, Arc<Semaphore>) {
    let (begun, begins) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let hold = post(async move |body: Bytes| {
        begun.send(body.len()).unwrap();
        wait.acquire().await.unwrap().forget();
    });
    (start(builder().limits(limits(set)).route("/hold", hold)).await, begins, gate)
}

async fn hold(server: &Server, body: String) -> u16 {
    let url = format!("http://{}/hold", server.addr());
    Client::new().post(url).body(body).send().await.unwrap().status().as_u16()
}

/// Each body has 7 KB as text, and takes about half a megabyte.
#[tokio::test]
async fn bodies_with_small_text_and_large_values_wait_for_memory() {
    let (server, mut begins, gate) = holding(|limits| limits.total_request_bytes = 8 << 20).await;
    let (server, body) = (&server, objects(1_000));
    let requests = join_all((0..20).map(|_| hold(server, body.clone())));
    let release = async {
        let mut held = 0;
        for _ in 0..20 {
            begins.recv().await.unwrap();
            held += 1;
            // A quarter of the budget has room for three bodies.
            if held == 3 {
                // Requests with few values do not wait.
                for _ in 0..5 {
                    let small = json!({ "a": [1, 2, 3] }).to_string();
                    assert_eq!(send(server, "/todo", JSON, small).await.0, 201);
                }
                assert!(begins.try_recv().is_err(), "four bodies are parsed at a time");
                gate.add_permits(1);
                held -= 1;
            }
        }
        gate.add_permits(20);
    };
    let (statuses, ()) = tokio::join!(requests, release);
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test]
async fn request_that_waits_too_long_for_memory_is_refused() {
    let set = |limits: &mut Limits| {
        limits.total_request_bytes = 1 << 20;
        limits.body_deadline = Duration::from_millis(50);
    };
    let (server, mut begins, gate) = holding(set).await;
    let [mut first, mut socket] = [Socket::runtime(&server).await, Socket::runtime(&server).await];
    let event = format!(r#"["post",{{"url":"/hold","data":{}}}]"#, objects(1_000));
    first.send(format!("421{event}")).await;
    begins.recv().await.unwrap();
    let (status, refused) = loop {
        match send(&server, "/hold", JSON, objects(1_000)).await {
            // The timeout is long, because the machine may be slow.
            (408, _) => {}
            answer => break answer,
        }
    };
    assert_eq!((status, &refused["code"]), (503, &json!("E_BUSY")));
    assert_eq!(refused["limit"], 1 << 20);
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!(refusal(&socket.ask(event.clone()).await), json!([503, "E_BUSY"]));
    // The values of a query count too.
    let query = format!("/todo?where={}", objects(1_000).replace('"', "%22"));
    let get = reqwest::get(format!("http://{}{query}", server.addr())).await.unwrap();
    assert_eq!(get.status(), 503);
    let by_socket = socket.ask(json!(["get", { "url": query }])).await;
    assert_eq!(refusal(&by_socket), json!([503, "E_BUSY"]));
    gate.add_permits(2);
    assert_eq!(first.ack(1).await["statusCode"], 200);
    assert_eq!(socket.ask(event).await["statusCode"], 200);
    server.shutdown().await;
}
