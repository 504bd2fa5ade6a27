//! Tests of `backwire send` with a server that records messages or gives fixed answers.

use std::sync::Arc;

use backwire::sites::{Site, Sites};
use backwire::write::Key;
use clap::Parser;
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    send: Send,
}

/// A message and its key.
type Sent = (backwire::messages::message::Message, Option<Key>);

/// Starts a server with one site. Returns its url and the messages that it gets.
async fn server() -> (String, Arc<Mutex<Vec<Sent>>>) {
    let sites = Sites::default();
    let auth_url = "http://localhost/".parse().unwrap();
    let site = Site::new(auth_url, "54321".parse().unwrap());
    sites.replace([("newsite".parse().unwrap(), site)]);
    let messages = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&messages);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = backwire::recording_send_router(sites, move |message, key| {
        recorded.lock().push((message, key))
    });
    tokio::spawn(async { axum::serve(listener, app).await });
    (url, messages)
}

async fn send(url: &str, options: &[&str], input: &str) -> Result<(), String> {
    let common = ["backwire", "--url", url, "--site", "newsite"];
    let Line { send } = Line::try_parse_from([&common, options].concat()).unwrap();
    send.send(input.as_bytes()).await.map_err(|error| error.to_string())
}

fn take_json(messages: &Mutex<Vec<Sent>>) -> Value {
    let messages = std::mem::take(&mut *messages.lock());
    let sent = messages.into_iter().map(|(message, key)| {
        let key = key.map(|key| key.key.to_string());
        json!([message.rooms, message.event, message.args, message.resync, key])
    });
    sent.collect()
}

const KEY: [&str; 2] = ["--api-key", "54321"];

#[tokio::test]
async fn event_is_sent_with_its_arguments() {
    let (url, messages) = server().await;
    let options = [&KEY[..], &["--rooms", "a,b", "--event", "e"]].concat();
    send(&url, &options, "").await.unwrap();
    assert_eq!(take_json(&messages), json!([[["a", "b"], "e", [null], false, null]]));
    let more = ["--resync", "--idempotency-key", "k", "\"user\"", "{\"id\":1}"];
    send(&url, &[&options, &more[..]].concat(), "").await.unwrap();
    assert_eq!(take_json(&messages), json!([[["a", "b"], "e", ["user", { "id": 1 }], true, "k"]]));
}

#[tokio::test]
async fn lines_are_sent_in_order_and_empty_lines_are_skipped() {
    let (url, messages) = server().await;
    let lines: String = (0..2500)
        .map(|it| format!("{{\"rooms\":\"a\",\"event\":\"e\",\"args\":{it}}}\n\n"))
        .collect();
    send(&url, &KEY, &lines).await.unwrap();
    let args: Vec<_> =
        messages.lock().iter().map(|(message, _)| message.args[0].get().to_owned()).collect();
    assert_eq!(args, (0..2500).map(|it| it.to_string()).collect::<Vec<_>>());
    send(&url, &KEY, "\n").await.unwrap();
}

#[tokio::test]
async fn request_is_repeated_after_429() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&requests);
    let answer = axum::routing::post(async move |body: String| {
        let mut recorded = recorded.lock();
        recorded.push(body);
        let status = match recorded.len() {
            1 => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::OK,
        };
        (status, [(header::RETRY_AFTER, "0")], r#"[{"status":200}]"#)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/send", answer);
    tokio::spawn(async { axum::serve(listener, app).await });
    let line = "{\"rooms\":\"a\",\"event\":\"e\"}\n";
    send(&url, &KEY, line).await.unwrap();
    assert_eq!(*requests.lock(), [line, line]);
}

#[tokio::test]
async fn refusal_is_reported_in_the_wording_of_the_server() {
    let (url, messages) = server().await;
    let event = ["--rooms", "a", "--event"];
    for (options, expected) in [
        ([&KEY[..], &event, &["batch"]].concat(), "400 event: this is an event of the push"),
        ([&["--api-key", "5"][..], &event, &["e"]].concat(), "401 apiKey: unknown site"),
    ] {
        let refused = send(&url, &options, "").await.unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
    }
    let line = "{\"rooms\":\"a\",\"event\":\"e\"}";
    let refused = send(&url, &KEY, &format!("{line}\n{{}}\n{line}\n")).await.unwrap_err();
    assert_eq!(refused, "1 of 3 lines could not be sent");
    assert_eq!(take_json(&messages).as_array().unwrap().len(), 2);
    let refused = send(&url, &["--api-key", "5"], &format!("\n{line}\n")).await.unwrap_err();
    assert!(refused.starts_with("line 2: 401 apiKey: "), "{refused}");
}

#[tokio::test]
async fn key_can_be_read_from_a_file() {
    let (url, messages) = server().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("key").display().to_string();
    std::fs::write(&file, "54321\n").unwrap();
    let options = ["--api-key-file", &file, "--rooms", "a", "--event", "e"];
    send(&url, &options, "").await.unwrap();
    assert_eq!(take_json(&messages).as_array().unwrap().len(), 1);
}

/// Returns the words that a shell makes of a line.
fn words(line: &str) -> Vec<String> {
    let printed = format!("printf '%s\\n' {line}");
    let words = std::process::Command::new("sh").args(["-c", &printed]).output().unwrap();
    String::from_utf8(words.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn documented_command_sends_the_same_as_the_documented_request() {
    let (url, messages) = server().await;
    let page = include_str!("../../../../../docs/reference/push-service-api.md");
    let line = page.lines().find_map(|line| line.strip_prefix("backwire send --")).unwrap();
    let words = words(&format!("--{line}"));
    let options = KEY.into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>();
    send(&url, &options, "").await.unwrap();
    let sent = json!([["user_1", "staff"], "update_store", ["user", { "id": 1, "name": "Ann" }], false, null]);
    assert_eq!(take_json(&messages), json!([sent]));
}

#[test]
fn incomplete_options_are_refused() {
    let common = ["backwire", "--site", "newsite", "--api-key", "k"];
    for options in [
        &["--rooms", "a"][..],
        &["--event", "e"],
        &["1"],
        &["--idempotency-key", "k"],
        &["--rooms", "a", "--event", "e", "user"],
    ] {
        assert!(Line::try_parse_from([&common, options].concat()).is_err(), "{options:?}");
    }
    assert!(Line::try_parse_from(["backwire", "--site", "newsite"]).is_err());
    assert!(Line::try_parse_from(["backwire", "--site", "/", "--api-key", "k"]).is_err());
}
