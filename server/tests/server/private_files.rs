//! Files that a folder of pages does not serve: the store, the server's files, and files outside.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use backwire::Server;
use backwire::settings::{Settings, Store};
use serde_json::json;

use crate::client::{Socket, builder, start};
use crate::limits_reached::CapturedLog;

/// A secret that is in a record but in no page.
const SECRET: &str = "a secret of the store";

/// Starts a server with pages in a folder, and its store in that folder.
async fn serving(folder: &Path, store: &str) -> Server {
    let store = folder.join(store);
    fs::create_dir_all(store.parent().unwrap()).unwrap();
    for page in ["index.html", "backwire.html", ".well-known/security.txt", "sub/page.html"] {
        fs::create_dir_all(folder.join(page).parent().unwrap()).unwrap();
        fs::write(folder.join(page), "a page").unwrap();
    }
    fs::write(folder.join("config.yml"), SECRET).unwrap();
    let settings = Settings {
        port: 0,
        store: Store::Sqlite(store),
        pages: Some(folder.to_owned()),
        private_files: vec![folder.join("config.yml")],
        ..Settings::default()
    };
    let server = start(builder().settings(settings)).await;
    let url = format!("http://{}/todo", server.addr());
    let todo = json!({ "text": SECRET });
    let created = reqwest::Client::new().post(url).json(&todo).send().await.unwrap();
    assert_eq!(created.status(), 201);
    server
}

/// Requests a path exactly as given. HTTP clients would normalize it.
async fn get(server: &Server, path: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

fn has(answer: &[u8], text: &str) -> bool {
    answer.windows(text.len()).any(|part| part == text.as_bytes())
}

async fn gives_nothing_away(server: &Server, paths: &[&str]) {
    for path in paths {
        let answer = get(server, path).await;
        let is_secret = has(&answer, SECRET) || has(&answer, "SQLite format 3");
        assert!(!is_secret, "{path}: {}", String::from_utf8_lossy(&answer));
    }
}

async fn serves_pages(server: &Server) {
    let pages =
        ["/", "/index.html", "/backwire.html", "/.well-known/security.txt", "/sub/page.html"];
    for path in pages {
        assert!(has(&get(server, path).await, "a page"), "{path}");
    }
}

#[tokio::test]
async fn store_in_the_pages_folder_is_not_served() {
    let log = CapturedLog::start();
    let home = tempfile::tempdir().unwrap();
    let server = serving(home.path(), "data/backwire.db").await;
    fs::write(home.path().join("data/notes.txt"), SECRET).unwrap();
    assert!(log.text().contains("contains the database"), "{}", log.text());
    let paths = [
        "/data/backwire.db",
        "/data/backwire.db-wal",
        "/data/backwire.db-shm",
        "/data/backwire.db.lock",
        "/data/notes.txt",
        "/data//backwire.db-wal",
        "//data/backwire.db-wal",
        "/data/./backwire.db-wal",
        "/./data/backwire.db-wal",
        "/sub/../data/backwire.db-wal",
        "/sub/%2e%2e/data/backwire.db-wal",
        "/data%2fbackwire.db-wal",
        "/%64ata/backwire%2edb-wal",
        "/data/backwire.db-wal/",
        "/data/backwire.db-wal.",
        "/data/backwire.db-wal%20",
        "/data/backwire.db-wal%00.html",
        "/data\\backwire.db-wal",
        "/data%5cbackwire.db-wal",
        "/DATA/BACKWIRE.DB-WAL",
        "/config.yml",
    ];
    gives_nothing_away(&server, &paths).await;
    serves_pages(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn store_next_to_the_pages_is_not_served() {
    let home = tempfile::tempdir().unwrap();
    let server = serving(home.path(), "Backwire.db").await;
    fs::copy(home.path().join("Backwire.db"), home.path().join("copy.html")).unwrap();
    fs::copy(home.path().join("Backwire.db-wal"), home.path().join("journal.txt")).unwrap();
    fs::hard_link(home.path().join("Backwire.db"), home.path().join("page.html")).unwrap();
    fs::write(home.path().join("Backwire.db.former"), SECRET).unwrap();
    let paths = [
        "/Backwire.db",
        "/Backwire.db-wal",
        "/Backwire.db-shm",
        "/Backwire.db.former",
        "/%42ackwire.db-wal",
        "/copy.html",
        "/journal.txt",
        "/page.html",
    ];
    gives_nothing_away(&server, &paths).await;
    serves_pages(&server).await;
    server.shutdown().await;
}

#[tokio::test]
async fn hidden_files_and_links_out_of_the_folder_are_not_served() {
    let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret.html"), SECRET).unwrap();
    fs::write(outside.path().join("index.html"), SECRET).unwrap();
    let server = serving(home.path(), "data/backwire.db").await;
    fs::create_dir(home.path().join(".git")).unwrap();
    for hidden in [".env", ".git/config", "sub/.htpasswd"] {
        fs::write(home.path().join(hidden), SECRET).unwrap();
    }
    symlink(outside.path().join("secret.html"), home.path().join("link.html")).unwrap();
    symlink(outside.path(), home.path().join("linked")).unwrap();
    symlink("data/backwire.db-wal", home.path().join("log.html")).unwrap();
    fs::create_dir(home.path().join("folder")).unwrap();
    symlink(outside.path().join("secret.html"), home.path().join("folder/index.html")).unwrap();
    symlink("sub/page.html", home.path().join("inside.html")).unwrap();
    let paths = [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/sub/.htpasswd",
        "/link.html",
        "/linked/secret.html",
        "/linked/",
        "/log.html",
        "/folder/",
    ];
    gives_nothing_away(&server, &paths).await;
    assert!(has(&get(&server, "/inside.html").await, "a page"));
    // The runtime may request a resource where there is no public file.
    let mut runtime = Socket::runtime(&server).await;
    for path in ["/link.html", "/log.html"] {
        let ack = runtime.get(path).await;
        assert!(!ack.to_string().contains(SECRET), "{ack}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn store_files_are_accessible_to_their_owner_only() {
    let home = tempfile::tempdir().unwrap();
    let server = serving(home.path(), "data/backwire.db").await;
    for file in ["backwire.db", "backwire.db-wal", "backwire.db-shm", "backwire.db.lock"] {
        let mode = fs::metadata(home.path().join("data").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    server.shutdown().await;
}
