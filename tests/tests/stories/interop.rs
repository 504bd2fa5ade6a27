//! Clients that know nothing of Backwire: the stock Socket.IO client, as npm has it, under Node.

use std::process::Command;

use backwire_tests::{Server, places};

#[test]
fn the_stock_client_speaks_the_sails_dialect() {
    let server = Server::start();
    let output = Command::new("node")
        .args(["--test", "--test-reporter=spec", "tests/interop/sails.test.mjs"])
        .current_dir(places::root())
        .env("BACKWIRE_TEST_SERVER", server.origin())
        .output()
        .expect("Node.js 20 or later is installed, as the README asks");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "node says above which of its tests failed");
}
