//! The client in a real browser against a real server, which `cargo xtask test` starts.
#![cfg(target_family = "wasm")]

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
    this.calls = {finish: [], deliver: [], refresh: [], status: []};
    this.waiting = {};
    this.onFinish = null;
  }
  tell(name, args) {
    const waiting = this.waiting[name];
    delete this.waiting[name];
    if (waiting) waiting(args);
    else this.calls[name].push(args);
  }
  finish(...args) { this.onFinish?.(...args); this.tell('finish', args); }
  deliver(...args) { this.tell('deliver', args); }
  refresh(...args) { this.tell('refresh', args); }
  status(...args) { this.tell('status', args); }
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
    /// The arguments of the next call of a method, which may have been made already.
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

type Finish = (u32, u16, Option<Todo>, Option<serde::de::IgnoredAny>);

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
    (Client::new(&url, &unique(), 1.0, listener), recorder)
}

fn connected() -> (Client, Recorder) {
    let (client, recorder) = client_of(server());
    client.connect();
    (client, recorder)
}

/// A resource no other test knows.
fn resource() -> String {
    format!("/t{}", unique())
}

fn ask(client: &Client, method: &str, url: &str, body: Option<&str>) -> u32 {
    client.request(method, url, body.map(Into::into), 0, None)
}

#[wasm_bindgen_test]
async fn a_request_made_before_there_is_a_connection_is_answered() {
    let (client, recorder) = client_of(server());
    let token = ask(&client, "post", &resource(), Some(r#"{"title":"Milk"}"#));
    client.connect();
    let (answered, status, todo, _): Finish = recorder.call("finish").await;
    assert_eq!((answered, status), (token, 201));
    assert_eq!(todo, Some(Todo { id: 1, title: "Milk".into() }));
}

#[wasm_bindgen_test]
async fn what_is_asked_again_under_its_key_is_done_once() {
    let (todos, key) = (resource(), unique());
    let (client, recorder) = connected();
    for _ in 0..2 {
        let body = Some(r#"{"title":"Milk"}"#.into());
        client.request("post", &todos, body, 0, Some(key.clone()));
        let (_, status, todo, _): Finish = recorder.call("finish").await;
        assert_eq!((status, todo.expect("a record").id), (201, 1));
    }
}

#[wasm_bindgen_test]
async fn a_change_made_elsewhere_is_delivered_once() {
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
async fn ones_own_create_is_answered_and_not_delivered_as_well() {
    let todos = resource();
    let (client, recorder) = connected();
    ask(&client, "get", &todos, None);
    ask(&client, "post", &todos, Some(r#"{"title":"Milk"}"#));
    ask(&client, "post", &todos, Some(r#"{"title":"Eggs"}"#));
    for _ in 0..3 {
        JsFuture::from(recorder.next("finish")).await.expect("an answer");
    }
    // The answer to a later request has passed whatever the server pushed before it.
    ask(&client, "get", &todos, None);
    JsFuture::from(recorder.next("finish")).await.expect("an answer");
    assert_eq!(recorder.count("deliver"), 0);
}

#[wasm_bindgen_test]
async fn requests_wait_while_there_is_no_connection() {
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
async fn a_request_ends_when_its_time_is_over() {
    let (client, recorder) = client_of(server());
    let token = client.request("get", &resource(), None, 20, None);
    let (answered, status, reason, _): (u32, u16, String, Option<serde::de::IgnoredAny>) =
        recorder.call("finish").await;
    assert_eq!((answered, status, &*reason), (token, 0, "timeout"));
}

#[wasm_bindgen_test]
async fn a_callback_may_call_the_client_again() {
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
    let (_, status, todo, _): Finish = recorder.call("finish").await;
    assert_eq!((status, &*todo.expect("a record").title), (200, "Oat milk"));
}

#[wasm_bindgen_test]
async fn a_callback_that_throws_does_not_end_the_client() {
    let (client, recorder) = connected();
    let throws_twice = "this.thrown = (this.thrown ?? 0) + 1;
        if (this.thrown <= 2) throw new Error('of the page')";
    recorder.set_on_finish(&js_sys::Function::new_no_args(throws_twice));
    for _ in 0..3 {
        ask(&client, "get", &resource(), None);
    }
    let (_, status, ..): (u32, u16, Vec<Todo>, serde::de::IgnoredAny) =
        recorder.call("finish").await;
    assert_eq!(status, 200);
}

#[wasm_bindgen_test]
async fn a_server_that_is_not_there_is_tried_again() {
    // Nothing listens on the discard port of this machine.
    let (client, recorder) = client_of("http://127.0.0.1:9");
    client.connect();
    assert_eq!(recorder.call::<(String, u32)>("status").await.0, "connecting");
    assert_eq!(recorder.call::<(String, u32)>("status").await.0, "offline");
}

#[wasm_bindgen_test]
fn a_method_that_is_none_is_an_error() {
    let (client, _recorder) = client_of(server());
    assert_eq!(client.request("frobnicate", "/todo", None, 0, None), 0);
}
