//! A page whose server is behind a proxy together with another back end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, Response, StatusCode};
use axum::routing::any;
use backwire::Server;
use backwire::server::Handle;
use backwire::settings::Store;
use backwire_tests::{Browser, Page, Site};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The steps of a page, one after the other. `trace` has what each callback gets.
const STEPS: &str = r#"
    const trace = [];
    const Item = Backbone.Model.extend({urlRoot: '/legacy/items'});
    const Items = Backbone.Collection.extend({url: '/legacy/items', model: Item});
    $.ajaxSetup({headers: {'X-Token': 'abc'}});
    $(document).on('ajaxSend ajaxComplete', ({type}, xhr, {url, type: verb}) => { trace.push([type, verb, url]); });
    const step = start => new Promise(resolve => {
      const answered = kind => (target, response, {xhr}) => {
        const {status, statusText, responseText} = xhr;
        const header = xhr.getResponseHeader('x-legacy');
        trace.push([kind, status, statusText, responseText, header, JSON.stringify(target)]);
        resolve();
      };
      // A call that sends no request is not answered.
      if (start({success: answered('success'), error: answered('error')}) === false) resolve();
    });
    const one = new Item({id: 1});
    const all = new Items();
    const steps = [
      options => one.fetch(options),
      options => all.fetch({...options, data: {q: 'a b', page: 2}}),
      options => all.create({title: 'Milk'}, options),
      options => one.save({title: 'Bread'}, options),
      options => one.save({title: 'Butter'}, {...options, patch: true}),
      options => one.save({title: 'Oats'}, {...options, emulateHTTP: true, emulateJSON: true}),
      options => new Item({id: 404}).fetch(options),
      options => new Item({id: 500}).save({}, options),
      options => new Item({id: 'page'}).fetch(options),
      options => new (Backbone.Collection.extend({url: '/data/list.json'}))().fetch(options),
      options => one.destroy(options)
    ];
    async function run() {
      for (const each of steps) await step(each);
      return trace;
    }"#;

/// Returns a page with these steps.
fn page(backwire: &str) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
        <script src="/vendor/jquery.min.js"></script>
        <script src="/vendor/underscore-min.js"></script>
        <script src="/vendor/backbone-min.js"></script>
        {backwire}<script>{STEPS}</script>"#
    )
}

/// Answers with what it has received.
async fn back_end(State(requests): State<Arc<AtomicUsize>>, request: Request) -> Response<Body> {
    requests.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 10_000).await.expect("the body is small");
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let (path, query) = (parts.uri.path(), parts.uri.query());
    let received = json!({
        "id": path.rsplit('/').next(), "method": parts.method.as_str(), "query": query,
        "body": String::from_utf8_lossy(&body), "token": header("x-token"),
        "type": header("content-type"), "override": header("x-http-method-override"),
    });
    let (status, text) = match (&parts.method, path) {
        (_, "/legacy/items/404") => (StatusCode::NOT_FOUND, json!({ "why": "gone" }).to_string()),
        (_, "/legacy/items/500") => (StatusCode::INTERNAL_SERVER_ERROR, "sorry".to_owned()),
        (_, "/legacy/items/page") => (StatusCode::OK, "<!doctype html>".to_owned()),
        (&Method::GET, "/legacy/items") => (StatusCode::OK, json!([received]).to_string()),
        (&Method::POST, "/legacy/items") => (StatusCode::CREATED, received.to_string()),
        _ => (StatusCode::OK, received.to_string()),
    };
    let response = Response::builder().status(status).header("x-legacy", "yes");
    let response = response.header(HeaderName::from_static("content-type"), "application/json");
    response.body(text.into()).expect("the parts are valid")
}

/// Serves both: the proxy passes `/legacy` on to the back end, and all else to the server.
async fn serve(site: &Site, requests: &Arc<AtomicUsize>) -> (SocketAddr, Handle) {
    let server = Server::builder().store(Store::Memory).prefix("/live").pages(site.path());
    let (router, handle) = server.build().await.expect("a store in memory opens");
    let legacy = any(back_end).with_state(Arc::clone(requests));
    let app = Router::new().route("/legacy/{*path}", legacy).merge(router);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let addr = listener.local_addr().expect("it listens");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (addr, handle)
}

/// Runs the steps. Returns their trace and the number of requests that the back end got.
async fn run(page: &Page, requests: &AtomicUsize) -> (Value, usize) {
    let former = requests.load(Ordering::Relaxed);
    let trace = page.answer("run()").await;
    (trace, requests.load(Ordering::Relaxed) - former)
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_another_back_end_behind_the_same_proxy_behave_as_with_plain_ajax() {
    let site = Site::new();
    site.write("plain.html", &page(""));
    site.write("live.html", &page(r#"<script src="/backwire.js"></script>"#));
    std::fs::create_dir(site.path().join("data")).expect("the folder is ours");
    site.write("data/list.json", r#"[{"id":1,"title":"of a file"}]"#);
    let requests = Arc::default();
    let (addr, handle) = serve(&site, &requests).await;
    let browser = Browser::start();
    let plain = browser.open(&format!("http://{addr}/plain.html")).await;
    let expected = run(&plain, &requests).await;
    assert_eq!(expected.1, 10, "{}", expected.0);
    let live = browser.open(&format!("http://{addr}/live.html")).await;
    live.until("Backwire.status.state === 'online'", "a connection").await;
    assert_eq!(run(&live, &requests).await, expected);
    // A live list of the same page.
    live.run(
        "window.todos = new (Backbone.Collection.extend({url: '/live/todo'}))(); todos.fetch()",
    )
    .await;
    live.run("todos.create({title: 'Milk'})").await;
    live.until("todos.length === 1 && todos.first().id === 1", "the answer to a create").await;
    assert_eq!(live.requests_to("/live/todo").await, 0);
    handle.shutdown().await;
}
