//! The files of the SQLite engine: journals that another database has left, and the folder.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backwire_engine::{MigrationEndpoint, Sqlite, Window, back_up, migrate, restore};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::store::{NOON, Store, milk, sqlite_in};

/// A folder, in which `sqlite_in` opens a store.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Store {
        sqlite_in(self.0.path(), Window::default(), 4096)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("data").join(name)
    }

    fn store(&self) -> PathBuf {
        self.file("backwire.db")
    }
}

#[tokio::test]
async fn restored_database_does_not_get_changes_from_the_log_of_a_deleted_one() {
    let home = Home::new();
    let store = home.open();
    store.apply(milk()).await;
    back_up(&home.store(), &home.file("copy.db")).unwrap();
    store.apply(milk()).await;
    // The administrator has deleted the file of a killed server, and has forgotten its log.
    let other = Home::new();
    fs::create_dir(other.file("")).unwrap();
    fs::copy(home.file("backwire.db-wal"), other.file("backwire.db-wal")).unwrap();
    assert_eq!(restore(&home.file("copy.db"), &other.store()).unwrap(), None);
    assert_eq!(other.open().records().await.len(), 1);
}

#[tokio::test]
async fn no_database_is_written_beside_a_journal_that_would_be_applied_to_it() {
    let home = Home::new();
    drop(home.open());
    let copy = home.file("copy.db");
    for journal in ["copy.db-wal", "copy.db-journal"] {
        fs::write(home.file(journal), "left").unwrap();
        let [from, to] = [home.store(), copy.clone()].map(MigrationEndpoint::Sqlite);
        let refusals = [back_up(&home.store(), &copy), migrate(from, to, NOON).await.map(drop)];
        for refused in refusals.map(|refusal| refusal.unwrap_err().to_string()) {
            let expected =
                format!("{journal}: left by another database of this name: move it away");
            assert!(refused.contains(&expected), "{refused}");
        }
        assert!(!copy.exists());
        fs::remove_file(home.file(journal)).unwrap();
    }
    back_up(&home.store(), &copy).unwrap();
}

#[tokio::test]
async fn store_whose_folder_cannot_be_synced_is_not_opened_and_gets_no_tables() {
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
