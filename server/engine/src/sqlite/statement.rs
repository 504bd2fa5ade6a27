//! Statements that are kept for the next read, and those that are not.

use rusqlite::{Result, Statement, Transaction};

/// How long a statement may be to be kept for the next who needs it. There is no end of different ones, and
/// those that are long take room.
const KEPT: usize = 2048;

/// Does something with a statement.
pub(super) fn prepared<T>(
    snapshot: &Transaction<'_>,
    sql: &str,
    run: impl FnOnce(&mut Statement<'_>) -> Result<T>,
) -> Result<T> {
    match sql.len() {
        ..=KEPT => run(&mut *snapshot.prepare_cached(sql)?),
        _ => run(&mut snapshot.prepare(sql)?),
    }
}
