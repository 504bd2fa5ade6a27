//! The files of the documentation of the SocketIO Web Service.

use std::path::Path;

use reqwest::Client;
use tempfile::TempDir;

use super::{Process, check};
use crate::client::Socket;
use crate::redis_server::RedisServer;

const CONFIG: &str = "production:
  port: 80
  client_ttl: 3600
  redis:
    port: 6379
    host: 127.0.0.1
    auth_pass: 12345
  flakeid:
    datacenter: 0
    worker: 0
  io:
    pingTimeout: 60000
";

const SITES: &str = "newsite:
  authUrl: http://newsite.com/socketrooms
  authScheme: Bearer
  apiKey: 54321
  userRoomPrefix: user_
";

/// Creates a folder with both files in `config`.
fn folder(config: &str, sites: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("config")).unwrap();
    std::fs::write(home.path().join("config/config.yml"), config).unwrap();
    std::fs::write(home.path().join("config/sites.yml"), sites).unwrap();
    home
}

/// Starts `backwire serve` in a folder, on a free port.
fn serve(home: &Path, variables: &[(&str, &str)]) -> (Process, u16) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backwire"));
    command.arg("serve").current_dir(home);
    for name in ["BACKWIRE_ENV", "NODE_ENV", "RUST_LOG", "PORT"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let mut process = Process::run(&mut command);
    let port = process.first_line().trim().rsplit(':').next().unwrap().parse().unwrap();
    (process, port)
}

async fn post(port: u16, path: &str, origin: Option<&str>, body: &'static str) -> u16 {
    let post = Client::new().post(format!("http://127.0.0.1:{port}{path}"));
    let post = post.header("content-type", "application/json").body(body);
    let post = origin.into_iter().fold(post, |post, origin| post.header("origin", origin));
    post.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn files_of_a_socketio_web_service_serve_other_machines_and_pages_of_their_sites() {
    let redis = RedisServer::start(&["--requirepass", "12345"]);
    let config = CONFIG.replace("6379", &redis.port.to_string());
    let home = folder(&config, SITES);
    let (mut process, port) = serve(home.path(), &[("PORT", "0")]);
    let start = process.logged("the server has started");
    for part in [
        &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")),
        &format!("addr=0.0.0.0:{port}"),
        &format!("engine=\"redis://127.0.0.1:{}\"", redis.port),
        "sites=\"newsite\"",
        "open=\"resources: none; origins with full access: this host, localhost; \
         origins with access to site newsite: http://newsite.com\"",
    ] {
        assert!(start.contains(part), "{part} in {start}");
    }
    // A proxy forwards all clients, and uses its own host name.
    assert_eq!(post(port, "/junk", None, "{}").await, 404);
    let message = r#"{"rooms":["user_1"],"event":"update_store","args":["user"]}"#;
    assert_eq!(post(port, "/send?site=newsite&apiKey=54321", None, message).await, 200);
    let addr = ([127, 0, 0, 1], port).into();
    assert!(Socket::open_at(addr, &[("origin", "http://newsite.com")]).await.is_ok());
    assert!(Socket::open_at(addr, &[("origin", "http://evil.example")]).await.is_err());
    process.signal("-TERM");
    assert!(process.ends_well());
}

#[test]
fn check_summarizes_address_engine_sites_and_open_access() {
    let home = folder(CONFIG, &format!("{SITES}  origins: '*'\n"));
    let file = |name: &str| home.path().join("config").join(name);
    let (is_good, printed, _) = check(&file("config.yml"), &file("sites.yml"));
    assert!(is_good);
    let version = format!("# backwire {}", env!("CARGO_PKG_VERSION"));
    for line in [
        &*version,
        "# address: 0.0.0.0:80",
        "# engine: redis://127.0.0.1:6379",
        "# sites: newsite",
        "# open: resources: none",
        "# open: origins with access to site newsite: '*'",
        "undeclared: refuse",
        "  origins: ['*']",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
}

#[test]
fn settings_in_the_file_override_the_defaults_of_a_push_service() {
    for (config, lines) in [
        ("host: 127.0.0.1\n", ["# address: 127.0.0.1:1337", "undeclared: refuse"]),
        ("undeclared: allow\n", ["# address: 0.0.0.0:1337", "undeclared: allow"]),
        ("resources: {todo: {}}\n", ["# address: 127.0.0.1:1337", "undeclared: allow"]),
    ] {
        let home = folder(config, SITES);
        let file = |name: &str| home.path().join("config").join(name);
        let (is_good, printed, _) = check(&file("config.yml"), &file("sites.yml"));
        assert!(is_good);
        for line in lines {
            assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
        }
    }
}

#[test]
fn port_variable_overrides_the_file_and_backwire_port_overrides_both() {
    let home = folder("port: 80\nengine: memory\n", SITES);
    let address = |variables: &[(&str, &str)]| {
        let (mut process, _) = serve(home.path(), variables);
        process.logged("the server has started")
    };
    assert!(!address(&[("PORT", "0")]).contains(":80 "));
    assert!(!address(&[("PORT", "70"), ("BACKWIRE_PORT", "0")]).contains(":70 "));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backwire"));
    let refused = command.arg("check").env("PORT", "eighty").current_dir(&home).output().unwrap();
    assert!(!refused.status.success());
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("PORT: eighty is not a port, 0 to 65535"), "{refused}");
}

#[test]
fn cors_settings_of_sails_allow_pages_of_other_origins() {
    for (cors, origins) in [
        ("{allRoutes: true}", "origins: ['*']"),
        ("{allRoutes: false}", "origins: []"),
        (
            "{allRoutes: true, origin: 'http://a.example, http://b.example'}",
            "origins: [http://a.example, http://b.example]",
        ),
        ("{allRoutes: true, allowOrigins: ['http://a.example']}", "origins: [http://a.example]"),
    ] {
        let home = folder(&format!("cors: {cors}\n"), SITES);
        let file = |name: &str| home.path().join("config").join(name);
        let (is_good, printed, warned) = check(&file("config.yml"), &file("sites.yml"));
        assert!(is_good && warned.is_empty(), "{warned}");
        assert!(printed.lines().any(|line| line == origins), "{origins} in {printed}");
    }
    let home = folder("cors: {allRoutes: true, credentials: true}\n", SITES);
    let file = |name: &str| home.path().join("config").join(name);
    let (_, _, warned) = check(&file("config.yml"), &file("sites.yml"));
    assert!(warned.contains("config.yml:1:25: cors.credentials changes nothing"), "{warned}");
}
