//! Tests of the command as a separate process.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]

#[path = "../../../tests/server/back_end.rs"]
mod back_end;
#[path = "../../../tests/server/client.rs"]
#[allow(dead_code, reason = "the tests of the library use the rest of it")]
mod client;

#[path = "../../../engine/tests/engines/polling.rs"]
mod polling;
#[path = "../../../engine/tests/engines/redis_server.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest of it")]
mod redis_server;

mod backup;
mod chaos;
mod crashes;
mod descriptors;
mod drop_in;
#[cfg(target_os = "linux")]
mod flood;
#[cfg(target_os = "linux")]
mod full_disk;
mod guarantees;
mod log;
mod migrate;
mod output;
mod secret_files;
#[cfg(target_os = "linux")]
mod small_disk;
mod tls_proxy;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use tempfile::TempDir;

/// A folder with the files of the documentation and a key.
struct Documented {
    home: TempDir,
    config: PathBuf,
    sites: PathBuf,
}

fn documented() -> Documented {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    std::fs::write(&key, "54321\n").unwrap();
    let page = include_str!("../../../../docs/reference/configuration.md");
    let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let (config, sites) = (home.path().join("config.yml"), home.path().join("sites.yml"));
    std::fs::write(&config, blocks.next().unwrap()).unwrap();
    let block = blocks.next().unwrap();
    assert!(block.contains("/run/secrets/newsite"));
    let block = block.replace("/run/secrets/newsite", key.to_str().unwrap());
    std::fs::write(&sites, block).unwrap();
    Documented { home, config, sites }
}

