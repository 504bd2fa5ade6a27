//! The client in a real browser against a real server, which `cargo xtask test` starts.
#![cfg(target_family = "wasm")]

use std::cell::Cell;

use backwire_client_wasm::shell::Client;
use js_sys::{Array, Promise};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen(inline_js = r#"
export class Recorder {
  constructor() {
    this.calls = {finish: [], deliver: [], refresh: [], status: [], http: [], refused: []};
    this.waiting = {};
    this.onFinish = null;
  }
  tell(name, args) {
    const waiting = this.waiting[name];
    delete this.waiting[name];
    if (waiting) waiting(args);
    else this.calls[name].push(args);
  }
  open(url) { return new WebSocket(url); }
  finish(...args) { this.onFinish?.(...args); this.tell('finish', args); }
  deliver(...args) { this.tell('deliver', args); }
  refresh(...args) { this.tell('refresh', args); }
  status(...args) { this.tell('status', args); }
  resumed() {}
  http(...args) { this.tell('http', args); }
  refused(...args) { this.tell('refused', args); }
  next(name) {
    if (this.calls[name].length) return Promise.resolve(this.calls[name].shift());
    return new Promise(resolve => { this.waiting[name] = resolve; });
  }
  count(name) { return this.calls[name].length; }
}
export function unique() { return crypto.randomUUID().replaceAll('-', ''); }
"#)]
extern "C" {
    type Recorder;
    #[wasm_bindgen(constructor)]
    fn new() -> Recorder;
    /// Returns the arguments of the next call of a method. The call may have happened already.
    #[wasm_bindgen(method)]
    fn next(this: &Recorder, name: &str) -> Promise;
    #[wasm_bindgen(method)]
    fn count(this: &Recorder, name: &str) -> u32;
    #[wasm_bindgen(method, setter = onFinish)]
    fn set_on_finish(this: &Recorder, call: &JsValue);
    fn unique() -> String;
}

impl Recorder {
    async fn call<T: DeserializeOwned>(&self, name: &str) -> T {
        let arguments = JsFuture::from(self.next(name)).await.expect("a call");
        serde_wasm_bindgen::from_value(arguments).expect("arguments of this shape")
    }
}

/// Token, status, body, headers, and whether the write had waited.
type Finish = (u32, u16, Option<Todo>, Headers, bool);

type Headers = Option<serde::de::IgnoredAny>;

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Todo {
    id: u32,
    title: String,
}

fn server() -> &'static str {
    match option_env!("BACKWIRE_TEST_SERVER") {
        Some(address) => address,
        None => panic!("BACKWIRE_TEST_SERVER is a server's address: run this by cargo xtask test"),
    }
}

fn client_of(server: &str) -> (Client, Recorder) {
    let server = server.replacen("http", "ws", 1);
    let url = format!("{server}/socket.io/?EIO=4&transport=websocket");
    let recorder = Recorder::new();
    let listener = JsValue::from(&recorder).unchecked_into();
    (Client::new(&url, JsValue::from_str(""), &unique(), 1.0, listener), recorder)
}

fn connected() -> (Client, Recorder) {
    let (client, recorder) = client_of(server());
    client.connect();
    (client, recorder)
}

/// Returns a resource that no other test uses.
fn resource() -> String {
    format!("/t{}", unique())
}

thread_local!(static TOKENS: Cell<u32> = const { Cell::new(0) });

/// Sends a request with these headers, body and key.
fn send(
    client: &Client,
    token: u32,
    (method, url): (&str, &str),
    texts: [Option<&str>; 3],
    kind: u32,
) -> bool {
    let [headers, body, key] = texts.map(|text| text.map_or(JsValue::UNDEFINED, JsValue::from_str));
    client.request(token, method, url, headers, body, key, kind)
}

