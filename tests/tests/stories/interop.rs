//! Clients that know nothing of Backwire, as npm has them, under Node.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use backwire::model::{Attribute, Model};
use backwire::settings::{Settings, Store};
use backwire::sites::{Site, Sites};
use backwire_tests::{Server, places};
use tokio::net::TcpListener;

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../../../server/examples/session.rs"]
mod session;

#[test]
fn the_stock_client_speaks_the_sails_dialect() {
    pass("sails.test.mjs");
}

#[test]
fn the_stock_client_of_socket_io_2_speaks_both_sails_dialects() {
    pass("old-client.test.mjs");
}

#[test]
fn sails_io_js_is_served_unmodified() {
    pass("sails.io.test.mjs");
}

#[test]
fn backbone_iobind_is_served_unmodified() {
    pass("iobind.test.mjs");
}

#[test]
fn a_page_of_sails_0_9_with_a_sync_of_its_own_needs_one_more_line() {
    pass("socketsync.test.mjs");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_have_sessions() {
    let server = session::routes(backwire::Server::builder()).port(0).store(Store::Memory);
    let server = server.bind().await.expect("there is a free port");
    pass_at(&format!("http://{}", server.addr()), "sessions.test.mjs");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sails_io_js_has_associations() {
    let user = Model::default()
        .attribute("pets", Attribute::collection("pet", "owner"))
        .attribute("teams", Attribute::collection("team", "members"));
    let pet = Model::default().attribute("owner", Attribute::model("user"));
    let team = Model::default().attribute("members", Attribute::collection("user", "teams"));
    let declared = [("user", user), ("pet", pet), ("team", team)];
    let server = backwire::Server::builder().port(0).store(Store::Memory);
    let server = declared.into_iter().fold(server, |server, (name, model)| {
        server.resource(name, model).expect("it can be declared")
    });
    let server = server.bind().await.expect("there is a free port");
    pass_at(&format!("http://{}", server.addr()), "associations.test.mjs");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_have_the_push_service() {
    let back_end = back_end().await.parse().expect("it is a url");
    let key = "54321".parse().expect("it is a key");
    let mut shop = Site::new(back_end, key);
    shop.user_room_prefix = Some("user_".to_owned());
    let sites = Sites::default();
    sites.replace([("shop".parse().expect("it is a name"), shop)]);
    let settings = Settings { port: 0, store: Store::Memory, sites, ..Settings::default() };
    let server = backwire::Server::builder().settings(settings);
    let server = server.bind().await.expect("there is a free port");
    pass_at(&format!("http://{}", server.addr()), "push-service.test.mjs");
    server.shutdown().await;
}

/// A site's own, which knows people by tokens such as `user_1+staff`: these are their rooms. For a token
/// that begins with `user_late` it is unavailable to the first four requests.
async fn back_end() -> String {
    static LATE: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    async fn rooms(headers: HeaderMap) -> Response {
        let said = headers.get("authorization").and_then(|said| said.to_str().ok());
        match said.and_then(|said| said.strip_prefix("Bearer ")) {
            Some("stranger") | None => StatusCode::UNAUTHORIZED.into_response(),
            Some("broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Some(token) if token.starts_with("user_late") && is_one_of_four(token) => {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            Some(token) => Json(token.split('+').collect::<Vec<_>>()).into_response(),
        }
    }
    fn is_one_of_four(token: &str) -> bool {
        let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
        let count = late.entry(token.to_owned()).or_default();
        *count += 1;
        *count <= 4
    }
    let app = Router::new().route("/rooms", get(rooms));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async { axum::serve(listener, app).await });
    format!("http://{address}/rooms")
}

/// Runs the tests of a file against a server of their own.
fn pass(file: &str) {
    pass_at(&Server::start().origin(), file);
}

fn pass_at(server: &str, file: &str) {
    let output = Command::new("node")
        .args(["--test", "--test-reporter=spec", &format!("tests/interop/{file}")])
        .current_dir(places::root())
        .env("BACKWIRE_TEST_SERVER", server)
        .output()
        .expect("Node.js 20 or later is installed, as the README asks");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "node says above which of its tests failed");
}
