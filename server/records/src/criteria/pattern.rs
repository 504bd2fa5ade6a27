//! Patterns with wildcards.

use serde::{Deserialize, Serialize};

/// A pattern, as the pieces between its wildcards. A matching string begins with the first piece,
/// ends with the last one, and has the others between them in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Parses a pattern. `%` matches any text, also the empty one; `\%` matches `%`.
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

    /// Returns a pattern for strings that contain this text.
    pub fn contains(text: &str) -> Self {
        Self(vec![String::new(), text.to_owned(), String::new()])
    }

    /// Returns a pattern for strings that begin with this text.
    pub fn starts_with(text: &str) -> Self {
        Self(vec![text.to_owned(), String::new()])
    }

    /// Returns a pattern for strings that end with this text.
    pub fn ends_with(text: &str) -> Self {
        Self(vec![String::new(), text.to_owned()])
    }

    /// Returns the pieces that all matching strings contain, in this order. Some may be empty.
    pub fn pieces(&self) -> &[String] {
        &self.0
    }

    /// Whether a string matches.
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
