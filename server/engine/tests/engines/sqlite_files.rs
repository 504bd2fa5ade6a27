//! The folder of the SQLite engine.

use std::cell::Cell;
use std::io;
use std::path::Path;

use backwire_engine::{Sqlite, Window};
use rusqlite::Connection;
use tokio::sync::mpsc;

#[tokio::test]
async fn store_whose_folder_cannot_be_synced_is_not_opened_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backwire.db");
    let calls = Cell::new(0);
    let failing = |synced: &Path| {
        assert_eq!(synced, folder.path());
        calls.set(calls.get() + 1);
        Err(io::Error::other("it is broken"))
    };
    let (tail, _) = mpsc::channel(1);
    let opened = Sqlite::open_with_folder_sync(&file, Window::default(), tail, &failing);
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("backwire.db: the folder "), "{error}");
    assert!(error.contains("cannot be synced: it is broken"), "{error}");
    assert_eq!(calls.get(), 1);
    let tables = "SELECT count(*) FROM sqlite_master";
    let count = Connection::open(&file).unwrap().query_row(tables, [], |row| row.get::<_, u32>(0));
    assert_eq!(count, Ok(0));
    let (tail, _) = mpsc::channel(1);
    Sqlite::open(&file, Window::default(), tail).unwrap();
}
