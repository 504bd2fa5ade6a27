//! Clients that know nothing of Backwire, as npm has them, under Node.

use std::process::Command;

use backwire::model::{Attribute, Model};
use backwire::settings::Store;
use backwire_tests::{Server, places};

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
