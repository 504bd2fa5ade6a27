//! Events that the user's code sends to clients, and its functions for connects and disconnects.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use backwire::{Client, Context, Publisher, Server, Session};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::client::{RUNTIME, Socket, builder, start};

/// The form in which a runtime gets an event.
fn to_runtime(event: &str, data: &Value) -> Value {
    json!(["push", "", 0, 0, [[0, 0, null, [event, data], 0]]])
}

async fn of_socket(server: &Server, socket: &mut Socket) -> Client {
    let id = socket.get("/id").await["body"].as_str().unwrap().to_owned();
    server.publisher().client(&id).unwrap()
}

async fn id(client: Option<Client>) -> String {
    client.map(|client| client.id().to_string()).unwrap_or_default()
}

#[tokio::test]
async fn event_reaches_all_a_room_or_one() {
    let server = start(builder().route("/id", get(id))).await;
    let (mut stock, mut page) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    let mut silent = Socket::stock(&server).await;
    let publisher: Publisher = server.publisher();
    let (of_stock, of_page) =
        (of_socket(&server, &mut stock).await, of_socket(&server, &mut page).await);
    let data = json!({ "n": 1 });
    publisher.broadcast_to_all("news", &data, None).unwrap();
    assert_eq!(silent.event().await, json!(["news", data]));
    assert_eq!(stock.event().await, json!(["news", data]));
    assert_eq!(page.event().await, to_runtime("news", &data));
    for client in [&of_stock, &of_page] {
        client.listen("lobby");
    }
    publisher.broadcast("lobby", "chat", &data, Some(&of_stock)).unwrap();
    publisher.emit(&of_stock, "whisper", &data).unwrap();
    assert_eq!(page.event().await, to_runtime("chat", &data));
    // Not what it is omitted from.
    assert_eq!(stock.event().await, json!(["whisper", data]));
    // A large event is sent as it is.
    let large = json!("x".repeat(20_000));
    publisher.emit(&of_page, "large", &large).unwrap();
    assert_eq!(page.event().await, to_runtime("large", &large));
    assert!(silent.pushes().await.is_empty());
    let wrong = [("", "1 to 256"), ("disconnect", "reserve"), (&*"e".repeat(257), "1 to 256")];
    for (event, reason) in wrong {
        let refused = publisher.broadcast_to_all(event, &1, None).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
        assert!(publisher.emit(&of_page, event, &1).is_err());
    }
    drop((publisher, of_stock, of_page));
    server.shutdown().await;
}

