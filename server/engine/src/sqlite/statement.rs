//! Prepared statements, which are cached unless they are long.

use rusqlite::{Result, Statement, Transaction};

/// The maximum bytes of a statement that is cached. The number of different statements is not
/// limited, and long ones take much memory.
const MAX_CACHED_SQL_BYTES: usize = 2048;

/// Prepares a statement and runs a function with it.
pub(super) fn prepared<T>(
    snapshot: &Transaction<'_>,
    sql: &str,
    run: impl FnOnce(&mut Statement<'_>) -> Result<T>,
) -> Result<T> {
    match sql.len() {
        ..=MAX_CACHED_SQL_BYTES => run(&mut *snapshot.prepare_cached(sql)?),
        _ => run(&mut snapshot.prepare(sql)?),
    }
}
