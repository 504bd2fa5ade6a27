//! The reply header `backwire-query`: how the server has understood a read.

use super::names::{hash_encoded, next_item};

/// What the records of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All records of the resource, or all that fulfil a filter: the pushes of the room tell which.
    List,
    /// Some of them, or some of their attributes: only the server knows what is in it.
    Part,
    /// A single record.
    One,
}

/// What must be known of a query to keep its result up to date.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) kind: Kind,
    /// Hashes of the attributes that the server sorts by.
    sort: Vec<u32>,
}

impl Description {
    /// Reads `kind;name=value;name`, such as `filter;sort=age,first%20name`. Without a header, and
    /// for a kind of the future, it is a part: that is always right, if not always cheap.
    pub(super) fn parse(header: &str) -> Self {
        let mut rest = header;
        let kind = match next_item(&mut rest, b';') {
            Some("whole" | "filter") => Kind::List,
            Some("one") => Kind::One,
            _ => Kind::Part,
        };
        let mut sort = Vec::new();
        while let Some(field) = next_item(&mut rest, b';') {
            let mut names = field.strip_prefix("sort=").unwrap_or_default();
            while let Some(name) = next_item(&mut names, b',') {
                sort.push(hash_encoded(name));
            }
        }
        Self { kind, sort }
    }

    /// Whether the pushes of its room tell which records it has, but not in which order.
    pub(super) fn is_sorted_list(&self) -> bool {
        self.kind == Kind::List && !self.sort.is_empty()
    }

    /// Whether an update of these attributes may mean another order.
    pub(super) fn is_sorted_by(&self, names: &[u32]) -> bool {
        names.iter().any(|name| self.sort.contains(name))
    }
}
