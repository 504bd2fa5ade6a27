//! Conversions between values and columns.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Position, Resource, Verb};
use backwire_records::json_size::JsonSize;
use backwire_records::messages::flake::Flake;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, RowIndex};
use serde_json::value::RawValue;

use crate::counters::Counters;

/// A value of another crate as a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<T>(pub(super) T);

/// Returns the value in a column.
pub(super) fn get<T>(row: &Row<'_>, column: impl RowIndex) -> Result<T>
where
    Column<T>: FromSql,
{
    row.get(column).map(|Column(value)| value)
}

impl ToSql for Column<&Id> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Id::Integer(integer) => ToSqlOutput::from(*integer),
            Id::Text(text) => ToSqlOutput::from(&**text),
        })
    }
}

impl FromSql for Column<Id> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(match value {
            ValueRef::Integer(integer) => Id::Integer(integer),
            _ => Id::Text(value.as_str()?.into()),
        }))
    }
}

impl ToSql for Column<&Resource> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.as_str()))
    }
}

impl FromSql for Column<Resource> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        // The name was valid when it was stored.
        value.as_str().map(|name| Self(Resource::internal(name)))
    }
}

/// Verbs have the same numbers as on the wire.
impl ToSql for Column<&Verb> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(match self.0 {
            Verb::Create => 1,
            Verb::Update => 2,
            Verb::Destroy => 3,
        }))
    }
}

impl FromSql for Column<Verb> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            1 => Ok(Self(Verb::Create)),
            2 => Ok(Self(Verb::Update)),
            3 => Ok(Self(Verb::Destroy)),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// A record or a list, as JSON text.
pub(super) struct Json<T>(pub(super) T);

impl ToSql for Json<&Attributes> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(text(self.0)))
    }
}

impl FromSql for Json<Arc<Attributes>> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let attributes = serde_json::from_slice(value.as_bytes()?).map_err(FromSqlError::other)?;
        Ok(Self(Arc::new(attributes)))
    }
}

/// Stores the arguments of an event as a JSON list.
impl ToSql for Json<&Vec<Box<RawValue>>> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(self.0).expect("a list of JSON is JSON");
        Ok(ToSqlOutput::from(text))
    }
}

impl FromSql for Json<Vec<Box<RawValue>>> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_slice(value.as_bytes()?).map(Self).map_err(FromSqlError::other)
    }
}

/// Returns the names of attributes as a JSON list.
pub(super) fn names(attributes: &Attributes) -> String {
    let names: Vec<_> = attributes.keys().collect();
    serde_json::to_string(&names).expect("a list of strings is JSON")
}

impl FromSql for Json<Vec<String>> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_slice(value.as_bytes()?).map(Self).map_err(FromSqlError::other)
    }
}

/// SQLite's integers are signed. With the highest bit inverted, ids are in the same order.
impl ToSql for Column<&Flake> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from((u64::from(*self.0) ^ SIGN).cast_signed()))
    }
}

impl FromSql for Column<Flake> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(Flake::from(value.as_i64()?.cast_unsigned() ^ SIGN)))
    }
}

const SIGN: u64 = 1 << 63;

/// Returns a record as JSON text.
pub(super) fn text(record: &Attributes) -> String {
    serde_json::to_string(record).expect("a map with string keys is JSON")
}

/// Returns the record in a column, if there is one.
pub(super) fn record(row: &Row<'_>, column: impl RowIndex) -> Result<Option<Arc<Attributes>>> {
    let stored: Option<Json<Arc<Attributes>>> = row.get(column)?;
    Ok(stored.map(|Json(record)| record))
}

/// Returns an unsigned number. SQLite stores it as a signed one.
pub(super) fn unsigned(row: &Row<'_>, column: impl RowIndex) -> Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

/// Returns the counters of a resource.
pub(super) fn counters(connection: &Connection, resource: &Resource) -> Result<Counters> {
    let mut statement = connection.prepare_cached(
        "SELECT head, floor, next_id, records, log_bytes FROM resources WHERE name = ?1",
    )?;
    // Each write reads these columns, and finding them by name takes longer than the query.
    let counters = statement.query_row([Column(resource)], |row| {
        Ok(Counters {
            head: unsigned(row, 0)?,
            floor: unsigned(row, 1)?,
            next_id: row.get(2)?,
            records: unsigned(row, 3)?,
            log_bytes: unsigned(row, 4)?,
        })
    });
    Ok(counters.optional()?.unwrap_or_default())
}

/// Returns the number of records of all resources.
pub(super) fn total_records(connection: &Connection) -> Result<u64> {
    let total = "SELECT ifnull(sum(records), 0) AS total FROM resources";
    connection.prepare_cached(total)?.query_row((), |row| unsigned(row, "total"))
}

/// Returns the bytes of the texts of a change in the log.
pub(super) fn change_bytes(row: &Row<'_>) -> Result<usize> {
    let mut bytes = 0;
    for name in ["before", "after", "attributes"] {
        bytes += row.get_ref(name)?.as_bytes_or_null()?.map_or(0, <[u8]>::len);
    }
    Ok(bytes)
}

/// Returns the bytes that the record in a column takes once it is parsed.
pub(super) fn parsed_bytes(row: &Row<'_>, column: &str) -> Result<usize> {
    let json = row.get_ref(column)?.as_bytes_or_null()?;
    Ok(json.map_or(0, |json| JsonSize::of(json).parsed_bytes()))
}

/// Returns an entry of the log.
pub(super) fn change(row: &Row<'_>, epoch: u64, resource: &Resource) -> Result<Arc<Change>> {
    let (before, after) = (record(row, "before")?, record(row, "after")?);
    let Json(names): Json<Vec<String>> = row.get("attributes")?;
    // The values that were set are in the record after the change.
    let set = names.into_iter().filter_map(|name| {
        let value = after.as_ref()?.get(&name)?.clone();
        Some((name, value))
    });
    let set = set.collect();
    Ok(Arc::new(Change {
        resource: resource.clone(),
        position: Position { epoch, offset: unsigned(row, "offset")? },
        previous: unsigned(row, "previous")?,
        verb: get(row, "verb")?,
        id: get(row, "id")?,
        before,
        after,
        set,
        mark: unsigned(row, "mark")?,
        published: row.get("published")?,
        origin: row.get("origin")?,
        new_members: None,
        at: unsigned(row, "at")?,
    }))
}
