//! SQL expressions for attributes. SQLite uses an index only for a query with the same text.

use backwire_records::change::Resource;

/// Returns the expression of an attribute. `None` for a name that would have to be escaped in a
/// path.
pub(super) fn of(name: &str) -> Option<String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_plain && !name.is_empty()).then(|| format!("json_extract(json, '$.\"{name}\"')"))
}

/// Returns the condition that a record exists and is of this resource. The name of a resource needs
/// no escaping in quotes.
pub(super) fn resource(resource: &Resource) -> String {
    format!("resource = '{resource}' AND json IS NOT NULL")
}
