//! Tests of the route, with a recorder in place of the store. The recorder keeps or refuses
//! messages.

use axum::body::Body as HttpBody;
use axum::middleware::{from_fn_with_state, map_response};
use backwire_engine as engine;
use futures_util::FutureExt;
use http::Request;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::error::normalize_error;
use crate::http::limit;

const LIMIT: usize = 4096;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";
const NDJSON: &str = "application/x-ndjson";
const KEY: &str = "/send?site=newsite&apiKey=54321";

struct Recorder {
    router: Router,
    sites: Sites,
    messages: Arc<Mutex<Vec<QueuedMessage>>>,
}

fn site(key: &str) -> (Name, Site) {
    let auth_url = "http://localhost/".parse().unwrap();
    ("newsite".parse().unwrap(), Site::new(auth_url, key.parse().unwrap()))
}

fn recorder() -> Recorder {
    let sites = Sites::default();
    sites.replace([site("54321")]);
    let messages = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&messages);
    let enqueue: Enqueue = Arc::new(move |message: QueuedMessage| {
        let recorded = Arc::clone(&recorded);
        async move {
            match message.message.event.as_str() {
                "full" => Err(engine::Error::Unavailable("the disk is full".to_owned()).into()),
                "fast" => Err(Error::TooManyRequests { limit: 7 }),
                _ => {
                    recorded.lock().push(message);
                    Ok(())
                }
            }
        }
        .boxed()
    });
    let router = router(sites.clone(), LIMIT, enqueue)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(map_response(normalize_error))
        .layer(from_fn_with_state(LIMIT, limit::check));
    Recorder { router, sites, messages }
}

