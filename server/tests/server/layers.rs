//! Layers of the user around the handlers of the user.

use axum::Json;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use backwire::{Context, Error, Session};
use serde_json::{Value, json};

use crate::client::{Socket, ask, builder, refusal, start};

/// Lets only people pass who have signed in.
async fn signed_in(cx: Context, request: Request, next: Next) -> Result<Response, Error> {
    match cx.principal().await?.person {
        Some(_) => Ok(next.run(request).await),
        None => Err(Error::Unauthenticated),
    }
}

/// Counts the requests of a session, and says so in a header.
async fn count(session: Session, request: Request, next: Next) -> Result<Response, Error> {
    let count = session.get::<u64>("count").await?.unwrap_or(0) + 1;
    session.insert("count", count)?;
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-count", count.into());
    Ok(response)
}

#[tokio::test]
async fn layer_is_around_all_routes_before_it_over_http_and_sockets() {
    let sign_in = get(async |session: Session| session.sign_in("ann", [""; 0]).await);
    let server = builder()
        .route("/report", get(async || "report").post(async || "written"))
        .concurrent_route("/slow", post(async || "slow"))
        .override_route("/todo", post(async || "mine"))
        .layer(from_fn(signed_in))
        .route("/in", sign_in);
    let server = start(server).await;
    let mut socket = Socket::stock(&server).await;
    let own = [("get", "/report"), ("post", "/report"), ("post", "/slow"), ("post", "/todo")];
    for (method, url) in own {
        let refused = socket.ask(json!([method, { "url": url }])).await;
        assert_eq!(refusal(&refused), json!([401, "E_UNAUTHORIZED"]), "{method} {url}");
        let (status, refused) = ask(&server, &*method.to_uppercase(), url, Value::Null).await;
        assert_eq!((status, &refused["code"]), (401, &json!("E_UNAUTHORIZED")), "{method} {url}");
    }
    // The built-in handlers are not those of the user.
    assert_eq!(socket.get("/todo").await["statusCode"], 200);
    assert_eq!(socket.get("/in").await["statusCode"], 200);
    for (method, url) in own {
        let answer = socket.ask(json!([method, { "url": url }])).await;
        assert_eq!(answer["statusCode"], 200, "{method} {url}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn layers_of_one_route_and_of_all_routes_are_nested_and_use_the_session() {
    let mark = |mark: &'static str| {
        map_response(move |mut response: Response| async move {
            response.headers_mut().append("x-mark", HeaderValue::from_static(mark));
            response
        })
    };
    let page = get(async |session: Session| Json(session.get::<u64>("count").await.unwrap()));
    let server = builder()
        .route("/marked", page.clone().layer(mark("inner")))
        .route("/plain", page)
        .layer(mark("outer"))
        .layer(from_fn(count));
    let server = start(server).await;
    let mut socket = Socket::stock(&server).await;
    for (number, url, marks) in [(1, "/marked", "inner, outer"), (2, "/plain", "outer")] {
        let answer = socket.get(url).await;
        assert_eq!(answer["body"], number);
        let response = reqwest::get(format!("http://{}{url}", server.addr())).await.unwrap();
        let given = response.headers().get_all("x-mark").iter().map(|it| it.to_str().unwrap());
        assert_eq!(given.collect::<Vec<_>>().join(", "), marks);
        assert_eq!(response.headers()["x-count"], "1");
    }
    server.shutdown().await;
}

#[test]
#[should_panic(expected = "Path segments must not start with `:`")]
fn invalid_path_panics_in_the_call_that_adds_it() {
    let _ = builder().route("/:id", get(async || ()));
}
