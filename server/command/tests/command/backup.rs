//! `backwire backup` and `backwire restore`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Process;
use crate::client::{Socket, position};

/// A folder with a database, and the servers that use it in turn.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
        command.args(arguments).current_dir(&self.0);
        for name in ["BACKWIRE_ENV", "NODE_ENV", "RUST_LOG", "PORT"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command. Returns its output, or its log if it fails.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    fn serve(&self) -> (Process, SocketAddr) {
        serve(&mut self.command(&["serve", "--port", "0"]))
    }
}

/// Starts a server on a free port, and returns its address.
pub(crate) fn serve(command: &mut Command) -> (Process, SocketAddr) {
    let mut process = Process::run(command);
    let port = process.first_line().trim().rsplit(':').next().unwrap().parse().unwrap();
    (process, ([127, 0, 0, 1], port).into())
}

pub(crate) fn stop(mut process: Process) {
    process.signal("-TERM");
    assert!(process.ends_well());
}

/// Resumes a room at a position, as the runtime does, and returns the answer.
pub(crate) async fn resume(addr: SocketAddr, (epoch, offset): (u64, u64)) -> Value {
    let mut runtime = Socket::runtime_at(addr).await;
    runtime.ask(json!(["resume", [["todo", epoch, offset]]])).await[0].clone()
}

