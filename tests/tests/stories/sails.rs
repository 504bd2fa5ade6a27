//! Backwire with `compat: sails` beside Sails 1.5 itself.

mod fixtures;
mod script_tag;

use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use backwire::Server;
use backwire::settings::Store;
use backwire_tests::paths;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

async fn start(csrf: bool) -> Server {
    let builder = Server::builder().port(0).store(Store::Memory).csrf(csrf);
    let builder = fixtures::app(builder).expect("the models are valid");
    builder.bind().await.expect("there is a free port")
}

/// Starts a service that starts a new server for each request, and stops the one before. It answers
/// with the address of the server. The body `csrf` turns CSRF tokens on.
async fn starter() -> String {
    let current = Arc::new(Mutex::new(None::<Server>));
    let restart = async move |body: String| {
        let server = start(body == "csrf").await;
        let url = format!("http://{}", server.addr());
        if let Some(former) = current.lock().await.replace(server) {
            // Its shutdown waits for HTTP connections that the script keeps open.
            tokio::spawn(former.shutdown());
        }
        url
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", post(restart))).await });
    format!("http://{address}/")
}

/// Runs the script with a seed, and fails if it finds unknown differences.
async fn compare(seed: String) {
    let mut script = Command::new("node");
    script.arg("tests/sails/compare.mjs").current_dir(paths::root());
    script.env("BACKWIRE_STARTER", starter().await).env("BACKWIRE_SEED", seed);
    let output = spawn_blocking(move || script.output()).await.expect("it does not panic");
    let output = output.expect("Node.js 20 or later is installed, as the README asks");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the script prints the differences above");
}

/// The app of `fixtures` and `tests/sails/app.cjs` get the same random requests. Their answers and
/// pushes are the same, except those of known kinds.
#[tokio::test(flavor = "multi_thread")]
async fn server_answers_and_pushes_as_sails_does() {
    // The differences of these requests are all known. Run other seeds by hand.
    let seed = std::env::var("BACKWIRE_SEED").map(|seed| vec![seed]);
    let seeds = seed.unwrap_or_else(|_| ["401", "403"].map(str::to_owned).to_vec());
    let runs = seeds.into_iter().map(|seed| tokio::spawn(compare(seed)));
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("the comparison succeeds");
    }
}
