//! Projections, which select attributes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MAX_CRITERIA_SIZE;
use super::error::{CriteriaError, Problem, attribute_name};
use crate::change::Attributes;

/// The attributes that an answer contains. It always contains the key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Projection {
    /// All attributes.
    #[default]
    Whole,
    /// These attributes.
    Select(BTreeSet<String>),
    /// All attributes except these.
    Omit(BTreeSet<String>),
}

impl Projection {
    pub(super) fn read(
        select: Option<Value>,
        omit: Option<Value>,
        key: &str,
    ) -> Result<Self, CriteriaError> {
        let select = select.filter(|select| !is_everything(select));
        match (select, omit) {
            (None, None) => Ok(Self::Whole),
            (Some(select), None) => {
                let mut names = names("select", select)?;
                names.insert(key.to_owned());
                Ok(Self::Select(names))
            }
            (None, Some(omit)) => {
                let mut names = names("omit", omit)?;
                names.remove(key);
                Ok(Self::Omit(names))
            }
            (Some(_), Some(_)) => Err(CriteriaError::new(
                "omit",
                Problem::Misplaced("select says already what is wanted"),
            )),
        }
    }

    /// Adds an attribute to the projection.
    pub fn show(&mut self, name: &str) {
        match self {
            Self::Whole => {}
            Self::Select(names) => drop(names.insert(name.to_owned())),
            Self::Omit(names) => drop(names.remove(name)),
        }
    }

    /// Returns the attributes that the projection names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Whole => None,
            Self::Select(names) | Self::Omit(names) => Some(names),
        };
        names.into_iter().flatten().map(String::as_str)
    }

    /// Returns the projected part of a record.
    pub fn of(&self, record: Arc<Attributes>) -> Arc<Attributes> {
        let mut record = record;
        let shows = |name: &String| match self {
            Self::Whole => true,
            Self::Select(names) => names.contains(name),
            Self::Omit(names) => !names.contains(name),
        };
        if record.keys().all(shows) {
            return record;
        }
        match Arc::get_mut(&mut record) {
            Some(own) => own.retain(|name, _| shows(name)),
            // If others share the record, only the projected part is copied.
            None => {
                let shown = record.iter().filter(|(name, _)| shows(name));
                let shown = shown.map(|(name, value)| (name.clone(), value.clone()));
                return Arc::new(shown.collect());
            }
        }
        record
    }
}

/// Whether `select` is `*`, which is the whole record.
fn is_everything(select: &Value) -> bool {
    matches!(select, Value::String(text) if text == "*")
}

/// Parses `title,done` or `["title","done"]`.
fn names(at: &str, value: Value) -> Result<BTreeSet<String>, CriteriaError> {
    let list = match value {
        Value::String(text) => text.split(',').map(|name| Some(name.trim().to_owned())).collect(),
        Value::Array(list) => {
            list.into_iter().map(|name| Some(name.as_str()?.to_owned())).collect()
        }
        _ => vec![None],
    };
    if list.len() > MAX_CRITERIA_SIZE {
        return Err(CriteriaError::new(at, Problem::TooMany(MAX_CRITERIA_SIZE)));
    }
    let name = |name: Option<String>| name.filter(|name| !name.is_empty());
    let names: Option<BTreeSet<_>> = list.into_iter().map(name).collect();
    let problem = Problem::Expected("names, in a list or with commas between");
    let names = names.ok_or_else(|| CriteriaError::new(at, problem))?;
    names.iter().try_for_each(|name| attribute_name(name))?;
    Ok(names)
}