async fn titles(addr: SocketAddr) -> Vec<String> {
    let read = Socket::runtime_at(addr).await.get("/todo").await;
    let records = read["body"].as_array().unwrap();
    records.iter().map(|record| record["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn clients_read_again_after_a_backup_is_restored_however_late_they_return() {
    let home = Home::new();
    let (process, addr) = home.serve();
    let mut connected = Socket::runtime_at(addr).await;
    connected.post("/todo", json!({ "title": "kept" })).await;
    let common = position(&connected.get("/todo").await);
    home.run(&["backup", "monday.db"]).unwrap();
    connected.post("/todo", json!({ "title": "lost" })).await;
    connected.post("/todo", json!({ "title": "lost, too" })).await;
    let lost = position(&connected.get("/todo").await);
    stop(process);

    let printed = home.run(&["restore", "monday.db"]).unwrap();
    assert!(printed.starts_with("sqlite:data/backwire.db is restored from monday.db\n"));
    let (process, addr) = home.serve();
    assert_eq!(titles(addr).await, ["kept"]);
    // A client that was connected all the time, and a client that was disconnected.
    assert_eq!(resume(addr, lost).await, json!(["todo", null]));
    let caught_up = resume(addr, common).await;
    assert_eq!((&caught_up[2], &caught_up[3]), (&json!(1), &json!([])));
    // A client that had the answer to its write, but not yet the changes before it.
    let mut ahead = Socket::runtime_at(addr).await;
    let resumed = ahead.ask(json!(["resume", [["todo", common.0, common.1, lost.1]]])).await;
    assert_eq!(resumed[0], json!(["todo", null]));
    // A client that returns when there are other changes at its position.
    let mut writer = Socket::runtime_at(addr).await;
    for number in 0..5 {
        writer.post("/todo", json!({ "title": format!("new {number}") })).await;
    }
    assert_eq!(resume(addr, lost).await, json!(["todo", null]));
    assert_eq!(resume(addr, common).await[3].as_array().unwrap().len(), 5);
    stop(process);
    // The same holds after an ordinary restart.
    let (_process, addr) = home.serve();
    assert_eq!(resume(addr, lost).await, json!(["todo", null]));
    assert_eq!(resume(addr, common).await[3].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn former_database_is_kept_with_all_its_changes() {
    let home = Home::new();
    home.run(&["backup", "nothing.db"]).unwrap_err();
    let (process, addr) = home.serve();
    Socket::runtime_at(addr).await.post("/todo", json!({ "title": "first" })).await;
    home.run(&["backup", "first.db"]).unwrap();
    Socket::runtime_at(addr).await.post("/todo", json!({ "title": "second" })).await;
    // The last changes are in the journal.
    process.signal("-KILL");
    drop(process);
    let printed = home.run(&["restore", "first.db"]).unwrap();
    let former = printed.trim().rsplit_once("the former database is ").unwrap().1.to_owned();
    assert!(former.contains("data/backwire.db.before-restore-"), "{former}");
    let (process, addr) = home.serve();
    assert_eq!(titles(addr).await, ["first"]);
    stop(process);
    home.run(&["restore", &former]).unwrap();
    let (_process, addr) = home.serve();
    assert_eq!(titles(addr).await, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_during_writes_has_all_answered_writes_and_no_partial_ones() {
    let home = Home::new();
    let (process, addr) = home.serve();
    let writers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                let mut writer = Socket::runtime_at(addr).await;
                for _ in 0..200 {
                    writer.post("/todo", json!({ "title": "x" })).await;
                }
            })
        })
        .collect();
    let mut backups = Vec::new();
    for number in 0..5 {
        let before = titles(addr).await.len();
        let name = format!("{number}.db");
        home.run(&["backup", &name]).unwrap();
        backups.push((name, before, titles(addr).await.len()));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    stop(process);
    for (name, before, after) in backups {
        let connection = rusqlite::Connection::open(home.file(&name)).unwrap();
        let count =
            |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
        let records = count("SELECT count(*) FROM records");
        assert!((before..=after).contains(&records), "{before} {records} {after}");
        assert_eq!(count("SELECT count(*) FROM log"), records);
        assert_eq!(count("SELECT head FROM resources"), records);
    }
}

#[test]
fn backup_is_readable_by_its_owner_only_and_replaces_no_file() {
    let home = Home::new();
    let (process, _) = home.serve();
    assert!(home.run(&["backup", "copy.db"]).unwrap().contains("is copied to copy.db, "));
    use std::os::unix::fs::PermissionsExt;
    for name in ["copy.db", "data/backwire.db", "data/backwire.db-wal"] {
        let mode = home.file(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let refused = home.run(&["backup", "copy.db"]).unwrap_err();
    assert!(refused.contains("copy.db: the file exists already: name another one"), "{refused}");
    home.run(&["backup", "file:copy.db"]).unwrap();
    let mode = home.file("file:copy.db").metadata().unwrap();
    assert!(mode.len() > 0 && mode.permissions().mode() & 0o777 == 0o600);
    std::fs::remove_file(home.file("file:copy.db")).unwrap();
    std::os::unix::fs::symlink("elsewhere.db", home.file("link.db")).unwrap();
    let refused = home.run(&["backup", "link.db"]).unwrap_err();
    assert!(refused.contains("link.db: the file exists already"), "{refused}");
    std::fs::remove_file(home.file("link.db")).unwrap();
    let refused = home.run(&["backup", "nowhere/copy.db"]).unwrap_err();
    assert!(refused.contains("nowhere/copy.db.partial-"), "{refused}");
    stop(process);
    let files = std::fs::read_dir(home.0.path()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "data" || name == "copy.db"), "{names:?}");
}

#[test]
fn file_that_is_not_an_intact_backup_is_refused_and_changes_nothing() {
    let home = Home::new();
    let (process, _) = home.serve();
    home.run(&["backup", "copy.db"]).unwrap();
    stop(process);
    let bytes = |file: &Path| std::fs::read(file).unwrap();
    let before = bytes(&home.file("data/backwire.db"));
    let mut damaged = bytes(&home.file("copy.db"));
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4096].fill(7);
    std::fs::write(home.file("damaged.db"), damaged).unwrap();
    std::fs::write(home.file("text.db"), "not a database, whatever its name says".repeat(40))
        .unwrap();
    rusqlite::Connection::open(home.file("other.db"))
        .unwrap()
        .execute_batch("CREATE TABLE a (b)")
        .unwrap();
    std::fs::copy(home.file("copy.db"), home.file("later.db")).unwrap();
    let later = rusqlite::Connection::open(home.file("later.db")).unwrap();
    later.execute_batch("UPDATE meta SET value = 999 WHERE name = 'version'").unwrap();
    for (name, reason) in [
        ("missing.db", "missing.db: there is no such file"),
        ("text.db", "text.db: not a database of backwire: "),
        ("other.db", "other.db: not a database of backwire: "),
        ("damaged.db", "damaged.db: "),
        ("later.db", "later.db: made by another version of backwire: its tables have version 999"),
    ] {
        let refused = home.run(&["restore", name]).unwrap_err();
        assert!(refused.contains(reason), "{refused}");
    }
    assert_eq!(bytes(&home.file("data/backwire.db")), before);
    let printed = Home::new().run(&["restore", home.file("copy.db").to_str().unwrap()]).unwrap();
    assert!(printed.contains("there was no database before (in "), "{printed}");
    let refused = home.run(&["restore", "copy.db", "--engine", "memory"]).unwrap_err();
    assert!(refused.contains("engine: memory has no file"), "{refused}");
}

#[test]
fn backups_that_overlap_do_not_damage_each_other() {
    let home = Home::new();
    let (process, _) = home.serve();
    let spawn = || home.command(&["backup", "copy.db"]).spawn().unwrap();
    let backups = Vec::from_iter((0..8).map(|_| spawn()));
    let succeeded = backups.into_iter().map(|mut backup| backup.wait().unwrap().success());
    assert_eq!(succeeded.filter(|success| *success).count(), 1);
    stop(process);
    let printed = home.run(&["restore", "copy.db"]).unwrap();
    assert!(printed.contains("is restored from copy.db"), "{printed}");
}

#[test]
fn restore_follows_a_link_to_a_database_that_is_missing() {
    let home = Home::new();
    let (process, _) = home.serve();
    home.run(&["backup", "copy.db"]).unwrap();
    stop(process);
    std::fs::create_dir(home.file("volume")).unwrap();
    std::os::unix::fs::symlink("volume/x.db", home.file("link.db")).unwrap();
    home.run(&["restore", "copy.db", "--engine", "sqlite:link.db"]).unwrap();
    assert!(home.file("link.db").symlink_metadata().unwrap().is_symlink());
    assert!(home.file("volume/x.db").exists());
}