impl Recorder {
    async fn send(&self, request: Request<impl Into<HttpBody>>) -> (u16, String) {
        let request = request.map(Into::into);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    async fn post(&self, url: &str, kind: &str, body: impl Into<String>) -> (u16, String) {
        let body = body.into();
        let request = Request::post(url).header("content-type", kind);
        let request = request.header("content-length", body.len());
        self.send(request.body(body).unwrap()).await
    }

    /// Returns status, field and message of a refusal.
    async fn refused(&self, url: &str, kind: &str, body: impl Into<String>) -> String {
        let (status, body) = self.post(url, kind, body).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(self.messages.lock().len(), 0);
        format!("{status} {}: {}", body["field"], body["message"].as_str().unwrap())
    }

    /// Takes the messages that were recorded since the last call.
    fn take_messages(&self) -> Value {
        let messages = std::mem::take(&mut *self.messages.lock());
        let messages = messages.into_iter().map(|QueuedMessage { name, site, message, .. }| {
            assert_eq!((name.as_str(), site.event_names), ("newsite", EventNames::Plain));
            json!([message.rooms, message.event, message.args, message.resync])
        });
        messages.collect()
    }
}

fn ok() -> (u16, String) {
    (200, "OK".to_owned())
}

#[tokio::test]
async fn jquery_form_equals_json_except_for_numbers() {
    let recorder = recorder();
    let json = json!({ "rooms": ["user_1", "staff"], "event": "update_store", "args": ["user", { "id": 1 }] });
    assert_eq!(recorder.post(KEY, JSON, json.to_string()).await, ok());
    let expected = json!([[["user_1", "staff"], "update_store", ["user", { "id": 1 }], false]]);
    assert_eq!(recorder.take_messages(), expected);
    let form = "rooms%5B%5D=user_1&rooms%5B%5D=staff&event=update_store&args%5B%5D=user&args%5B1%5D%5Bid%5D=1";
    assert_eq!(recorder.post(KEY, FORM, form).await, ok());
    let expected = json!([[["user_1", "staff"], "update_store", ["user", { "id": "1" }], false]]);
    assert_eq!(recorder.take_messages(), expected);
    assert_eq!(recorder.post(KEY, FORM, "rooms=user_1&event=e&resync=true").await, ok());
    assert_eq!(recorder.take_messages(), json!([[["user_1"], "e", [null], true]]));
}

#[tokio::test]
async fn json_is_accepted_without_its_content_type() {
    let recorder = recorder();
    let json = r#" {"rooms":"a","event":"e"}"#;
    let request = Request::post(KEY).body(json.to_owned()).unwrap();
    assert_eq!(recorder.send(request).await, ok());
    // `curl -d` sends the last one.
    for kind in ["text/plain", "text/plain;charset=UTF-8", FORM] {
        assert_eq!(recorder.post(KEY, kind, json).await, ok());
        assert_eq!(recorder.post(KEY, kind, format!("[{json}]")).await.0, 200);
    }
    assert_eq!(recorder.take_messages().as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn unsupported_content_type_is_refused_with_the_name_of_the_header() {
    let recorder = recorder();
    let refused = recorder.refused(KEY, "text/html", "{}").await;
    let expected =
        "expected application/json, application/x-ndjson or application/x-www-form-urlencoded";
    assert_eq!(
        refused,
        format!(r#"415 "content-type": Content-Type: "text/html" is not supported; {expected}"#)
    );
    let request = Request::post(KEY).body("rooms".to_owned()).unwrap();
    let (status, body) = recorder.send(request).await;
    assert_eq!(status, 415);
    assert!(body.contains(&format!("Content-Type is missing; {expected}")), "{body}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8], has_header: bool) -> Vec<u8> {
    let level = flate2::Compression::default();
    let mut compress = flate2::Compress::new(level, has_header);
    let mut all = Vec::with_capacity(bytes.len() + 100);
    compress.compress_vec(bytes, &mut all, flate2::FlushCompress::Finish).unwrap();
    all
}

fn compressed(encoding: &str, body: Vec<u8>) -> Request<Vec<u8>> {
    let request = Request::post(KEY).header("content-type", JSON);
    request.header("content-encoding", encoding).body(body).unwrap()
}

#[tokio::test]
async fn body_may_be_compressed() {
    let recorder = recorder();
    let json = r#"{"rooms":"a","event":"e","args":["ä"]}"#.as_bytes();
    for (encoding, body) in [
        ("gzip", gzip(json)),
        ("GZIP", gzip(json)),
        ("x-gzip", gzip(json)),
        ("deflate", deflate(json, true)),
        ("deflate", deflate(json, false)),
        ("identity", json.to_vec()),
    ] {
        assert_eq!(recorder.send(compressed(encoding, body)).await, ok(), "{encoding}");
        assert_eq!(recorder.take_messages(), json!([[["a"], "e", ["ä"], false]]));
    }
}

#[tokio::test]
async fn body_that_decompresses_beyond_the_limit_is_refused_early() {
    let recorder = recorder();
    // A body of exactly the limit is parsed.
    let (status, body) = recorder.send(compressed("gzip", gzip(&[b' '; LIMIT]))).await;
    assert_eq!((status, body.contains("E_BAD_JSON")), (400, true), "{body}");
    let expected = "more than 4096 bytes when it is decompressed";
    let (status, body) = recorder.send(compressed("gzip", gzip(&[b' '; LIMIT + 1]))).await;
    assert_eq!((status, body.contains(expected)), (413, true), "{body}");
    // The server does not read beyond the limit: the rest is not even valid gzip.
    let bomb = gzip(&vec![b' '; 3 << 20]);
    assert!(bomb.len() < LIMIT);
    let begin = bomb[..bomb.len() / 2].to_vec();
    let (status, body) = recorder.send(compressed("gzip", begin)).await;
    assert_eq!((status, body.contains(expected)), (413, true), "{body}");
}

#[tokio::test]
async fn unsupported_or_broken_encoding_is_refused_with_the_name_of_the_header() {
    let recorder = recorder();
    for (encoding, status, expected) in [
        ("br", 415, r#"Content-Encoding: \"br\" is not supported; expected gzip, deflate, or"#),
        ("gzip, gzip", 415, "Content-Encoding: "),
        (
            "gzip",
            400,
            r#""message":"the body cannot be decompressed with this encoding","field":"content-enc"#,
        ),
        ("deflate", 400, r#""field":"content-encoding""#),
    ] {
        let (answered, body) = recorder.send(compressed(encoding, b"{}".to_vec())).await;
        assert_eq!((answered, body.contains(expected)), (status, true), "{encoding}: {body}");
    }
}

#[tokio::test]
async fn resync_false_is_false() {
    let recorder = recorder();
    let body = r#"{"rooms":"a","event":"e"}"#;
    for (query, resync) in [
        ("", false),
        ("&resync=false", false),
        ("&resync=0", false),
        ("&resync=False", false),
        ("&resync=no", false),
        ("&resync=True", true),
        ("&resync=on", true),
        ("&resync=true", true),
        ("&resync=1", true),
    ] {
        assert_eq!(recorder.post(&format!("{KEY}{query}"), JSON, body).await, ok());
        assert_eq!(recorder.take_messages()[0][3], json!(resync), "{query}");
    }
    let own = r#"{"rooms":"a","event":"e","resync":false}"#;
    assert_eq!(recorder.post(&format!("{KEY}&resync=true"), JSON, own).await, ok());
    assert_eq!(recorder.take_messages()[0][3], json!(false));
    let refused = recorder.refused(&format!("{KEY}&resync=maybe"), JSON, body).await;
    assert_eq!(refused, r#"400 "resync": it has to be true or false"#);
}

#[tokio::test]
async fn key_may_be_in_a_header_and_a_wrong_key_looks_like_an_unknown_site() {
    let recorder = recorder();
    let body = || r#"{"rooms":"a","event":"e"}"#.to_owned();
    for key in ["Bearer 54321", "54321"] {
        let request = Request::post("/send?site=newsite").header("authorization", key);
        assert_eq!(recorder.send(request.body(body()).unwrap()).await, ok());
    }
    recorder.take_messages();
    let missing = "Missing query param 'site' or 'apiKey'.";
    for (url, expected) in [
        ("/send", format!(r#"400 "site": {missing}"#)),
        ("/send?site=&apiKey=54321", format!(r#"400 "site": {missing}"#)),
        ("/send?site=newsite", format!(r#"400 "apiKey": {missing}"#)),
        ("/send?site=newsite&apiKey=5432", r#"401 "apiKey": unknown site, or wrong apiKey"#.into()),
        ("/send?site=other&apiKey=54321", r#"401 "apiKey": unknown site, or wrong apiKey"#.into()),
        (
            "/send?site=other&apiKey=nobody's",
            r#"401 "apiKey": unknown site, or wrong apiKey"#.into(),
        ),
    ] {
        assert_eq!(recorder.refused(url, JSON, body()).await, expected);
    }
}

#[tokio::test]
async fn replaced_api_key_is_refused() {
    let recorder = recorder();
    let body = r#"{"rooms":"a","event":"e"}"#;
    recorder.sites.replace([site("0123")]);
    assert_eq!(recorder.post(KEY, JSON, body).await.0, 401);
    assert_eq!(recorder.post("/send?site=newsite&apiKey=0123", JSON, body).await, ok());
}

#[tokio::test]
async fn refusal_of_a_body_names_the_invalid_field() {
    let recorder = recorder();
    for (kind, body, expected) in [
        (JSON, "{", r#"400 null: this is not JSON"#),
        (JSON, "", r#"400 null: this is not JSON"#),
        (JSON, r#"{"event":"e"}"#, r#"400 "rooms": it has to be the name of a room"#),
        (JSON, "[]", r#"400 "body": there have to be 1 to 1000 messages"#),
        (NDJSON, "\n \n", r#"400 "body": there have to be 1 to 1000 messages"#),
        (FORM, "rooms[]=a&rooms[x]=b&event=e", r#"400 "rooms": it has to be the name of a room"#),
        (FORM, "rooms[=a", r#"400 "body": "rooms[" of the form is no name with brackets"#),
        (
            "text/plain",
            "rooms=a",
            r#"415 "content-type": Content-Type: "text/plain" is not supported; expected application/json, "#,
        ),
    ] {
        let refused = recorder.refused(KEY, kind, body).await;
        assert!(refused.starts_with(expected), "{refused}");
    }
    let large = recorder.refused(KEY, JSON, "x".repeat(LIMIT + 1)).await;
    assert_eq!(
        large,
        r#"413 "body": the body has 4097 bytes, at most 4096 are allowed: send less at a time"#
    );
    let many = format!("[{}]", ["1"; 1001].join(","));
    assert!(recorder.refused(KEY, JSON, many).await.contains("1 to 1000 messages"));
}

#[tokio::test]
async fn each_message_of_a_list_is_answered_in_order() {
    let recorder = recorder();
    let (a, b) = (r#"{"rooms":"a","event":"e","args":1}"#, r#"{"rooms":"b","event":"e","args":2}"#);
    for (kind, body) in [(JSON, format!(" [{a},\n {b}]")), (NDJSON, format!("{a}\r\n\n{b}"))] {
        let (status, answer) = recorder.post(&format!("{KEY}&resync=1"), kind, body).await;
        assert_eq!((status, &*answer), (200, r#"[{"status":200},{"status":200}]"#));
        let expected = json!([[["a"], "e", [1], true], [["b"], "e", [2], true]]);
        assert_eq!(recorder.take_messages(), expected);
    }
    let mixed =
        format!("{a}\n{{oops\n{{\"event\":\"e\"}}\n{{\"rooms\":\"c\",\"event\":\"full\"}}\n{b}");
    let (status, answer) = recorder.post(KEY, NDJSON, mixed).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 207);
    let outcomes: Vec<_> = answer
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["status"], it["error"]["code"]]))
        .collect();
    assert_eq!(
        json!(outcomes),
        json!([
            [200, null],
            [400, "E_BAD_JSON"],
            [400, "E_BAD_BODY"],
            [503, "E_UNAVAILABLE"],
            [200, null]
        ])
    );
    let expected = json!([[["a"], "e", [1], false], [["b"], "e", [2], false]]);
    assert_eq!(recorder.take_messages(), expected);
}

#[tokio::test]
async fn message_that_is_not_stored_is_not_answered_with_ok() {
    let recorder = recorder();
    let body = |event: &str| format!(r#"{{"rooms":"a","event":"{event}"}}"#);
    assert!(recorder.refused(KEY, JSON, body("full")).await.starts_with("503 null: "));
    assert!(recorder.refused(KEY, JSON, body("fast")).await.starts_with("429 null: "));
}

#[tokio::test]
async fn repeat_has_the_same_key_and_fingerprint_and_another_message_does_not() {
    let recorder = recorder();
    let send = async |key: &str, body: &str| {
        let request = Request::post(KEY).header("idempotency-key", key).body(body.to_owned());
        let (status, _) = recorder.send(request.unwrap()).await;
        let messages = std::mem::take(&mut *recorder.messages.lock());
        let keys = messages.into_iter().map(|message| message.key.unwrap());
        (status, keys.map(|key| (key.identity, key.key, key.fingerprint)).collect::<Vec<_>>())
    };
    let (a, b) = (r#"{"rooms":"a","event":"e"}"#, r#"{"rooms":"b","event":"e"}"#);
    let (status, first) = send("k", a).await;
    assert_eq!((status, &*first[0].0, &*first[0].1), (200, "newsite", "k"));
    assert_eq!(send("k", a).await.1, first);
    assert_ne!(send("k", b).await.1[0].2, first[0].2);
    let (_, list) = send("k", &format!("[{{}},{a},{{}},{b}]")).await;
    let keys: Vec<_> = list.iter().map(|(_, key, _)| &**key).collect();
    assert_eq!(keys, ["k", "k/3"]);
    // The fingerprint of the first message covers all of them.
    for other in [a.to_owned(), format!("[{{}},{a},{{}}]"), format!("[{a},{b}]")] {
        assert_ne!(send("k", &other).await.1[0].2, list[0].2);
    }
    assert_eq!(send("no key", a).await, (400, vec![]));
}

#[tokio::test]
async fn other_methods_than_post_are_refused() {
    let recorder = recorder();
    let request = Request::get(KEY).body(String::new()).unwrap();
    assert_eq!(recorder.send(request).await.0, 405);
}

/// Returns the requests in the documentation, each with its documented answer.
fn documented() -> Vec<(Request<String>, String)> {
    let page = include_str!("../../../../docs/reference/push-service-api.md");
    let mut requests = Vec::new();
    for block in page.split("```\nPOST ").skip(1) {
        let (request, rest) = block.split_once("\n```\n").unwrap();
        let (head, body) = request.split_once("\n\n").unwrap();
        let (url, kind) = head.split_once("\nContent-Type: ").unwrap();
        let request = Request::post(url).header("content-type", kind).body(body.to_owned());
        let answer = rest.trim_start().strip_prefix("```json\n");
        let answer = answer.map_or("OK", |rest| rest.split_once("\n```").unwrap().0);
        requests.push((request.unwrap(), answer.replace("\n ", "")));
    }
    requests
}

#[tokio::test]
async fn documented_requests_get_the_documented_answers() {
    let recorder = recorder();
    let requests = documented();
    assert_eq!(requests.len(), 3);
    for (request, answer) in requests {
        assert_eq!(recorder.send(request).await.1, answer);
    }
    let user = |id: Value| json!([["user_1", "staff"], "update_store", ["user", { "id": id, "name": "Ann" }], false]);
    let hello = json!([["user_1"], "notification", [{ "text": "Hello" }], false]);
    assert_eq!(recorder.take_messages(), json!([user(json!(1)), user(json!("1")), hello]));
}
