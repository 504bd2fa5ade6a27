//! `backwire chaos`: clients that check the guarantees of a server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Process;
use crate::polling::poll;
use crate::redis_server::RedisServer;
use crate::tls_proxy::TlsProxy;

/// A test fails if it waits for longer than this.
const TIMEOUT: Duration = Duration::from_secs(60);

fn chaos(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
    command.args(["chaos", "--clients", "10"]).args(options);
    if !options.contains(&"--seconds") {
        command.args(["--seconds", "3"]);
    }
    command.env_remove("RUST_LOG");
    command
}

/// Runs the command, and returns whether all guarantees were kept, and what it has printed.
async fn run(options: &[&str]) -> (bool, String) {
    let (is_good, verdict, _) = run_with_log(options).await;
    (is_good, verdict)
}

/// The same with the log.
async fn run_with_log(options: &[&str]) -> (bool, String, String) {
    let mut command = chaos(options);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    // The output is shown if the test fails.
    println!("{stdout}{stderr}");
    (status.success(), stdout, stderr)
}

/// Starts a server of the user.
fn server(home: &Path) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
    command.current_dir(home).arg("serve");
    let mut process = Process::spawn(&mut command, "memory");
    let line = process.first_line();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (process, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_is_killed_keeps_its_guarantees_and_the_report_shows_that() {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report.html");
    let (is_good, verdict) = run(&["--report", report.to_str().unwrap()]).await;
    assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
    let page = fs::read_to_string(report).unwrap();
    assert!(page.contains("all guarantees were kept") && page.contains("<svg"));
    for foreign in ["<script", "<link", "src=", "href=", "url("] {
        assert!(!page.contains(foreign), "the page has no other files: {foreign}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_in_memory_keeps_its_guarantees() {
    let (is_good, verdict) = run(&["--engine", "memory"]).await;
    assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_that_checks_too_little_has_an_exit_code_of_its_own() {
    let mut command = chaos(&["--engine", "memory", "--seconds", "0"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (verdict, log) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(3), "{verdict}{log}");
    assert!(verdict.contains("not checked: an answered write is in the log once"), "{verdict}");
    assert!(verdict.contains("but not everything was checked"), "{verdict}");
    assert!(!verdict.contains("were kept"), "{verdict}");
    assert!(log.contains("not everything was checked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn report_that_cannot_be_written_is_refused_before_the_run() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("no/report.html");
    let options = ["--seconds", "600", "--report", file.to_str().unwrap()];
    let (is_good, verdict, log) = run_with_log(&options).await;
    assert!(!is_good && verdict.is_empty(), "{verdict}");
    assert!(log.contains("--report: ") && log.contains("report.html cannot be written"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_that_is_unknown_is_refused_with_the_engines_of_the_command() {
    for (engine, expected) in [
        (
            "redsi",
            "unknown engine \"redsi\"; expected sqlite, memory, redis or redis://HOST; did you mean redis?",
        ),
        ("sqlite:a.db", "unknown engine \"sqlite:a.db\"; expected sqlite, memory, "),
        ("rdis://:pw@host", "unknown engine; expected sqlite, memory, "),
        ("redis://:pw@", "the address of Redis "),
    ] {
        let (is_good, _, log) = run_with_log(&["--engine", engine]).await;
        assert!(!is_good && log.contains(&format!("--engine: {expected}")), "{log}");
        assert!(!log.contains("pw"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_a_server_cannot_survive_are_refused() {
    let (is_good, _) = run(&["--engine", "memory", "--faults", "kill"]).await;
    assert!(!is_good);
    let (is_good, _) = run(&["--url", "http://localhost:1", "--faults", "cut,stop"]).await;
    assert!(!is_good);
    let redis = ["--engine", "redis://localhost:1", "--faults", "kill-redis"];
    let (is_good, _, log) = run_with_log(&redis).await;
    assert!(!is_good && log.contains("--engine redis"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_killed_and_stopped_keeps_its_guarantees() {
    let faults = "cut,kill-redis,stop-redis";
    let (is_good, verdict) =
        run(&["--engine", "redis", "--seconds", "12", "--faults", faults]).await;
    assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
    for fault in ["kill-redis", "stop-redis"] {
        assert!(verdict.contains(&format!(" {fault}")), "{fault}: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_on_one_redis_do_not_disturb_each_other_and_leave_no_records() {
    let redis = RedisServer::start(&["--save", ""]);
    let run = || async {
        let (is_good, verdict) = run(&["--engine", &redis.url()]).await;
        assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
        assert!(verdict.contains("destroyed to clean up"), "{verdict}");
    };
    tokio::join!(run(), run());
    let resources = redis.command(&["KEYS", "*ids:chaos-*"]);
    assert!(!resources.contains("ids:"), "{resources}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_against_one_server_do_not_disturb_each_other() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    let run = || async {
        let (is_good, verdict) = run(&["--url", &url]).await;
        assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
    };
    tokio::join!(run(), run());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_behind_tls_is_tested_if_its_certificate_is_trusted() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    let server = url.strip_prefix("http://").unwrap().to_owned();
    let proxy = TlsProxy::start(server, "localhost", home.path()).await;
    let ca = proxy.certificate.to_str().unwrap();
    let (is_good, verdict) = run(&["--url", &proxy.url, "--ca", ca]).await;
    assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
    let (is_good, _, log) = run_with_log(&["--url", &proxy.url]).await;
    assert!(!is_good && log.contains("invalid peer certificate: UnknownIssuer"), "{log}");
    assert!(log.contains("--ca FILE"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_cannot_be_reached_is_reported_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (is_good, _, log) = run_with_log(&["--url", &url]).await;
    assert!(!is_good && log.contains("Connection refused"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_of_the_user_is_left_without_records_of_the_run() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    // Urls ignore the case of the name.
    let (is_good, verdict) = run(&["--url", &url, "--resource", "Trial"]).await;
    assert!(is_good && verdict.contains("all guarantees were kept"), "{verdict}");
    let left: Value = get(&format!("{url}/trial")).await;
    assert_eq!(left, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_no_resource_can_have_is_refused() {
    for name in ["a/b", ""] {
        let (is_good, _, log) =
            run_with_log(&["--url", "http://localhost:1", "--resource", name]).await;
        assert!(!is_good && log.contains("--resource: "), "{log}");
        assert!(log.contains("cannot be the name of a resource"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_run_checks_and_cleans_up() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    let options = ["--url", &url, "--resource", "trial", "--seconds", "600"];
    let child = chaos(&options).stdout(Stdio::piped()).spawn().unwrap();
    let (id, records) = (child.id().to_string(), format!("{url}/trial"));
    // The clients have begun when there are several records.
    while get(&records).await.as_array().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap();
    let output = output.unwrap();
    let verdict = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && verdict.contains("all guarantees were kept"), "{verdict}");
    assert_eq!(get(&records).await, json!([]));
}

/// Returns the ids of the running child processes of a process, with their commands.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let lists = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")));
    let ids: Vec<_> = lists
        .flat_map(|ids| {
            ids.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let command =
        |id: &String| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    ids.iter().map(|id| (id.clone(), command(id))).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn server_and_redis_of_a_run_that_is_killed_end() {
    // A run that is killed leaves its folder.
    let home = tempfile::tempdir().unwrap();
    let mut run = chaos(&["--engine", "redis", "--seconds", "600"])
        .env("TMPDIR", home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = run.id();
    let processes = poll("a server and a Redis run", TIMEOUT, async || {
        let children = children(id);
        let has = |part: &str| children.iter().any(|(_, command)| command.contains(part));
        (has("serve\0--host") && has("redis-server")).then_some(children)
    });
    let processes = processes.await;
    run.kill().unwrap();
    run.wait().unwrap();
    for (id, command) in processes {
        poll(&format!("this has ended: {command}"), TIMEOUT, async || {
            let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            // A process that nobody waits for stays in the table, as a zombie.
            (status.is_empty() || status.contains(") Z ")).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resource_with_records_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    let record = json!({"title": "Milk"});
    Client::new().post(format!("{url}/todo")).json(&record).send().await.unwrap();
    let (is_good, verdict) = run(&["--url", &url, "--resource", "todo"]).await;
    assert!(!is_good && verdict.is_empty(), "{verdict}");
    let left: Value = get(&format!("{url}/todo")).await;
    assert_eq!(left.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_push_is_found_with_the_history_of_its_record() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    let liar = liar(url.strip_prefix("http://").unwrap().to_owned()).await;
    let (is_good, verdict) = run(&["--url", &format!("http://{liar}"), "--faults", "cut"]).await;
    assert!(!is_good && verdict.contains("shown as"), "{verdict}");
    assert!(verdict.contains("\nhistory of chaos-"), "{verdict}");
    // The history has the state that the record did not have.
    let (_, story) = verdict.split_once("\nhistory of chaos-").unwrap();
    assert!(story.contains("shown as {"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn write_that_no_client_has_made_is_found() {
    let home = tempfile::tempdir().unwrap();
    let (_process, url) = server(home.path());
    let records = format!("{url}/trial");
    let intruder = tokio::spawn(async move {
        // The clients have begun when there are several records.
        while get(&records).await.as_array().unwrap().len() < 3 {
            tokio::task::yield_now().await;
        }
        let record = json!({"rank": 7});
        Client::new().post(&records).json(&record).send().await.unwrap();
    });
    let (is_good, verdict) = run(&["--url", &url, "--resource", "trial"]).await;
    intruder.await.unwrap();
    assert!(!is_good && verdict.contains("unknown mark"), "{verdict}");
}

async fn get(url: &str) -> Value {
    Client::new().get(url).send().await.unwrap().json().await.unwrap()
}

/// Starts a proxy that changes one of many packets with a certain content. Returns its address.
async fn liar(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let stream = TcpStream::connect(&server).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), stream.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    lie(&mut buffer[..length], &count);
                    if to_client.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

/// Sets another rank in each tenth packet with a certain one.
fn lie(packet: &mut [u8], count: &AtomicUsize) {
    let truth = b"\"rank\":1";
    let Some(at) = packet.windows(truth.len()).position(|part| part == truth) else { return };
    if count.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
        packet[at + truth.len() - 1] = b'2';
    }
}