fn backwire(subcommand: &str, config: &Path, sites: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
    let (config, sites) = (config.to_str().unwrap(), sites.to_str().unwrap());
    command.args([subcommand, "--config", config, "--sites", sites]);
    for name in ["BACKWIRE_ENV", "NODE_ENV", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

fn check(config: &Path, sites: &Path) -> (bool, String, String) {
    let Output { status, stdout, stderr } = backwire("check", config, sites).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

#[test]
fn check_prints_the_effective_settings_without_keys() {
    let Documented { home: _home, config, sites } = documented();
    let (is_good, output, warned) = check(&config, &sites);
    assert!(is_good && warned.is_empty(), "{warned}");
    for line in [
        "port: 80",
        "client_ttl: 3600",
        "flakeid: {datacenter: 0, worker: 0, epoch: 0}",
        "io: {pingTimeout: 60000, pingInterval: 25000, path: /socket.io, transports: [polling, websocket]}",
        "newsite:",
        "  authUrl: http://newsite.com/socketrooms",
        "  apiKey: (set)",
        "  userRoomPrefix: \"user_\"",
        "  mostWaiting: 1000",
        "  mostDevices: 100",
        "  batchTimeout: 10",
    ] {
        assert!(output.lines().any(|printed| printed == line), "{line} in {output}");
    }
    assert!(!output.contains("54321"));
}

#[test]
fn check_locates_errors_and_warns_of_settings_without_effect() {
    let Documented { home: _home, config, sites } = documented();
    let yaml = std::fs::read_to_string(&sites).unwrap();
    std::fs::write(&sites, yaml.replace("authUrl", "authURL")).unwrap();
    let (is_good, _, output) = check(&config, &sites);
    assert!(!is_good);
    assert!(
        output.contains("sites.yml:2:3: unknown key authURL; did you mean authUrl?"),
        "{output}"
    );
    std::fs::write(&sites, yaml).unwrap();
    std::fs::write(&config, "io: {cookie: false}\nredis: {port: 6380}\n").unwrap();
    let (is_good, output, warned) = check(&config, &sites);
    assert!(is_good && output.contains("redis: {host: 127.0.0.1, port: 6380, auth_pass: ~}"));
    assert!(warned.contains("config.yml:1:6: io.cookie changes nothing: "), "{warned}");
    assert!(output.contains("\nengine: redis://127.0.0.1:6380\n"), "{output}");
    std::fs::write(&config, "engine: memory\nredis: {port: 6380}\n").unwrap();
    let (is_good, output, warned) = check(&config, &sites);
    assert!(is_good && output.contains("\nengine: memory\n"), "{output}");
    assert!(warned.contains("redis: the setting has no effect, because `engine` is set"));
}

#[test]
fn check_finds_a_resource_that_a_path_of_the_server_hides() {
    let Documented { home: _home, config, sites } = documented();
    std::fs::write(&config, "csrf: true\nresources: {csrfToken: {}}\n").unwrap();
    let (is_good, _, refused) = check(&config, &sites);
    assert!(!is_good && refused.contains("the resource csrftoken at /csrftoken"), "{refused}");
    std::fs::write(&config, "csrf: true\nresources: {token: {}}\n").unwrap();
    assert!(check(&config, &sites).0);
}

#[test]
fn check_shows_the_address_of_redis_without_the_password() {
    let Documented { home: _home, config, sites } = documented();
    std::fs::write(&config, "engine: redis://zoe:hunter7@10.0.0.1:6380\n").unwrap();
    let (is_good, output, warned) = check(&config, &sites);
    assert!(is_good && output.contains("\nengine: redis://10.0.0.1:6380\n"), "{output}");
    std::fs::write(&config, "engine: rediss://zoe:hunter7@10.0.0.1:6380?tls=1\n").unwrap();
    let (is_good, _, refused) = check(&config, &sites);
    assert!(!is_good && refused.contains("has an unknown parameter after ?"), "{refused}");
    for text in [output, warned, refused] {
        assert!(!text.contains("hunter7") && !text.contains("zoe"), "{text}");
    }
}

#[test]
fn environment_variable_selects_the_section() {
    let Documented { home, config, sites } = documented();
    let yaml = "development: {port: 1}\nproduction: {port: 2}\nstaging: {port: 3}\n";
    std::fs::write(&config, yaml).unwrap();
    let port = |variables: &[(&str, &str)]| {
        let mut command = backwire("check", &config, &sites);
        let output = command.envs(variables.iter().copied()).current_dir(&home).output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        output.lines().find_map(|line| Some(line.strip_prefix("port: ")?.to_owned())).unwrap()
    };
    assert_eq!(port(&[]), "2");
    assert_eq!(port(&[("NODE_ENV", "development")]), "1");
    assert_eq!(port(&[("NODE_ENV", "development"), ("BACKWIRE_ENV", "staging")]), "3");
}

/// `backwire serve` and its log.
struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Process {
    fn spawn(command: &mut Command, engine: &str) -> Self {
        Self::run(command.args(["--port", "0", "--engine", engine]))
    }

    fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    fn start(command: &mut Command, engine: &str) -> Self {
        let mut process = Self::spawn(command, engine);
        assert!(process.first_line().starts_with("listening on"));
        process
    }

    /// Returns the first line of standard output, or an empty text if the process has ended without
    /// one.
    fn first_line(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn ends_well(&mut self) -> bool {
        self.child.wait().unwrap().success()
    }

    /// Returns the rest of the log after the process has ended.
    fn rest(&mut self) -> String {
        let mut lines = String::new();
        self.log.read_to_string(&mut lines).unwrap();
        lines
    }

    /// Returns the next log line that contains this text.
    fn logged(&mut self, part: &str) -> String {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            if line.contains(part) {
                return line;
            }
            line.clear();
        }
        panic!("it has ended without telling {part}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sighup_reloads_the_sites_and_an_invalid_file_changes_nothing() {
    let Documented { home: _home, config, sites } = documented();
    let mut process = Process::start(&mut backwire("serve", &config, &sites), "memory");
    let yaml = std::fs::read_to_string(&sites).unwrap();
    std::fs::write(&sites, format!("{yaml}{}", yaml.replace("newsite:", "other:"))).unwrap();
    process.signal("-HUP");
    assert!(process.logged("sites are read again").contains("sites=2"));
    std::fs::write(&sites, "newsite: [").unwrap();
    process.signal("-HUP");
    assert!(process.logged("the sites stay as they are").contains("sites.yml:1:"));
    std::fs::write(&sites, yaml).unwrap();
    process.signal("-HUP");
    assert!(process.logged("sites are read again").contains("sites=1"));
}

#[test]
fn server_waits_for_a_locked_database_until_it_is_released_or_a_signal_arrives() {
    const WAITS: &str = "is open in another process: waiting for it to stop";
    let Documented { home, config, sites } = documented();
    let file = home.path().join("backwire.db");
    let engine = format!("sqlite:{}", file.display());
    let serve = || backwire("serve", &config, &sites);
    let mut old = Process::start(&mut serve(), &engine);

    let mut terminated = Process::spawn(&mut serve(), &engine);
    assert!(terminated.logged(WAITS).contains("backwire.db"));
    terminated.signal("-TERM");
    assert_eq!((terminated.first_line(), terminated.ends_well()), (String::new(), true));

    let mut new = Process::spawn(&mut serve(), &engine);
    new.logged(WAITS);
    let checked = backwire("check", &config, &sites).args(["--engine", &engine]).output().unwrap();
    assert!(checked.status.success(), "to check needs no file");
    let reads = rusqlite::Connection::open(&file).unwrap();
    let count = |sql| reads.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM records"), 0);
    old.signal("-TERM");
    assert!(new.first_line().starts_with("listening on"));
    assert!(old.ends_well());
}

#[test]
fn failed_send_is_reported_at_once_while_standard_input_stays_open() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
    command.args(["send", "--url", &url, "--site", "newsite", "--api-key", "54321"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The input stays open until the process has ended.
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"rooms\":\"a\",\"event\":\"e\"}\n").unwrap();
    assert!(!child.wait().unwrap().success());
    let mut output = String::new();
    child.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output.contains("line 1: ") && output.contains("refused"), "{output}");
    assert!(!output.contains("54321"));
}
