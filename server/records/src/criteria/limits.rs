//! The limits of criteria.

/// The maximum depth of nested `and`, `or` and `not`.
pub const MAX_FILTER_DEPTH: usize = 8;

/// The maximum number of attributes, modifiers and values in criteria, and of names in each of
/// `sort`, `select` and `omit`.
pub const MAX_CRITERIA_SIZE: usize = 512;
