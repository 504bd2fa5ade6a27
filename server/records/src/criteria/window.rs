//! Windows: limit and skip.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Language;
use super::error::{CriteriaError, Problem};

/// A range of a list of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Window {
    /// The number of records to skip.
    pub skip: usize,
    /// The maximum number of records.
    pub limit: Option<usize>,
}

impl Window {
    pub(super) fn read(
        skip: Option<(&str, Value)>,
        limit: Option<Value>,
        language: Language,
    ) -> Result<Self, CriteriaError> {
        let skip = skip.map_or(Ok(0), |(name, skip)| count(name, &skip))?;
        let limit = limit.map(|limit| count("limit", &limit)).transpose()?;
        let means_none = |limit: &usize| language == Language::Sails09 && *limit == 0;
        Ok(Self { skip, limit: limit.filter(|limit| !means_none(limit)) })
    }

    /// Returns the items in the window.
    pub(super) fn of<I: Iterator>(self, items: I) -> impl Iterator<Item = I::Item> {
        // `take` comes first: with a limit of 0 nothing is read at all.
        let end = self.limit.map_or(usize::MAX, |limit| limit.saturating_add(self.skip));
        items.take(if self.limit == Some(0) { 0 } else { end }).skip(self.skip)
    }
}

fn count(name: &str, value: &Value) -> Result<usize, CriteriaError> {
    let count = match value {
        Value::Number(number) => number.as_u64(),
        // As in Sails.
        Value::String(text) if text.is_empty() => Some(0),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let count = count
        .ok_or_else(|| CriteriaError::new(name, Problem::Expected("a whole number, 0 or more")));
    Ok(usize::try_from(count?).unwrap_or(usize::MAX))
}
