//! The command before a recorder, or before a server that says what it is told to.

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

/// What a message says, and its key.
type Sent = (backwire::messages::message::Message, Option<Key>);

/// A server with one site, and what was sent to it.
async fn server() -> (String, Arc<Mutex<Vec<Sent>>>) {
    let sites = Sites::default();
    let auth_url = "http://localhost/".parse().unwrap();
    let site = Site::new(auth_url, "54321".parse().unwrap());
    sites.replace([("newsite".parse().unwrap(), site)]);
    let letters = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&letters);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = backwire::record_sent(sites, move |message, key| kept.lock().push((message, key)));
    tokio::spawn(async { axum::serve(listener, app).await });
    (url, letters)
}

async fn send(url: &str, said: &[&str], input: &str) -> Result<(), String> {
    let place = ["backwire", "--url", url, "--site", "newsite"];
    let Line { send } = Line::try_parse_from([&place, said].concat()).unwrap();
    send.send(input.as_bytes()).await.map_err(|error| error.to_string())
}

fn came(letters: &Mutex<Vec<Sent>>) -> Value {
    let letters = std::mem::take(&mut *letters.lock());
    let told = letters.into_iter().map(|(message, key)| {
        let key = key.map(|key| key.key.to_string());
        json!([message.rooms, message.event, message.args, message.resync, key])
    });
    told.collect()
}

const KEY: [&str; 2] = ["--api-key", "54321"];

#[tokio::test]
async fn an_event_is_sent_with_its_arguments() {
    let (url, letters) = server().await;
    let said = [&KEY[..], &["--rooms", "a,b", "--event", "e"]].concat();
    send(&url, &said, "").await.unwrap();
    assert_eq!(came(&letters), json!([[["a", "b"], "e", [null], false, null]]));
    let more = ["--resync", "--idempotency-key", "k", "\"user\"", "{\"id\":1}"];
    send(&url, &[&said, &more[..]].concat(), "").await.unwrap();
    assert_eq!(came(&letters), json!([[["a", "b"], "e", ["user", { "id": 1 }], true, "k"]]));
}

#[tokio::test]
async fn lines_are_sent_in_their_order_and_empty_ones_are_none() {
    let (url, letters) = server().await;
    let lines: String = (0..2500)
        .map(|it| format!("{{\"rooms\":\"a\",\"event\":\"e\",\"args\":{it}}}\n\n"))
        .collect();
    send(&url, &KEY, &lines).await.unwrap();
    let came: Vec<_> =
        letters.lock().iter().map(|(message, _)| message.args[0].get().to_owned()).collect();
    assert_eq!(came, (0..2500).map(|it| it.to_string()).collect::<Vec<_>>());
    send(&url, &KEY, "\n").await.unwrap();
}

#[tokio::test]
async fn what_is_to_come_later_is_sent_again() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let answer = axum::routing::post(async move |body: String| {
        let mut seen = seen.lock();
        seen.push(body);
        let status = match seen.len() {
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
    assert_eq!(*asked.lock(), [line, line]);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_the_server() {
    let (url, letters) = server().await;
    let event = ["--rooms", "a", "--event"];
    for (said, told) in [
        ([&KEY[..], &event, &["batch"]].concat(), "400 event: this is an event of the push"),
        ([&["--api-key", "5"][..], &event, &["e"]].concat(), "401 apiKey: unknown site"),
    ] {
        let refused = send(&url, &said, "").await.unwrap_err();
        assert!(refused.starts_with(told), "{refused}");
    }
    let line = "{\"rooms\":\"a\",\"event\":\"e\"}";
    let refused = send(&url, &KEY, &format!("{line}\n{{}}\n{line}\n")).await.unwrap_err();
    assert_eq!(refused, "1 of 3 lines were not sent");
    assert_eq!(came(&letters).as_array().unwrap().len(), 2);
    let refused = send(&url, &["--api-key", "5"], &format!("\n{line}\n")).await.unwrap_err();
    assert!(refused.starts_with("lines 2 to 2: 401 apiKey: "), "{refused}");
}

#[tokio::test]
async fn a_key_may_be_in_a_file() {
    let (url, letters) = server().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("key").display().to_string();
    std::fs::write(&file, "54321\n").unwrap();
    let said = ["--api-key-file", &file, "--rooms", "a", "--event", "e"];
    send(&url, &said, "").await.unwrap();
    assert_eq!(came(&letters).as_array().unwrap().len(), 1);
}

/// What a shell makes of a line.
fn words(line: &str) -> Vec<String> {
    let printed = format!("printf '%s\\n' {line}");
    let words = std::process::Command::new("sh").args(["-c", &printed]).output().unwrap();
    String::from_utf8(words.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_documented_line_sends_what_the_documented_request_does() {
    let (url, letters) = server().await;
    let page = include_str!("../../../../../docs/reference/push-service-api.md");
    let line = page.lines().find_map(|line| line.strip_prefix("backwire send --")).unwrap();
    let words = words(&format!("--{line}"));
    let said = KEY.into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>();
    send(&url, &said, "").await.unwrap();
    let sent = json!([["user_1", "staff"], "update_store", ["user", { "id": 1, "name": "Ann" }], false, null]);
    assert_eq!(came(&letters), json!([sent]));
}

#[test]
fn what_is_said_halfway_is_refused() {
    let place = ["backwire", "--site", "newsite", "--api-key", "k"];
    for said in [
        &["--rooms", "a"][..],
        &["--event", "e"],
        &["1"],
        &["--idempotency-key", "k"],
        &["--rooms", "a", "--event", "e", "user"],
    ] {
        assert!(Line::try_parse_from([&place, said].concat()).is_err(), "{said:?}");
    }
    assert!(Line::try_parse_from(["backwire", "--site", "newsite"]).is_err());
    assert!(Line::try_parse_from(["backwire", "--site", "/", "--api-key", "k"]).is_err());
}
