//! Sessions in the file.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};
use serde_json::Value;

use super::row::{self, Json};
use crate::change::Attributes;
use crate::engine::sessions::{DROPPED_PER_EDIT, Edit, Held};

/// A session whose time is not up.
pub(super) fn load(connection: &Connection, id: &str, now: u64) -> Result<Option<Held>> {
    connection
        .prepare_cached("SELECT json, until FROM sessions WHERE id = ?1 AND until > ?2")?
        .query_row((id, now.cast_signed()), held)
        .optional()
}

/// The sessions that hold a value under a key, and whose time is not up.
pub(super) fn holding(
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

fn held(row: &Row<'_>) -> Result<Held> {
    let Json(values): Json<Arc<Attributes>> = row.get("json")?;
    Ok(Held { values, until: row::unsigned(row, "until")? })
}

/// Edits a session, and forgets others whose time is up.
pub(super) fn edit(connection: &Connection, edit: Edit) -> Result<()> {
    forget(connection, edit.at)?;
    let (was, until) = (edit.id.clone(), edit.until);
    let id = edit.becomes.as_ref().unwrap_or(&was).clone();
    let held = load(connection, &was, edit.at)?;
    let held = held.map(|held| Arc::unwrap_or_clone(held.values));
    let values = edit.apply(held.unwrap_or_default());
    if values.is_empty() || id != was {
        connection.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([&was])?;
    }
    if values.is_empty() {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO sessions (id, json, until) VALUES (?1, ?2, ?3)")?
        .execute((&id, Json(&values), i64::try_from(until).unwrap_or(i64::MAX)))?;
    Ok(())
}

fn forget(connection: &Connection, now: u64) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN
             (SELECT id FROM sessions WHERE until <= ?1 ORDER BY until LIMIT ?2)",
        )?
        .execute((now.cast_signed(), DROPPED_PER_EDIT))?;
    Ok(())
}