/// Sends a request with a token that no other request has.
fn ask(client: &Client, method: &str, url: &str, body: Option<&str>) -> u32 {
    let token = TOKENS.get() + 1;
    TOKENS.set(token);
    assert!(send(client, token, (method, url), [None, body, None], 0));
    token
}

#[wasm_bindgen_test]
async fn request_made_before_the_connection_opens_is_answered() {
    let (client, recorder) = client_of(server());
    let token = ask(&client, "post", &resource(), Some(r#"{"title":"Milk"}"#));
    client.connect();
    let (answered, status, todo, _, waited): Finish = recorder.call("finish").await;
    assert_eq!((answered, status, waited), (token, 201, true));
    assert_eq!(todo, Some(Todo { id: 1, title: "Milk".into() }));
}

#[wasm_bindgen_test]
async fn repeated_write_with_the_same_key_is_committed_once() {
    let (todos, key) = (resource(), unique());
    let (client, recorder) = connected();
    for (token, kind) in [(1, 0), (2, 1)] {
        let texts = [None, Some(r#"{"title":"Milk"}"#), Some(&*key)];
        send(&client, token, ("post", &todos), texts, kind);
        let (_, status, todo, ..): Finish = recorder.call("finish").await;
        assert_eq!((status, todo.expect("a record").id), (201, 1));
    }
}

#[wasm_bindgen_test]
async fn change_by_another_client_is_delivered_once() {
    let todos = resource();
    let (here, listener) = connected();
    ask(&here, "get", &todos, None);
    let _: Array = JsFuture::from(listener.next("finish")).await.expect("an answer").into();
    let (there, _other) = connected();
    ask(&there, "post", &todos, Some(r#"{"title":"Milk"}"#));
    ask(&there, "put", &format!("{todos}/1"), Some(r#"{"title":"Oat milk"}"#));
    let mut changes = Vec::new();
    while changes.len() < 2 {
        let (room, news): (String, Vec<Change>) = listener.call("deliver").await;
        assert_eq!(room, todos[1..]);
        changes.extend(news);
    }
    let told: Vec<_> =
        changes.iter().map(|change| (change.0, change.1, &*change.3.title)).collect();
    assert_eq!(told, [(1, 1, "Milk"), (2, 2, "Oat milk")]);
}

/// Offset, verb, id, data, mark.
type Change = (u32, u8, u32, Title, u64);

#[derive(Debug, serde::Deserialize)]
struct Title {
    title: String,
}

#[wasm_bindgen_test]
async fn own_create_is_answered_and_its_echo_is_not_delivered() {
    let todos = resource();
    let (client, recorder) = connected();
    ask(&client, "get", &todos, None);
    ask(&client, "post", &todos, Some(r#"{"title":"Milk"}"#));
    ask(&client, "post", &todos, Some(r#"{"title":"Eggs"}"#));
    for _ in 0..3 {
        JsFuture::from(recorder.next("finish")).await.expect("an answer");
    }
    // The answer to a later request arrives after all earlier pushes.
    ask(&client, "get", &todos, None);
    JsFuture::from(recorder.next("finish")).await.expect("an answer");
    assert_eq!(recorder.count("deliver"), 0);
}

#[wasm_bindgen_test]
async fn requests_wait_while_the_client_is_disconnected() {
    let (client, recorder) = connected();
    let states = [("connecting", 0), ("online", 0)];
    for (state, unsent) in states {
        assert_eq!(recorder.call::<(String, u32)>("status").await, (state.into(), unsent));
    }
    client.disconnect();
    ask(&client, "post", &resource(), Some(r#"{"title":"Milk"}"#));
    for (state, unsent) in [("offline", 0), ("offline", 1), ("connecting", 1), ("online", 0)] {
        assert_eq!(recorder.call::<(String, u32)>("status").await, (state.into(), unsent));
        if (state, unsent) == ("offline", 1) {
            assert_eq!(recorder.count("finish"), 0);
            client.connect();
        }
    }
    assert_eq!(recorder.call::<Finish>("finish").await.1, 201);
}

#[wasm_bindgen_test]
async fn request_is_sent_over_http_if_the_server_refuses_the_connection() {
    let (client, recorder) = connected();
    client.refuse("E_ORIGIN: not from here".into());
    assert_eq!(recorder.call::<(String,)>("refused").await.0, "E_ORIGIN: not from here");
    let token = ask(&client, "post", &resource(), Some(r#"{"title":"Milk"}"#));
    assert_eq!(recorder.call::<(u32,)>("http").await.0, token);
    let body = js_sys::JSON::parse(r#"{"id":1,"title":"Milk"}"#).expect("JSON");
    client.answered_over_http(token, 201, body, JsValue::UNDEFINED);
    let (answered, status, todo, headers, _): Finish = recorder.call("finish").await;
    assert_eq!((answered, status, headers.is_none()), (token, 201, true));
    assert_eq!(todo, Some(Todo { id: 1, title: "Milk".into() }));
    let read = ask(&client, "get", &resource(), None);
    client.answered_over_http(read, 0, JsValue::UNDEFINED, JsValue::UNDEFINED);
    let (answered, status, reason, ..): (u32, u16, String, Headers, bool) =
        recorder.call("finish").await;
    assert_eq!((answered, status, &*reason), (read, 0, "unreachable"));
}

#[wasm_bindgen_test]
async fn request_has_the_headers_of_the_page_and_an_idempotency_key() {
    let (client, recorder) = connected();
    let headers = r#"{"content-type":"application/json","x-page":"\"a\""}"#;
    let texts = [Some(headers), Some(r#"{"title":"Milk"}"#), None];
    send(&client, 1, ("post", &resource()), texts, 0);
    assert_eq!(recorder.call::<Finish>("finish").await.1, 201);
}

#[wasm_bindgen_test]
async fn callback_may_call_the_client() {
    let (client, recorder) = connected();
    let todos = resource();
    let client = std::rc::Rc::new(client);
    let again = std::rc::Rc::clone(&client);
    let url = format!("{todos}/1");
    let call = Closure::once_into_js(move |_token: u32| {
        ask(&again, "put", &url, Some(r#"{"title":"Oat milk"}"#));
    });
    recorder.set_on_finish(&call);
    ask(&client, "post", &todos, Some(r#"{"title":"Milk"}"#));
    let _: Finish = recorder.call("finish").await;
    recorder.set_on_finish(&JsValue::UNDEFINED);
    let (_, status, todo, ..): Finish = recorder.call("finish").await;
    assert_eq!((status, &*todo.expect("a record").title), (200, "Oat milk"));
}

#[wasm_bindgen_test]
async fn client_continues_after_a_callback_throws() {
    let (client, recorder) = connected();
    let throws_twice = "this.thrown = (this.thrown ?? 0) + 1;
        if (this.thrown <= 2) throw new Error('of the page')";
    recorder.set_on_finish(&js_sys::Function::new_no_args(throws_twice));
    for _ in 0..3 {
        ask(&client, "get", &resource(), None);
    }
    let (_, status, ..): (u32, u16, Vec<Todo>, serde::de::IgnoredAny, bool) =
        recorder.call("finish").await;
    assert_eq!(status, 200);
}

#[wasm_bindgen_test]
async fn client_retries_an_unreachable_server() {
    // Nothing listens on the discard port of this machine.
    let (client, recorder) = client_of("http://127.0.0.1:9");
    client.connect();
    assert_eq!(recorder.call::<(String, u32)>("status").await.0, "connecting");
    assert_eq!(recorder.call::<(String, u32)>("status").await.0, "offline");
}

#[wasm_bindgen_test]
fn unknown_method_is_an_error() {
    let (client, _recorder) = client_of(server());
    assert!(!send(&client, 1, ("frobnicate", "/todo"), [None; 3], 0));
}
