//! An axum app with routes of its own, a layer, and Backwire below `/live`.
//!
//! A page of the app loads `/live/backwire.js` with `data-path="/live/socket.io/"`, and has models
//! with urls like `/live/todo`. The route `POST /remind` publishes a change from the app itself.

use std::io;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::SERVER;
use axum::middleware::{Next, from_fn};
use axum::response::{Html, Response};
use axum::routing::{get, post};
use backwire::pubsub::Publisher;
use backwire::server::{Builder, Handle, StartError};
use backwire::{Error, Server};
use serde_json::json;

const PAGE: &str = r#"<!doctype html>
<script src="https://unpkg.com/jquery/dist/jquery.min.js"></script>
<script src="https://unpkg.com/underscore/underscore-min.js"></script>
<script src="https://unpkg.com/backbone/backbone-min.js"></script>
<script src="/live/backwire.js" data-path="/live/socket.io/"></script>
<ul></ul>
<script>
  const todos = new (Backbone.Collection.extend({url: '/live/todo'}))();
  todos.on('update change', () => $('ul').text(todos.pluck('title').join(', ')));
  todos.fetch();
</script>"#;

async fn remind(State(publisher): State<Publisher>) -> Result<StatusCode, Error> {
    let todos = publisher.pubsub("todo")?;
    todos.publish_create(json!({ "id": 1, "title": "Buy milk" }), None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn name_server(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(SERVER, HeaderValue::from_static("my app"));
    response
}

pub(crate) async fn app(server: Builder) -> Result<(Router, Handle), StartError> {
    let (live, handle) = server.build().await?;
    let app = Router::new()
        .route("/", get(Html(PAGE)))
        .route("/remind", post(remind))
        .with_state(handle.publisher())
        .nest("/live", live)
        .layer(from_fn(name_server));
    Ok((app, handle))
}

#[expect(clippy::disallowed_types, reason = "the app has a listener of its own")]
#[tokio::main]
async fn main() -> io::Result<()> {
    let (app, handle) = app(Server::builder()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:1337").await?;
    println!("listening on http://localhost:1337");
    let interrupted = async {
        // An error means that the signal cannot be received. Then the app stops at once.
        let _ = tokio::signal::ctrl_c().await;
    };
    handle.serve(listener, app).with_graceful_shutdown(interrupted).await
}
