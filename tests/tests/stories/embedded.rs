//! A page of an axum app that has the server below a path.

use std::net::SocketAddr;

use axum::routing::get;
use axum::{Json, Router};
use backwire::server::Handle;
use backwire::settings::Store;
use backwire::{Client, Context, Server};
use backwire_tests::{Browser, Site};
use serde_json::json;
use tokio::net::TcpListener;

const PAGE: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/jquery.min.js"></script>
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="backwire.js" data-path="/live/socket.io/"></script>
    <script>
      var list = new (Backbone.Collection.extend({url: '/live/todo'}))();
      var own = new (Backbone.Model.extend({url: '/profile'}))();
      list.fetch();
      own.fetch();
    </script>"#;

/// Serves an app with axum, and with the page below `/live`.
async fn serve(site: &Site) -> (SocketAddr, Handle) {
    let server = Server::builder().store(Store::Memory).pages(site.path());
    let (router, handle) = server.build().await.expect("a store in memory opens");
    let profile = get(async || Json(json!({ "name": "Ann" })));
    let app = Router::new().route("/profile", profile).nest("/live", router);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let addr = listener.local_addr().expect("it listens");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (addr, handle)
}

#[tokio::test(flavor = "multi_thread")]
async fn page_of_an_app_is_live_below_a_path_and_reads_routes_of_the_app() {
    let site = Site::new();
    site.write("index.html", PAGE);
    let (addr, handle) = serve(&site).await;
    let page = Browser::start().open(&format!("http://{addr}/live/index.html")).await;
    page.until("Backwire.status.state === 'online'", "a socket below the path").await;
    page.until("own.get('name') === 'Ann'", "the route of the app to answer").await;
    page.run("list.create({title: 'Milk'})").await;
    page.until("list.first().id === 1", "the answer to a create").await;
    assert_eq!(page.requests_to("/live/todo").await, 0);
    let todos = handle.publisher().pubsub("todo").expect("any resource exists");
    todos.publish_update(1, json!({ "title": "Bread" }), None).await.expect("it is stored");
    page.until("list.first().get('title') === 'Bread'", "a push").await;
    handle.shutdown().await;
    page.until("Backwire.status.state !== 'online'", "the end of the socket").await;
}

const PAGE_WITH_TOKEN: &str = r#"
    <!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
    <script src="vendor/jquery.min.js"></script>
    <script src="vendor/underscore-min.js"></script>
    <script src="vendor/backbone-min.js"></script>
    <script src="backwire.js" data-token="of Ann"></script>
    <script>
      var reasons = [];
      Backwire.on('refused', ({reason}) => { reasons.push(reason); });
      var own = new (Backbone.Model.extend({url: '/auth', parse: auth => ({auth})}))();
      var has = token => {
        own.fetch();
        return own.get('auth')?.token === token;
      };
    </script>"#;

/// Signs each client in as the user of its token.
async fn sign_in(client: Client, _: Context) -> Result<(), String> {
    let auth = client.handshake().auth().unwrap_or_default();
    let user = auth["token"].as_str().and_then(|token| token.strip_prefix("of "));
    let user = user.ok_or("E_TOKEN: sign in again")?;
    client.sign_in(user, ["member"]).map_err(|error| error.to_string())
}

/// Returns the auth of the client.
async fn auth(client: Option<Client>) -> Json<Option<serde_json::Value>> {
    Json(client.and_then(|client| client.handshake().auth()))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_connect_gets_the_token_and_the_auth_of_a_page_without_a_site() {
    let site = Site::new();
    site.write("index.html", PAGE_WITH_TOKEN);
    let server = Server::builder().port(0).store(Store::Memory).pages(site.path());
    let server = server
        .on_connect(sign_in)
        .route("/auth", get(auth))
        .bind()
        .await
        .expect("there is a free port");
    let page = Browser::start().open(&format!("http://{}/index.html", server.addr())).await;
    page.until("Backwire.status.state === 'online'", "the token of the tag to be accepted").await;
    page.until("has('of Ann')", "the token of the tag to arrive").await;
    page.run("Backwire.connect({token: 'of Bob', auth: {room: 'chat'}})").await;
    page.until("has('of Bob') && own.get('auth').room === 'chat'", "other auth").await;
    page.run("Backwire.connect({token: 'stolen'})").await;
    page.until("reasons.join() === 'E_TOKEN: sign in again'", "a refusal").await;
    page.run("Backwire.connect({token: 'of Ann'})").await;
    page.until("has('of Ann')", "a connection after the refusal").await;
    server.shutdown().await;
}
