//! Messages of back ends in the browsers of users.

use axum::Router;
use axum::routing::get;
use backwire::settings::{Settings, Store};
use backwire::sites::Sites;
use backwire_tests::{Browser, Page, Server, Site};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Returns a page of the site `shop` for the person of a token.
fn page(server: &str, token: &str) -> String {
    format!(
        r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="/backwire.js" data-url="{server}" data-site="shop" data-token="{token}" data-connect="false"></script>
    <script>
      const heard = [], todos = new (Backbone.Collection.extend({{url: '{server}/todo'}}));
      let fails = 1;
      Backwire.socket.on('news', number => {{
        if (number === 2 && fails--) throw new Error('not yet');
        heard.push(number);
      }});
      Backwire.connect();
      todos.fetch();
    </script>"#
    )
}

/// Starts a back end. The token of a person consists of the person's rooms.
async fn back_end() -> String {
    async fn rooms(headers: axum::http::HeaderMap) -> axum::Json<Vec<String>> {
        let shown = headers["authorization"].to_str().unwrap_or_default();
        let token = shown.trim_start_matches("Bearer ");
        axum::Json(token.split('.').map(str::to_owned).collect())
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    let app = Router::new().route("/rooms", get(rooms));
    tokio::spawn(async { axum::serve(listener, app).await });
    format!("http://{address}/rooms")
}

async fn send(server: &str, event: &str, args: Value) {
    let url = format!("{server}/send?site=shop&apiKey=54321");
    let message = json!({ "rooms": ["user_1"], "event": event, "args": args });
    let sent = Client::new().post(url).json(&message).send().await.expect("it is there");
    assert_eq!(sent.status(), 200);
}

async fn heard(page: &Page, numbers: &str) {
    page.until(&format!("heard.join() === '{numbers}'"), format!("{numbers} to be received")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_is_delivered_once_in_order_and_again_if_its_handler_fails() {
    let mut site = backwire::sites::Site::new(
        back_end().await.parse().expect("it is an address"),
        "54321".parse().expect("it is a key"),
    );
    site.user_room_prefix = Some("user_".to_owned());
    let sites = Sites::default();
    sites.replace([("shop".parse().expect("it is a name"), site)]);
    let settings = Settings { port: 0, store: Store::Memory, sites, ..Settings::default() };
    let server = backwire::Server::builder().settings(settings).bind().await;
    let server = server.expect("there is a free port");
    let origin = format!("http://{}", server.addr());
    let folder = Site::new();
    folder.write("ann.html", &page(&origin, "user_1.staff"));
    folder.write("bob.html", &page(&origin, "user_2"));
    let pages = Server::with_pages(folder.path());
    let browser = Browser::start();
    send(&origin, "news", json!([1])).await;
    send(&origin, "news", json!([2])).await;
    let ann = browser.open(&format!("{}/ann.html", pages.origin())).await;
    let bob = browser.open(&format!("{}/bob.html", pages.origin())).await;
    heard(&ann, "1,2").await;
    send(&origin, "news", json!([3])).await;
    heard(&ann, "1,2,3").await;
    ann.run("Backwire.disconnect()").await;
    send(&origin, "news", json!([4])).await;
    send(&origin, "news", json!([5])).await;
    ann.run("Backwire.connect()").await;
    heard(&ann, "1,2,3,4,5").await;
    // The same tab receives nothing again after a reload.
    ann.run("location.reload()").await;
    ann.until("Backwire.status.state === 'online' && todos", "the page again".to_owned()).await;
    send(&origin, "news", json!([6])).await;
    heard(&ann, "6").await;
    assert_eq!(bob.value("heard.length").await, 0);
    server.shutdown().await;
}
