//! Sessions in the file.

use std::sync::Arc;

use backwire_records::change::Attributes;
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;

use super::row::{self, Json};
use crate::Error;
use crate::sessions::{DROPPED_PER_EDIT, SessionEdit, StoredSession};

type Result<T, E = rusqlite::Error> = std::result::Result<T, E>;

/// Returns a session, unless it has expired.
pub(super) fn load(connection: &Connection, id: &str, now: u64) -> Result<Option<StoredSession>> {
    connection
        .prepare_cached("SELECT json, until FROM sessions WHERE id = ?1 AND until > ?2")?
        .query_row((id, now.cast_signed()), held)
        .optional()
}

/// Returns the ids of the sessions that have a value under a key and have not expired.
pub(super) fn find_by_value(
    connection: &Connection,
    key: &str,
    value: &Value,
    now: u64,
) -> Result<Vec<Arc<str>>> {
    let mut statement =
        connection.prepare_cached("SELECT id, json, until FROM sessions WHERE until > ?1")?;
    let mut rows = statement.query([now.cast_signed()])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        if held(row)?.values.get(key) == Some(value) {
            ids.push(row.get("id")?);
        }
    }
    Ok(ids)
}

fn held(row: &Row<'_>) -> Result<StoredSession> {
    let Json(values): Json<Arc<Attributes>> = row.get("json")?;
    Ok(StoredSession { values, until: row::unsigned(row, "until")? })
}

/// Returns the number of sessions, including expired ones that have not been dropped yet.
pub(super) fn count(connection: &Connection) -> Result<usize> {
    connection
        .prepare_cached("SELECT count(*) AS count FROM sessions")?
        .query_row((), |row| row::unsigned(row, "count"))
        .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Edits a session. `count` is the number of sessions; returns the number afterwards.
pub(super) fn edit(
    connection: &Connection,
    edit: SessionEdit,
    count: usize,
) -> Result<usize, Error> {
    let (was, until, max) = (edit.id.clone(), edit.until, edit.max);
    let id = edit.new_id.as_ref().unwrap_or(&was).clone();
    let held = load(connection, &was, edit.at)?;
    let held = held.map(|held| Arc::unwrap_or_clone(held.values));
    let values = edit.apply(held.unwrap_or_default());
    let removed =
        connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([&was])?;
    let others = count.saturating_sub(removed);
    if values.is_empty() {
        return Ok(others);
    }
    let others = if removed == 0 { make_room(connection, others, max)? } else { others };
    connection
        .prepare_cached("INSERT OR REPLACE INTO sessions (id, json, until) VALUES (?1, ?2, ?3)")?
        .execute((&id, Json(&values), i64::try_from(until).unwrap_or(i64::MAX)))?;
    Ok(others + 1)
}

/// Makes room for a new session. Returns the number of sessions then.
fn make_room(connection: &Connection, count: usize, max: Option<usize>) -> Result<usize, Error> {
    let Some(limit) = max.filter(|max| count >= *max) else { return Ok(count) };
    // The condition is that of the index `anonymous_sessions_by_end`.
    let removed = connection
        .prepare_cached(
            "DELETE FROM sessions WHERE id =
             (SELECT id FROM sessions WHERE json ->> '$.\"backwire.person\"' IS NULL
              ORDER BY until LIMIT 1)",
        )?
        .execute(())?;
    match removed {
        0 => Err(Error::TooManySessions { limit }),
        removed => Ok(count.saturating_sub(removed)),
    }
}

/// Drops some expired sessions. Returns how many.
pub(super) fn forget(connection: &Connection, now: u64) -> Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN
             (SELECT id FROM sessions WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute((now.cast_signed(), DROPPED_PER_EDIT))
}
