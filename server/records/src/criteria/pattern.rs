//! Strings with anything in some places.

use serde::{Deserialize, Serialize};

/// What stands between the wildcards: the first piece begins a string, the last one ends it, the
/// others come in between and in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// `%` is anything, also nothing; `\%` is `%`.
    pub fn like(pattern: &str) -> Self {
        let mut pieces = vec![String::new()];
        let mut rest = pattern.chars().peekable();
        while let Some(char) = rest.next() {
            match (char, pieces.last_mut()) {
                ('\\', Some(piece)) if rest.next_if_eq(&'%').is_some() => piece.push('%'),
                ('%', _) => pieces.push(String::new()),
                (char, Some(piece)) => piece.push(char),
                (_, None) => {}
            }
        }
        Self(pieces)
    }

    /// Has this in it.
    pub fn contains(text: &str) -> Self {
        Self(vec![String::new(), text.to_owned(), String::new()])
    }

    /// Begins with this.
    pub fn starts_with(text: &str) -> Self {
        Self(vec![text.to_owned(), String::new()])
    }

    /// Ends with this.
    pub fn ends_with(text: &str) -> Self {
        Self(vec![String::new(), text.to_owned()])
    }

    /// What all that match have in them, in this order; some may be empty.
    pub fn pieces(&self) -> &[String] {
        &self.0
    }

    /// Is this one of them?
    pub fn matches(&self, text: &str) -> bool {
        let Some((last, others)) = self.0.split_last() else {
            return text.is_empty();
        };
        let Some((first, middle)) = others.split_first() else {
            return text == last;
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        for piece in middle {
            match rest.split_once(piece.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}
