//! How much there may be of criteria.

/// How deep `and`, `or` and `not` may be nested.
pub const DEPTH: usize = 8;

/// How many attributes, modifiers and values criteria may have, and how many names `sort`, `select`
/// and `omit`.
pub const SIZE: usize = 512;
