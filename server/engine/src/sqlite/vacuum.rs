//! Returns free pages of the file to the file system.
//!
//! Deleted rows leave free pages, which SQLite reuses first. If a commit finds more free pages than
//! are soon reused, it returns some of them, so the file shrinks little by little and no writer
//! waits long.

use std::path::Path;

use rusqlite::{Connection, Result};

/// The maximum number of pages that a commit gives back: a quarter of a MiB.
const MAX_PAGES_PER_COMMIT: u64 = 64;
const VACUUM: &str = "PRAGMA incremental_vacuum(64)";

/// The number of free pages that a file may always have: a quarter of a MiB.
const SPARE: u64 = 64;

/// One part in this many of the file may be free. The log drops a sixteenth at a time and takes as
/// much again.
const SPARE_DIVISOR: u64 = 8;

/// The maximum bytes of a file that is rewritten when it is opened: it takes a few seconds.
const MAX_REWRITE_BYTES: u64 = 1 << 30;

/// Enables the return of free pages. In a file that has pages already, this takes effect when it is
/// rewritten.
pub(super) fn enable(connection: &Connection) -> Result<()> {
    connection.pragma_update(None, "auto_vacuum", "incremental")
}

/// Rewrites a file that cannot give pages back because it was made by an older version. A large
/// file, which would take long, stays as it is.
pub(super) fn rewrite_older(connection: &Connection, path: &Path) {
    let file = path.display();
    match should_rewrite(connection) {
        Ok(false) => {}
        Ok(true) => match rewrite(connection) {
            Ok(()) => tracing::info!("{file} was rewritten once, so that it can shrink"),
            Err(error) => {
                tracing::warn!(
                    "{file} cannot shrink: VACUUM failed: {error}; free disk space and restart"
                );
            }
        },
        Err(error) => tracing::warn!("{file} does not shrink: {error}"),
    }
}

/// Whether a file should be rewritten. Logs a warning if it is too large.
fn should_rewrite(connection: &Connection) -> Result<bool> {
    let is_enabled = pragma(connection, "PRAGMA auto_vacuum")? != 0;
    if is_enabled {
        return Ok(false);
    }
    let used = pragma(connection, "PRAGMA page_count")? - free(connection)?;
    let bytes = used * pragma(connection, "PRAGMA page_size")?;
    if bytes > MAX_REWRITE_BYTES {
        let file = connection.path().unwrap_or_default();
        tracing::warn!(
            "{file} does not shrink because an older version made it, and it is too large to be \
             rewritten at the start: stop the server and run \
             sqlite3 {file} 'PRAGMA auto_vacuum=INCREMENTAL; VACUUM'"
        );
    }
    Ok(bytes <= MAX_REWRITE_BYTES)
}

fn rewrite(connection: &Connection) -> Result<()> {
    connection.execute_batch("VACUUM")?;
    // The write-ahead log has a copy of the whole file.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
}

/// Gives some free pages back, if there are too many of them.
pub(super) fn step(connection: &Connection) -> Result<()> {
    let free = free(connection)?;
    if free < SPARE + MAX_PAGES_PER_COMMIT {
        return Ok(());
    }
    let spare = SPARE.max(pragma(connection, "PRAGMA page_count")? / SPARE_DIVISOR);
    if free < spare + MAX_PAGES_PER_COMMIT {
        return Ok(());
    }
    more(connection)
}

/// Gives some free pages back, however few there are. Used on a full disk.
pub(super) fn more(connection: &Connection) -> Result<()> {
    let mut vacuum = connection.prepare_cached(VACUUM)?;
    let mut pages = vacuum.query(())?;
    // Each row is a page that was given back.
    while pages.next()?.is_some() {}
    Ok(())
}

fn free(connection: &Connection) -> Result<u64> {
    pragma(connection, "PRAGMA freelist_count")
}

fn pragma(connection: &Connection, sql: &str) -> Result<u64> {
    connection.prepare_cached(sql)?.query_row((), |row| row.get(0).map(i64::cast_unsigned))
}
