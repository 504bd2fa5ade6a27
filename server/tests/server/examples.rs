//! The examples work as described.

#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/background_job.rs"]
mod background_job;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/before_create.rs"]
mod before_create;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/chat.rs"]
mod chat;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/echo.rs"]
mod echo;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/embed.rs"]
mod embed;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/handshake.rs"]
mod handshake;
#[allow(dead_code, reason = "their main functions are for people")]
#[path = "../../examples/session.rs"]
mod session;

use backwire::Server;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::{RUNTIME, Socket, builder, refusal, start};

async fn over_http(server: &Server, url: &str) -> Value {
    let url = format!("http://{}{url}", server.addr());
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn echo_answers_over_http_and_over_sockets() {
    let server = start(echo::routes(builder())).await;
    let mut socket = Socket::stock(&server).await;
    let request = json!(["get", { "url": "/echo", "data": { "message": "hi there!" } }]);
    let echo = json!({ "success": true, "message": "hi there!", "over": "a socket" });
    assert_eq!(socket.ask(request).await["body"], echo);
    assert_eq!(socket.get("/echo?message=hi").await["body"]["message"], "hi");
    assert_eq!(
        over_http(&server, "/echo?message=hi").await,
        json!({ "success": true, "message": "hi", "over": "HTTP" })
    );
    let mut node = Socket::stock(&server).await;
    node.send(r#"421["echo:read",{"message":"hi"}]"#).await;
    let echo = r#"431[null,{"success":true,"message":"hi","over":"a socket"}]"#;
    assert_eq!(node.next_frame().await, echo);
    server.shutdown().await;
}

#[tokio::test]
async fn app_has_its_own_routes_and_a_layer_beside_the_nested_server() {
    let server = Server::builder().store(backwire::settings::Store::Memory);
    let (app, handle) = embed::app(server).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(std::future::IntoFuture::into_future(handle.serve(listener, app)));
    let mut socket = Socket::runtime_below(addr, "/live/socket.io/").await;
    socket.get("/live/todo").await;
    let reminded = Client::new().post(format!("http://{addr}/remind")).send().await.unwrap();
    assert_eq!(reminded.status(), 204);
    assert_eq!(socket.event().await[4][0][3]["title"], "Buy milk");
    for path in ["/", "/live/todo"] {
        let answer = reqwest::get(format!("http://{addr}{path}")).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["server"]),
            (200, &"my app".parse().unwrap())
        );
    }
    handle.shutdown().await;
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn visits_are_counted_across_both_transports() {
    let server = start(session::routes(builder())).await;
    let url = format!("http://{}/visits", server.addr());
    let first = reqwest::get(&url).await.unwrap();
    let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(first.json::<Value>().await.unwrap(), json!({ "visits": 1 }));
    let mut socket = Socket::connect_with(&server, "", &[("cookie", &cookie)], "").await;
    assert_eq!(socket.get("/visits").await["body"], json!({ "visits": 2 }));
    let again = Client::new().get(&url).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(again.json::<Value>().await.unwrap(), json!({ "visits": 3 }));
    assert_eq!(socket.delete("/visits").await["statusCode"], 200);
    assert_eq!(socket.get("/visits").await["body"], json!({ "visits": 1 }));
    server.shutdown().await;
}

#[tokio::test]
async fn chat_tells_who_enters_speaks_and_leaves() {
    let server = start(chat::routes(builder())).await;
    let named = async |name: &str, auth: &str| {
        Socket::connect_with(&server, &format!("&name={name}"), &[], auth).await
    };
    let (mut ann, mut bob) = (named("Ann", "").await, named("Bob", RUNTIME).await);
    let mut elsewhere = Socket::stock(&server).await;
    let entered = ann.get("/chat/lobby").await;
    assert_eq!(entered["body"], json!({ "entered": "lobby", "present": ["Ann"] }));
    bob.get("/chat/lobby").await;
    assert_eq!(ann.event().await, json!(["entered", { "room": "lobby", "name": "Bob" }]));
    elsewhere.get("/chat/kitchen").await;
    let reply = ann.post("/chat/lobby", json!({ "text": "Hi" })).await;
    assert_eq!(reply["body"], json!({ "text": "Hi" }));
    let message = json!({ "room": "lobby", "name": "Ann", "text": "Hi" });
    assert_eq!(
        bob.event().await,
        json!(["push", "", 0, 0, [[0, 0, null, ["message", message], 0]]])
    );
    let url = format!("http://{}/chat/lobby", server.addr());
    let robot = Client::new().post(url).json(&json!({ "text": "Beep" })).send().await.unwrap();
    assert_eq!(robot.status(), 200);
    assert_eq!(ann.event().await[1]["text"], "Beep");
    let mut second = Socket::open_with_query(&server, "&name=Bob").await;
    second.send("40").await;
    assert_eq!(second.next_frame().await, r#"44{"message":"E_NAME: this name is taken"}"#);
    drop(bob);
    assert_eq!(ann.event().await, json!(["left", { "room": "lobby", "name": "Bob" }]));
    assert!(elsewhere.pushes().await.is_empty());
    server.shutdown().await;
}

#[tokio::test]
async fn background_job_publishes_what_it_reads() {
    let sensors = background_job::Sensors::default();
    let server = start(background_job::routes(builder(), sensors.clone())).await;
    let (sender, readings) = mpsc::channel(1);
    let job = tokio::spawn(background_job::publish(server.publisher(), sensors, readings));
    let (mut page, mut stock) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    let room = page.get("/sensor").await["headers"]["backwire-room"].clone();
    assert_eq!(stock.get("/sensor").await["body"], json!([]));
    sender.send((1, 20.0)).await.unwrap();
    let record = json!({ "id": 1, "celsius": 20.0 });
    let created = json!(["sensor", { "verb": "created", "id": 1, "data": record }]);
    assert_eq!(stock.event().await, created);
    assert_eq!(page.changes(room.as_str().unwrap(), 1).await[0][3], record);
    sender.send((1, 30.0)).await.unwrap();
    // An event does not wait for the changes that were published before it.
    let mut events = [stock.event().await, stock.event().await];
    events.sort_by_key(|event| event[0].to_string());
    let [alarm, changed] = events;
    assert_eq!(alarm, json!(["alarm", { "sensor": 1, "celsius": 30.0 }]));
    assert_eq!((&changed[1]["id"], &changed[1]["data"]), (&json!(1), &json!({ "celsius": 30.0 })));
    let events = [page.event().await, page.event().await].map(|event| event[4][0][3].clone());
    assert!(events.iter().any(|it| it[0] == "alarm"), "{events:?}");
    assert!(events.iter().any(|it| it["celsius"] == 30.0), "{events:?}");
    let now = json!([{ "id": 1, "celsius": 30.0 }]);
    assert_eq!(over_http(&server, "/sensor").await, now);
    // The job ends with its source.
    drop(sender);
    job.await.unwrap().unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn token_of_the_handshake_identifies_the_person() {
    let server = start(handshake::routes(builder()).unwrap()).await;
    let of = async |auth: &str| Socket::connect_with(&server, "", &[], auth).await;
    let mut ann = of(r#"{"token":"ann-secret"}"#).await;
    let mut bob = of(r#"{"backwire":1,"token":"bob-secret"}"#).await;
    let mut guest = Socket::stock(&server).await;
    let note = ann.post("/note", json!({ "text": "Milk" })).await;
    assert_eq!(note["body"]["author"], "ann");
    assert_eq!(bob.get("/note").await["body"][0]["text"], "Milk");
    assert_eq!(refusal(&bob.delete("/note/1").await), json!([404, "E_NOT_FOUND"]));
    assert_eq!(guest.get("/note").await["statusCode"], 401);
    let mut stranger = Socket::open_with_query(&server, "").await;
    stranger.send(r#"40{"token":"guess"}"#).await;
    assert_eq!(stranger.next_frame().await, r#"44{"message":"E_TOKEN: the token is not known"}"#);
    server.shutdown().await;
}

#[tokio::test]
async fn handler_runs_before_a_create_and_other_requests_are_unchanged() {
    let server = start(before_create::routes(builder())).await;
    let (mut a, mut b) = (Socket::runtime(&server).await, Socket::stock(&server).await);
    b.get("/ticket").await;
    let refused = a.post("/ticket", json!({ "title": "" })).await;
    assert_eq!(refusal(&refused), json!([400, "E_NO_TITLE"]));
    let keyed = json!(["post", { "url": "/ticket", "headers": { "idempotency-key": "k" },
                                 "data": { "title": "Broken" } }]);
    let made = a.ask(keyed.clone()).await;
    assert_eq!((&made["statusCode"], &made["body"]["state"]), (&json!(201), &json!("open")));
    assert_eq!(made["headers"]["backwire-record"], "ticket/1");
    assert_eq!(
        b.event().await,
        json!(["ticket", { "verb": "created", "id": 1, "data": made["body"] }])
    );
    // Sent again, it is known.
    assert_eq!(a.ask(keyed).await, made);
    assert_eq!(b.get("/ticket").await["body"].as_array().map(Vec::len), Some(1));
    for odd in ["/Ticket", "/ticket/", "/%74icket"] {
        let refused = a.post(odd, json!({ "title": "" })).await;
        assert_eq!(refusal(&refused), json!([400, "E_NO_TITLE"]), "{odd}");
    }
    let changed = a.put("/ticket/1", json!({ "state": "closed" })).await;
    assert_eq!(changed["body"]["state"], "closed");
    assert_eq!(over_http(&server, "/ticket/1").await["state"], "closed");
    server.shutdown().await;
}
