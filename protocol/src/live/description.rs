//! The response header `backwire-query`, which describes how the server understood a read.

use super::names::{SEPARATOR, hash, hash_encoded, next_item};
use crate::join::join;
use crate::wire::query;

/// The kind of result of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All records of the resource, or all that match a filter. Pushes in the room report its
    /// members.
    List,
    /// Some of the records, or some of their attributes. Only the server knows the result.
    Part,
    /// A single record.
    One,
}

/// The properties of a query that decide how its result is kept up to date.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) kind: Kind,
    /// Hashes of the attributes that the server sorts by.
    sort: Vec<u32>,
}

impl Description {
    /// Parses `kind;name=value;name`, such as `filter;sort=age,first%20name`. Without a header, and
    /// for an unknown kind, the result is a part: that is always correct, but may cause more
    /// requests.
    pub(super) fn parse(header: &str) -> Self {
        let mut rest = header;
        let kind = match next_item(&mut rest, b';') {
            Some(query::WHOLE | query::FILTER) => Kind::List,
            Some(query::ONE) => Kind::One,
            _ => Kind::Part,
        };
        let mut sort = Vec::new();
        while let Some(field) = next_item(&mut rest, b';') {
            let mut names = field.strip_prefix(join!(query::SORT, "=")).unwrap_or_default();
            while let Some(name) = next_item(&mut names, b',') {
                sort.push(hash_encoded(name));
            }
        }
        Self { kind, sort }
    }

    /// Returns whether pushes in the room report the members of the result, but not their order.
    pub(super) fn is_sorted_list(&self) -> bool {
        self.kind == Kind::List && !self.sort.is_empty()
    }

    /// Returns whether an update of these attributes may change the order.
    pub(super) fn is_sorted_by(&self, names: &str) -> bool {
        let mut rest = names;
        while let Some(name) = next_item(&mut rest, SEPARATOR) {
            if self.sort.contains(&hash(name)) {
                return true;
            }
        }
        false
    }
}
