//! Events that handlers send to pages.

use std::fs;

use backwire::settings::Store;
use backwire_tests::{Browser, Page, paths};
use tempfile::TempDir;

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../../../server/examples/chat.rs"]
mod chat;

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="underscore-min.js"></script>
    <script src="backbone-min.js"></script>
    <script src="/backwire.js"></script>
    <script>
      const heard = [];
      for (const event of ['entered', 'message', 'left']) {
        Backwire.socket.on(event, ({name, text = ''}) => { heard.push(`${name} ${event} ${text}`.trim()); });
      }
      const room = new (Backbone.Model.extend({url: '/chat/lobby'}))();
      room.fetch();
    </script>"#;

async fn heard(page: &Page, events: &str) {
    page.until(&format!("heard.join() === '{events}'"), format!("{events} to be received")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_chat_with_the_events_of_handlers() {
    let folder = TempDir::new().expect("there is room for a page");
    let of_npm = |file: &str| paths::node_modules().join(file);
    for (file, name) in [
        ("underscore/underscore-min.js", "underscore-min.js"),
        ("backbone/backbone-min.js", "backbone-min.js"),
    ] {
        fs::copy(of_npm(file), folder.path().join(name)).expect("npm has installed it");
    }
    fs::write(folder.path().join("index.html"), PAGE).expect("the folder is ours");
    let server = chat::routes(backwire::Server::builder()).port(0).store(Store::Memory);
    let server = server.pages(folder.path()).bind().await.expect("there is a free port");
    let url = format!("http://localhost:{}/index.html", server.addr().port());
    let browser = Browser::start();
    let ann = browser.open(&url).await;
    ann.until("room.get('entered')", "Ann to enter").await;
    let bob = browser.open(&url).await;
    heard(&ann, "somebody entered").await;
    bob.run("room.save({text: 'Hi'}, {attrs: {text: 'Hi'}})").await;
    heard(&ann, "somebody entered,somebody message Hi").await;
    bob.go("about:blank").await;
    heard(&ann, "somebody entered,somebody message Hi,somebody left").await;
    server.shutdown().await;
}
