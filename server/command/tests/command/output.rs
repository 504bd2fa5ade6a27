//! The standard output of the command.

use std::io;
use std::process::Command;

/// Runs the command with a standard output that nobody reads. Returns its exit code and its log.
fn run_without_reader(arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, output) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_backwire"));
    for name in ["BACKWIRE_ENV", "NODE_ENV", "RUST_LOG"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).stdout(output).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn command_whose_output_is_closed_ends_without_a_message() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let engine = format!("sqlite:{}", path("backwire.db"));
    rusqlite::Connection::open(path("backwire.db")).unwrap();
    let copy = path("copy.db");
    let backup = ["backup", "--engine", &engine, &copy];
    // As a shell shows a program that SIGPIPE has ended.
    let closed = (Some(141), String::new());
    assert_eq!(run_without_reader(&["check", "--engine", "memory"]), closed);
    assert_eq!(run_without_reader(&backup), closed);
    assert!(home.path().join("copy.db").exists());
}
