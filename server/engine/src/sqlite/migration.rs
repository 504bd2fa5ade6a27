//! The file as the source or the target of a [migration](crate::migration).

mod add;
mod read;

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::spawn_blocking;

use super::files::{
    check_for_journals, create_private, make_folder_of, sync_folder, sync_folder_of, with_suffix,
};
use super::ledger::{self, RecentEntries};
use super::lock::{self, Lock};
use super::schema;
use crate::Error;
use crate::ledger::LedgerLimits;
use crate::migration::errors::{ended, failed};
use crate::migration::item::Item;

/// A file that is read. No server uses it meanwhile.
pub(crate) struct Source {
    path: PathBuf,
    _lock: Lock,
}

impl Source {
    /// Locks a file and brings its tables up to date. Waits for a server that is being stopped.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            if !path.exists() {
                return Err(failed(path.display(), "there is no such database"));
            }
            let lock = Lock::of(&path)?;
            move_ledger_entries(&mut schema::create(&path, &sync_folder)?)?;
            Ok(Self { path, _lock: lock })
        })
        .await
    }

    /// Sends all items. Connected devices count as disconnected from `at` on.
    pub(crate) async fn read(&self, at: u64, items: Sender<Item>) -> Result<(), Error> {
        read(self.path.clone(), at, items).await
    }
}

/// Moves the ledger entries that are in the log to their table.
fn move_ledger_entries(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let recent = RecentEntries::load(&transaction)?;
    let limits = LedgerLimits { cutoff: 0, bytes: u64::MAX };
    ledger::move_to_table(&transaction, [&RecentEntries::default(), &recent], limits)?;
    transaction.commit()?;
    Ok(())
}

async fn read(path: PathBuf, at: u64, items: Sender<Item>) -> Result<(), Error> {
    blocking(move || {
        let mut connection = schema::open_reader(&path)?;
        let snapshot = connection.transaction()?;
        read::all(&snapshot, at, &mut |item| items.blocking_send(item).map_err(|_| ended()))
    })
    .await
}

/// A file that is filled beside its place, and gets its name when it is complete.
pub(crate) struct Target {
    path: PathBuf,
    partial: PathBuf,
    _lock: Lock,
}

impl Target {
    /// Creates a file. Fails if there is one.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            make_folder_of(&path, &sync_folder)?;
            let path = lock::resolved(&path);
            let lock = Lock::of(&path)?;
            if path.symlink_metadata().is_ok() {
                let reason = "the file exists already: name another one, or move it away";
                return Err(failed(path.display(), reason));
            }
            check_for_journals(&path)?;
            let partial = with_suffix(&path, &format!(".partial-{:016x}", rand::random::<u64>()));
            create_private(&partial).map_err(|error| failed(partial.display(), error))?;
            schema::create(&partial, &sync_folder)?;
            Ok(Self { path, partial, _lock: lock })
        })
        .await
    }

    /// Adds all items.
    pub(crate) async fn add(&self, mut items: Receiver<Item>) -> Result<(), Error> {
        let path = self.partial.clone();
        blocking(move || {
            let mut connection = schema::create(&path, &sync_folder)?;
            let transaction = connection.transaction()?;
            while let Some(item) = items.blocking_recv() {
                add::item(&transaction, item)?;
            }
            add::totals(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    /// Sends all items.
    pub(crate) async fn read(&self, at: u64, items: Sender<Item>) -> Result<(), Error> {
        read(self.partial.clone(), at, items).await
    }

    /// Gives a complete file its name, and removes another one.
    pub(crate) async fn finish(self, is_complete: bool) -> Result<(), Error> {
        blocking(move || {
            let Self { path, partial, _lock } = &self;
            let named = match is_complete {
                true => publish_file(partial, path),
                false => Ok(()),
            };
            if !is_complete || named.is_err() {
                for suffix in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(with_suffix(partial, suffix));
                }
            }
            named
        })
        .await
    }
}

/// Writes all pages to the file itself, and renames it.
fn publish_file(partial: &Path, path: &Path) -> Result<(), Error> {
    let connection = schema::create(partial, &sync_folder)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
    // The last connection removes the write-ahead log.
    drop(connection);
    fs::rename(partial, path).map_err(|error| failed(path.display(), error))?;
    sync_folder_of(path, &sync_folder)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|_| ended())?
}
