//! How much of each record.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SIZE;
use super::bad::{Bad, Problem, attribute_name};
use crate::change::Attributes;

/// Which attributes are shown. The key always is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Projection {
    /// All.
    #[default]
    Whole,
    /// These.
    Select(BTreeSet<String>),
    /// All but these.
    Omit(BTreeSet<String>),
}

impl Projection {
    pub(super) fn read(select: Option<Value>, omit: Option<Value>, key: &str) -> Result<Self, Bad> {
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
            (Some(_), Some(_)) => {
                Err(Bad::new("omit", Problem::Misplaced("select says already what is wanted")))
            }
        }
    }

    /// Shows an attribute in any case.
    pub fn show(&mut self, name: &str) {
        match self {
            Self::Whole => {}
            Self::Select(names) => drop(names.insert(name.to_owned())),
            Self::Omit(names) => drop(names.remove(name)),
        }
    }

    /// The attributes it names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = match self {
            Self::Whole => None,
            Self::Select(names) | Self::Omit(names) => Some(names),
        };
        names.into_iter().flatten().map(String::as_str)
    }

    /// The part of a record.
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
            // Of a record that others share, no more is copied than is shown.
            None => {
                let shown = record.iter().filter(|(name, _)| shows(name));
                let shown = shown.map(|(name, value)| (name.clone(), value.clone()));
                return Arc::new(shown.collect());
            }
        }
        record
    }
}

/// `title,done` or `["title","done"]`.
fn names(at: &str, value: Value) -> Result<BTreeSet<String>, Bad> {
    let list = match value {
        Value::String(text) => text.split(',').map(|name| Some(name.trim().to_owned())).collect(),
        Value::Array(list) => {
            list.into_iter().map(|name| Some(name.as_str()?.to_owned())).collect()
        }
        _ => vec![None],
    };
    if list.len() > SIZE {
        return Err(Bad::new(at, Problem::TooMany(SIZE)));
    }
    let name = |name: Option<String>| name.filter(|name| !name.is_empty());
    let names: Option<BTreeSet<_>> = list.into_iter().map(name).collect();
    let problem = Problem::Expected("names, in a list or with commas between");
    let names = names.ok_or_else(|| Bad::new(at, problem))?;
    names.iter().try_for_each(|name| attribute_name(name))?;
    Ok(names)
}
