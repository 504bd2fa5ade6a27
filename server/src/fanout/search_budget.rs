//! A limit on the text that followed filters may search in changes that are sent together.
//!
//! A filter with `contains` or `like` searches whole texts, before and after each change. The
//! fan-out is one task, so clients that follow many such filters of large records would delay the
//! pushes of all others. Filters that search little come first. A filter that is skipped counts as
//! one whose push was lost: its clients notice it, and read again.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change};
use serde_json::Value;

use crate::rooms::FollowedFilter;

/// The bytes that may be searched.
#[derive(Debug)]
pub(super) struct SearchBudget {
    left: usize,
    spent: usize,
}

impl SearchBudget {
    pub(super) fn new(limit: usize) -> Self {
        Self { left: limit, spent: 0 }
    }

    /// Returns the bytes that were searched.
    pub(super) fn spent(&self) -> usize {
        self.spent
    }

    /// Whether the filter may search the changes. A filter that searches no text always may.
    pub(super) fn allows(&mut self, filter: &FollowedFilter, changes: &[Arc<Change>]) -> bool {
        if filter.searches == 0 {
            return true;
        }
        let text: usize = changes.iter().map(|change| text_of(change)).sum();
        let bytes = text.saturating_mul(filter.searches);
        let Some(left) = self.left.checked_sub(bytes) else { return false };
        self.left = left;
        self.spent = self.spent.saturating_add(bytes);
        true
    }
}

/// The bytes of a change that a filter may search.
fn text_of(change: &Change) -> usize {
    let states = [&change.before, &change.after].into_iter().flatten();
    states.map(|record| text_of_record(record)).sum()
}

fn text_of_record(record: &Attributes) -> usize {
    record.values().filter_map(Value::as_str).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use backwire_records::change::Room;
    use backwire_records::change::{Id, Resource};
    use serde_json::json;

    use super::*;

    fn change(text: usize) -> Arc<Change> {
        let todo = Resource::parse("todo").unwrap();
        let record = json!({ "id": 1, "title": "x".repeat(text) });
        let after = Some(Arc::new(record.as_object().unwrap().clone()));
        Arc::new(Change { after, ..Change::synthetic_destroy(&todo, &Id::Integer(1)) })
    }

    fn filter(searches: usize) -> FollowedFilter {
        let search =
            |n: usize| json!({ "Attribute": ["title", { "Like": ["", n.to_string(), ""] }] });
        let searches: Vec<_> = (0..searches).map(search).collect();
        let name = format!("todo?{}", json!({ "Any": searches }));
        FollowedFilter::of(&Room::parse(&name).unwrap()).unwrap()
    }

    #[test]
    fn filters_search_within_limit_and_others_are_free() {
        let changes = [change(300), change(700)];
        let mut budget = SearchBudget::new(5_000);
        let mut allows = |searches| budget.allows(&filter(searches), &changes);
        assert!(allows(3));
        assert!(!allows(3));
        assert!(allows(2));
        assert!(!allows(1));
        assert!(allows(0));
    }
}
