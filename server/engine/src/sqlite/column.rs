//! Attributes of records as columns in SQL. SQLite uses an index only for a query with the same
//! expression as the index.

use backwire_records::change::Resource;
use rusqlite::types::Value;
use serde_json::Value as Json;

use super::expression;
use super::indexes::Indexes;

/// The index of the ids, which SQLite creates by itself.
const INDEX_OF_IDS: &str = "sqlite_autoindex_records_1";

/// An attribute of the records of a resource.
pub(super) struct Column {
    pub(super) sql: String,
    pub(super) is_id: bool,
    /// The name of its index.
    pub(super) index: Option<String>,
}

impl Column {
    /// Returns the column of an attribute; `None` if its name cannot be in SQL.
    pub(super) fn of(
        name: &str,
        key: &str,
        resource: &Resource,
        indexes: &Indexes,
    ) -> Option<Self> {
        if name == key {
            let index = Some(INDEX_OF_IDS.to_owned());
            return Some(Self { sql: "id".to_owned(), is_id: true, index });
        }
        let index = indexes.on(resource, name);
        Some(Self { sql: expression::of(name)?, is_id: false, index })
    }
}

/// Converts a value to what `json_extract` would return.
pub(super) fn value(value: Json) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::from(bool),
        Json::String(text) => Value::from(text),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::from(integer),
            (None, Some(float)) => Value::from(float),
            (None, None) => Value::from(number.to_string()),
        },
        list => Value::from(list.to_string()),
    }
}
