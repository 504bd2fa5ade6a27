//! Unmodified clients from npm, under Node.js.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use backwire::model::{Attribute, Conventions, Model};
use backwire::settings::{Settings, Store};
use backwire::sites::{EventNames, Site, Sites};
use backwire_tests::{Browser, Server, paths};
use percent_encoding::percent_decode_str;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../../../server/examples/session.rs"]
mod session;

#[test]
fn stock_client_uses_the_sails_dialect() {
    pass("sails.test.mjs");
}

#[test]
fn parser_of_the_stock_client_reads_the_frames_of_the_runtime() {
    pass_with(&[], "wire.test.mjs");
}

#[test]
fn stock_clients_of_socket_io_2_to_4_use_both_sails_dialects() {
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
fn sails_0_9_page_with_a_custom_sync_needs_one_more_line() {
    pass("socketsync.test.mjs");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_client_uses_a_server_below_a_path_of_an_app() {
    let server = backwire::Server::builder().store(Store::Memory);
    let (router, handle) = server.build().await.expect("a store in memory opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let addr = listener.local_addr().expect("it listens");
    let app = Router::new().nest("/live", router);
    tokio::spawn(async move { axum::serve(listener, app).await });
    spawn_blocking(move || pass_at(&format!("http://{addr}"), "embedded.test.mjs"))
        .await
        .expect("node says which of its tests failed");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_use_sessions() {
    let server = session::routes(backwire::Server::builder()).port(0).store(Store::Memory);
    let server = server.bind().await.expect("there is a free port");
    pass_at(&format!("http://{}", server.addr()), "sessions.test.mjs");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sails_io_js_writes_with_csrf_tokens() {
    let server = backwire::Server::builder().port(0).store(Store::Memory);
    let server = server.csrf(true).compat(Conventions::Sails).bind().await;
    let server = server.expect("there is a free port");
    pass_at(&format!("http://{}", server.addr()), "csrf.test.mjs");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sails_io_js_uses_associations() {
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
async fn stock_clients_use_the_push_service() {
    let server = push_service(None).await;
    pass_at(&format!("http://{}", server.addr()), "push-service.test.mjs");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_clients_reconnect_after_a_restart_of_the_push_service() {
    let folder = TempDir::new().expect("there is room for a file");
    let sites = folder.path().join("sites.yml");
    let back_end = listen(Router::new().route("/rooms", get(rooms))).await;
    let site =
        format!("shop: {{authUrl: '{back_end}/rooms', apiKey: 54321, userRoomPrefix: user_}}\n");
    fs::write(&sites, site).expect("the folder is ours");
    let arguments = ["--sites".to_owned(), sites.display().to_string()];
    let server = Server::with_arguments(&paths::demo(), "", &arguments);
    let origin = server.origin();
    let server = Arc::new(Mutex::new(server));
    let restart = async move || {
        let restarted = spawn_blocking(move || {
            let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
            server.kill();
            server.start_again();
        });
        restarted.await.expect("it starts as it did before");
    };
    let control = listen(Router::new().route("/restart", post(restart))).await;
    let variables = [("BACKWIRE_TEST_SERVER", &*origin), ("BACKWIRE_TEST_CONTROL", &control)];
    pass_with(&variables, "restart.test.mjs");
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_programs_in_other_languages_send_messages() {
    let server = push_service(None).await;
    pass_at(&format!("http://{}", server.addr()), "snippets.test.mjs");
    server.shutdown().await;
}

/// In a browser, Socket.IO 1 uses binary payloads when it polls, which it does not do under
/// Node.js.
#[tokio::test(flavor = "multi_thread")]
async fn pages_with_old_clients_use_the_push_service_over_polling() {
    let folder = TempDir::new().expect("there is room for two pages");
    for generation in ["socket.io-client-1", "socket.io-client-2"] {
        let script = paths::node_modules().join(generation).join("dist/socket.io.js");
        let script = fs::read_to_string(script).expect("npm has installed it");
        let page = folder.path().join(generation);
        fs::create_dir(&page).expect("the folder is ours");
        fs::write(page.join("socket.io.js"), script).expect("the folder is ours");
        let html = include_str!("../../pages/old_client.html");
        fs::write(page.join("index.html"), html).expect("the folder is ours");
    }
    let server = push_service(Some(folder.path().to_owned())).await;
    let browser = Browser::start();
    for (generation, transports) in [
        ("socket.io-client-1", "polling"),
        ("socket.io-client-1", "polling,websocket"),
        ("socket.io-client-2", "polling"),
    ] {
        let url = format!("http://{}/{generation}/index.html?{transports}", server.addr());
        let page = browser.open(&url).await;
        page.until("outcome !== ''", format!("{generation} over {transports} to be done")).await;
        let outcome = page.value("outcome").await;
        assert_eq!(outcome, "as it should be", "{generation} over {transports}");
    }
    server.shutdown().await;
}

/// Runs the client code of the documentation of the SocketIO Web Service with each generation of
/// the stock client.
#[tokio::test(flavor = "multi_thread")]
async fn documented_page_of_the_socketio_web_service_works_with_every_generation_of_its_client() {
    let folder = TempDir::new().expect("there is room for a few pages");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("the folder is ours");
    };
    write("sender.html", include_str!("../../pages/documented_sender.html"));
    let generations =
        ["socket.io-client-1", "socket.io-client-2", "socket.io-client-3", "socket.io-client"];
    for generation in generations {
        let script = paths::node_modules().join(generation).join("dist/socket.io.js");
        let script = fs::read_to_string(script).expect("npm has installed it");
        fs::create_dir(folder.path().join(generation)).expect("the folder is ours");
        write(&format!("{generation}/socket.io.js"), &script);
        let page = include_str!("../../pages/documented_client.html");
        write(&format!("{generation}/index.html"), page);
    }
    let server = push_service(Some(folder.path().to_owned())).await;
    let origin = format!("http://{}", server.addr());
    let browser = Browser::start();
    let sender = browser.open(&format!("{origin}/sender.html")).await;
    for generation in generations {
        let user = format!("user_{generation}");
        let url = format!("{origin}/{generation}/index.html?{user}");
        let send = async |rooms: &str, entity: &str, resync: bool| {
            let sent = sender.answer(&format!("send({rooms}, {entity}, {resync})")).await;
            assert_eq!(sent, "OK");
        };
        let own = format!("['{user}']");
        let page = browser.open(&url).await;
        let has = async |entries: &str| {
            let is_so = format!("JSON.stringify(heard) === JSON.stringify({entries})");
            page.until(&is_so, format!("{generation} to have {entries}")).await;
        };
        has("['loaded', 'connected']").await;
        send(&format!("['{user}', 'staff']"), "{id: 1}", false).await;
        has("['loaded', 'connected', 'user 1 with callback']").await;
        send("['staff']", "{id: 2}", false).await;
        has("['loaded', 'connected', 'user 1 with callback', 'user 2']").await;

        // The missed messages arrive as a batch without the acked ones.
        page.go(&format!("{origin}/sender.html")).await;
        send(&own, "{id: 3}", false).await;
        send(&own, "{id: 4}", false).await;
        page.run("sessionStorage.clear()").await;
        page.go(&url).await;
        has("['loaded', 'connected', 'user 3', 'user 4']").await;

        // A failing handler sends no ack. The next ack is out of order, so the page reads again.
        send(&own, "{id: 5, fails: true}", true).await;
        send(&own, "{id: 6}", true).await;
        has("['loaded', 'connected', 'user 3', 'user 4', 'user 6 with callback', 'loaded', 'connected']")
            .await;
        page.go("about:blank").await;
    }
    server.shutdown().await;
}

/// Starts a server with the sites `shop`, `desk` and `newsite`, and optional pages.
async fn push_service(pages: Option<PathBuf>) -> backwire::Server {
    let back_end = format!("{}/rooms", listen(Router::new().route("/rooms", get(rooms))).await);
    let site = |event_names| {
        let key = "54321".parse().expect("it is a key");
        let mut site = Site::new(back_end.parse().expect("it is a url"), key);
        site.user_room_prefix = Some("user_".to_owned());
        site.event_names = event_names;
        site
    };
    let sites = Sites::default();
    sites.replace([
        ("shop".parse().expect("it is a name"), site(EventNames::Plain)),
        ("desk".parse().expect("it is a name"), site(EventNames::Underscored)),
        ("newsite".parse().expect("it is a name"), site(EventNames::Plain)),
    ]);
    let mut settings =
        Settings { port: 0, store: Store::Memory, sites, pages, ..Settings::default() };
    // All clients have one address, and open many sessions whose CONNECT is refused.
    settings.limits.unconnected_sessions_per_address = 200;
    let server = backwire::Server::builder().settings(settings);
    server.bind().await.expect("there is a free port")
}

/// The back end of a site. It accepts percent-encoded tokens such as `user_1+staff`, whose parts
/// are the rooms of the person. It answers the first four requests with a token that begins with
/// `user_late` as unavailable.
async fn rooms(headers: HeaderMap) -> Response {
    static LATE: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
    fn is_one_of_four(token: &str) -> bool {
        let mut late = LATE.lock().unwrap_or_else(PoisonError::into_inner);
        let count = late.entry(token.to_owned()).or_default();
        *count += 1;
        *count <= 4
    }
    let said = headers.get("authorization").and_then(|said| said.to_str().ok());
    match said.and_then(|said| said.strip_prefix("Bearer ")) {
        Some("stranger") | None => StatusCode::UNAUTHORIZED.into_response(),
        Some("broken") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(token) if token.starts_with("user_late") && is_one_of_four(token) => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(token) => {
            let rooms = token.split('+').map(|room| percent_decode_str(room).decode_utf8_lossy());
            Json(rooms.collect::<Vec<_>>()).into_response()
        }
    }
}

/// Serves an app, and returns its address.
async fn listen(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// Runs the tests of a file against their own server.
fn pass(file: &str) {
    pass_at(&Server::start().origin(), file);
}

fn pass_at(server: &str, file: &str) {
    pass_with(&[("BACKWIRE_TEST_SERVER", server)], file);
}

fn pass_with(variables: &[(&str, &str)], file: &str) {
    let output = Command::new("node")
        .args(["--test", "--test-reporter=spec", &format!("tests/interop/{file}")])
        .current_dir(paths::root())
        .envs(variables.iter().copied())
        .output()
        .expect("Node.js 20 or later is installed, as the README asks");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "node says above which of its tests failed");
}
