//! The attributes of the script tag of an unmodified sails.io.js, as its own tests try them.

use std::fs;

use backwire::Server;
use backwire::settings::{Settings, Store};
use backwire_tests::{Browser, paths};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fixtures;

/// Starts the server of [`fixtures`] with pages.
async fn server(pages: &TempDir) -> Server {
    let pages = Some(pages.path().to_owned());
    let settings = Settings { port: 0, store: Store::Memory, pages, ..Settings::default() };
    let builder = fixtures::app(Server::builder().settings(settings));
    builder.expect("the models are valid").bind().await.expect("there is a free port")
}

/// Returns a folder with sails.io.js as pages have it: with Socket.IO in the same file.
fn pages() -> TempDir {
    let pages = TempDir::new().expect("there is room for a page");
    let script = paths::node_modules().join("sails.io.js-dist/sails.io.js");
    fs::copy(script, pages.path().join("sails.io.js")).expect("npm has installed it");
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_the_script_tag_of_sails_io_js_have_their_effects() {
    let pages = pages();
    let server = server(&pages).await;
    let browser = Browser::start();
    let header = r#"headers='{"x-test-header-one": "foo"}'"#;
    let header_over_polling = format!(r#"{header} transports='["polling"]'"#);
    let cases: [(&str, &str, Value); 13] = [
        ("", "get('/hello')", json!("ok!")),
        ("", "get('/headers')", Value::Null),
        ("", "get('/hello').then(transport)", json!("websocket")),
        ("", "get('/hello').then(() => logged.join().includes('Now connected'))", json!(true)),
        ("environment=production", "get('/hello').then(() => logged)", json!([])),
        ("autoConnect=false", "get('/hello', io.sails.connect())", json!("ok!")),
        ("autoConnect=false", "Promise.resolve('socket' in io)", json!(false)),
        (
            "data-autoConnect=false autoConnect=true",
            "Promise.resolve('socket' in io)",
            json!(false),
        ),
        (header, "get('/headers')", json!("foo")),
        (&header_over_polling, "get('/headers')", json!("foo")),
        (r#"transports='["polling"]'"#, "get('/hello').then(transport)", json!("polling")),
        (r#"transports='["polling"]'"#, "get('/count').then(() => get('/count'))", json!(2)),
        ("reconnection=true path=/socket.io", "afterBreak()", json!("ok!")),
    ];
    for (attributes, expression, expected) in cases {
        let page = include_str!("../../../pages/sails_script_tag.html");
        let page = page.replace("ATTRIBUTES", attributes);
        fs::write(pages.path().join("index.html"), page).expect("the folder is ours");
        let page = browser.open(&format!("http://{}/index.html", server.addr())).await;
        assert_eq!(page.answer(expression).await, expected, "{attributes}: {expression}");
    }
    server.shutdown().await;
}