#[tokio::test]
async fn stock_client_acks_an_event() {
    let server = start(builder().route("/id", get(id))).await;
    let (mut stock, mut page) = (Socket::stock(&server).await, Socket::runtime(&server).await);
    let (publisher, time) = (server.publisher(), Duration::from_secs(20));
    let client = of_socket(&server, &mut stock).await;
    let question = json!([1]);
    let asked = publisher.emit_with_ack(&client, "question", &question, time);
    let answer = async {
        let frame = stock.next_frame().await;
        let number = frame.strip_prefix("42").unwrap().strip_suffix(r#"["question",[1]]"#).unwrap();
        stock.send(format!(r#"43{number}[{{"yes":true}},2]"#)).await;
    };
    let (answered, ()) = tokio::join!(asked, answer);
    assert_eq!(answered.unwrap(), json!({ "yes": true }));
    let late = publisher.emit_with_ack(&client, "question", &1, Duration::from_millis(1)).await;
    assert_eq!(late.unwrap_err().to_string(), "the client sent no ack in time");
    let asked = publisher.emit_with_ack(&client, "question", &1, time);
    let (ended, ()) = tokio::join!(asked, async { drop(stock) });
    assert_eq!(ended.unwrap_err().to_string(), "the connection has ended");
    let page = of_socket(&server, &mut page).await;
    let refused = publisher.emit_with_ack(&page, "question", &1, time).await.unwrap_err();
    assert_eq!(refused.to_string(), "the runtime of Backwire acks no events");
    drop((publisher, client, page));
    server.shutdown().await;
}

async fn handshake(client: Client) -> Json<Value> {
    let handshake = client.handshake();
    let header = handshake.headers().get("x-test").map(|value| value.to_str().unwrap());
    Json(json!([handshake.query("name"), header, handshake.auth()]))
}

#[tokio::test]
async fn handler_reads_the_handshake() {
    let read = get(async |client: Option<Client>| handshake(client.unwrap()).await);
    let server = start(builder().route("/handshake", read)).await;
    let auth = r#"{"token":"t"}"#;
    let mut socket =
        Socket::connect_with(&server, "&name=J%C3%B6rg+X&name=2", &[("x-test", "yes")], auth).await;
    let seen = json!(["J\u{f6}rg X", "yes", { "token": "t" }]);
    assert_eq!(socket.get("/handshake").await["body"], seen);
    let mut plain = Socket::stock(&server).await;
    assert_eq!(plain.get("/handshake").await["body"], json!([null, null, null]));
    let mut large = Socket::open_with_query(&server, "").await;
    large.send(format!(r#"40{{"token":"{}"}}"#, "x".repeat(8192))).await;
    let refused = large.next_frame().await;
    assert!(
        refused.starts_with(r#"44{"message":"E_TOO_LARGE: the auth has 8204 bytes"#),
        "{refused}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn client_with_the_header_nosession_has_no_session() {
    let count = get(async |session: Option<Session>| match session {
        Some(session) => session.id().to_owned(),
        None => "none".to_owned(),
    });
    let needed = get(async |_: Session| "one");
    let server = start(builder().route("/count", count).route("/needed", needed)).await;
    let mut without = Socket::connect_with(&server, "", &[("nosession", "false")], "").await;
    let mut with = Socket::stock(&server).await;
    assert_eq!(without.get("/count").await["body"], "none");
    assert_ne!(with.get("/count").await["body"], "none");
    assert_eq!(without.get("/needed").await["statusCode"], 400);
    assert_eq!(with.get("/needed").await["body"], "one");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_accepted_client_is_seen_to_leave_once() {
    let (entered, mut accepted) = mpsc::unbounded_channel();
    let (left, mut seen) = mpsc::unbounded_channel();
    let connect = move |client: Client, _: Context| {
        let entered = entered.clone();
        async move {
            tokio::task::yield_now().await;
            if client.handshake().query("wanted").is_none() {
                return Err("E_NAME: not wanted");
            }
            entered.send(client.handshake().query("n").unwrap()).unwrap();
            Ok(())
        }
    };
    let builder = builder().on_connect(connect).on_disconnect(move |client, _| {
        left.send(client.handshake().query("n").unwrap()).unwrap();
        async {}
    });
    let server = start(builder).await;
    for number in 0..60 {
        let wanted = if number % 3 == 0 { "" } else { "&wanted" };
        let mut socket = Socket::open_with_query(&server, &format!("&n={number}{wanted}")).await;
        socket.send(["40", "40{\"backwire\":1}"][number % 2]).await;
        // Some leave before they are accepted.
        if number % 5 != 0 {
            let answer = socket.next_frame().await;
            assert_eq!(answer.starts_with("40{"), number % 3 != 0, "{answer}");
        }
        if number % 4 == 0 {
            socket.send("41").await;
        }
    }
    server.shutdown().await;
    let mut numbers = Vec::new();
    while let Ok(number) = accepted.try_recv() {
        numbers.push(number);
    }
    assert!(numbers.len() >= 30, "{numbers:?}");
    while !numbers.is_empty() {
        let left = timeout(Duration::from_secs(20), seen.recv()).await.ok().flatten();
        let left = left.unwrap_or_else(|| panic!("not seen to leave: {numbers:?}"));
        let at = numbers.iter().position(|number| *number == left).expect("once");
        numbers.swap_remove(at);
    }
}

#[tokio::test]
async fn client_that_leaves_while_it_is_accepted_is_seen_to_leave() {
    let gate = Arc::new(Semaphore::new(0));
    let (events, mut happened) = mpsc::unbounded_channel();
    let (begun, opened) = (events.clone(), Arc::clone(&gate));
    let connect = move |_: Client, _: Context| {
        let (begun, opened) = (begun.clone(), Arc::clone(&opened));
        async move {
            begun.send("begun").unwrap();
            opened.acquire().await.unwrap().forget();
            begun.send("accepted").unwrap();
            Ok::<_, String>(())
        }
    };
    let builder = builder().on_connect(connect).on_disconnect(move |client, _| {
        events.send(if client.is_connected() { "still there" } else { "left" }).unwrap();
        async {}
    });
    let server = start(builder).await;
    let mut socket = Socket::open_with_query(&server, "").await;
    socket.send(format!("40{RUNTIME}")).await;
    assert_eq!(happened.recv().await, Some("begun"));
    drop(socket);
    gate.add_permits(1);
    assert_eq!(happened.recv().await, Some("accepted"));
    assert_eq!(happened.recv().await, Some("left"));
    server.shutdown().await;
}
