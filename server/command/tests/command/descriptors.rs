//! A process with a limit of open files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::Process;

/// Starts `backwire serve` with this limit of open files.
fn limited(files: usize, engine: &str) -> (Process, SocketAddr) {
    let script = format!("ulimit -n {files}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_backwire"), "serve"]);
    let mut process = Process::spawn(&mut command, engine);
    let line = process.first_line();
    let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

fn status(addr: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn waiting_connections_do_not_block_new_ones() {
    const READ: &str = "GET /todo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    const WRITE: &str = "POST /todo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let home = tempfile::tempdir().unwrap();
    let engine = format!("sqlite:{}", home.path().join("backwire.db").display());
    let (mut process, addr) = limited(128, &engine);
    for begin in [
        "",
        "GET /todo HTTP/1.1\r\nhost: local",
        "POST /todo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let clients = (0..110).map(|_| {
            let mut client = TcpStream::connect(addr).unwrap();
            // The server may have closed the connection already to make room.
            let _ = client.write_all(begin.as_bytes());
            client
        });
        let clients: Vec<_> = clients.collect();
        for _ in 0..5 {
            assert_eq!(status(addr, WRITE), "201", "{begin}");
            assert_eq!(status(addr, READ), "200", "{begin}");
        }
        drop(clients);
    }
    process.signal("-TERM");
    let log = process.rest();
    assert!(log.contains("WARN") && log.contains("limit=\"connections\""), "{log}");
    assert!(!log.contains("cannot accept connections"), "{log}");
}
