//! The header [`backwire-query`](super::header::QUERY), which describes how the server understood a
//! read: a kind, followed by `;name` or `;name=value` for each property.

/// Kind: all records of the resource.
pub const WHOLE: &str = "whole";

/// Kind: all records that a filter picks.
pub const FILTER: &str = "filter";

/// Kind: an answer that pushes cannot keep up to date.
pub const PART: &str = "part";

/// Kind: a single record.
pub const ONE: &str = "one";

/// Property: the attribute with the id of a record, percent-encoded.
pub const KEY: &str = "key";

/// Property: the attributes that the answer is sorted by, percent-encoded, with commas between
/// them.
pub const SORT: &str = "sort";

/// Property: how many records the answer leaves out at its beginning.
pub const SKIP: &str = "skip";

/// Property: how many records the answer may have.
pub const LIMIT: &str = "limit";

/// Property: the read selects attributes.
pub const SELECT: &str = "select";

/// Property: the read omits attributes.
pub const OMIT: &str = "omit";

/// Property: the answer has associated records.
pub const POPULATE: &str = "populate";

/// Property: the configuration does not declare the resource.
pub const UNDECLARED: &str = "undeclared";
