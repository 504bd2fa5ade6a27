//! How SQL names what is inside of a record. An index is used only by a query with the same text.

use backwire_records::change::Resource;

/// An attribute. Only of names that are spelled the same everywhere, so that one can stand in a path.
pub(super) fn of(name: &str) -> Option<String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_plain && !name.is_empty()).then(|| format!("json_extract(json, '$.\"{name}\"')"))
}

/// That a record is there and of this resource. Its name can stand in quotes as it is.
pub(super) fn resource(resource: &Resource) -> String {
    format!("resource = '{resource}' AND json IS NOT NULL")
}
