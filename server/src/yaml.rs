//! Files in YAML, read through serde-saphyr and nowhere else.
//!
//! A file says something, or has sections that do, one for each environment. What is wrong in it is told
//! with line and column; a key that is none, with the nearest that is one. Values of a file are never
//! part of what is told of it where they may be secrets.

mod block;
mod secret;

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::duration;
use crate::nearest::nearest;

pub(crate) use block::{Block, Stray};
pub(crate) use secret::{maybe_secret, secret};

/// Why a file can not be used, or what in it changes nothing.
#[derive(Debug)]
pub struct Bad {
    file: PathBuf,
    /// Line and column, from 1.
    at: Option<(u64, u64)>,
    what: String,
}

impl Bad {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { file: PathBuf::new(), at: None, what: what.into() }
    }

    pub(crate) fn at(self, line: u64, column: u64) -> Self {
        Self { at: Some((line, column)), ..self }
    }

    pub(crate) fn of(self, file: &Path) -> Self {
        Self { file: file.into(), ..self }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for Bad {}

/// What a file can say.
pub(crate) trait Document: DeserializeOwned + Default {
    /// Whether a file with these keys says it itself, without sections.
    fn is_whole(yaml: &str, keys: &[String]) -> bool;
}

/// Reads a file, its section for the environment that `BACKWIRE_ENV` or else `NODE_ENV` names, or else
/// production.
pub(crate) fn read<T: Document>(file: &Path) -> Result<T, Bad> {
    let bad = |error: io::Error| Bad::new(error.to_string()).of(file);
    let yaml = fs::read_to_string(file).map_err(bad)?;
    let names = ["BACKWIRE_ENV", "NODE_ENV"];
    let named = names.iter().find_map(|name| env::var(name).ok().filter(|it| !it.is_empty()));
    parse(&yaml, named.as_deref().unwrap_or("production")).map_err(|bad| bad.of(file))
}

pub(crate) fn parse<T: Document>(yaml: &str, environment: &str) -> Result<T, Bad> {
    let keys: Option<HashMap<String, IgnoredAny>> = typed(yaml)?;
    let keys: Vec<_> = keys.unwrap_or_default().into_keys().collect();
    if keys.is_empty() {
        return Ok(T::default());
    }
    let has_section = keys.iter().any(|key| key == environment);
    if T::is_whole(yaml, &keys) || !has_section && keys.len() != sections(yaml) {
        return typed(yaml);
    }
    let mut sections: HashMap<String, Option<T>> = typed(yaml)?;
    if let Some(section) = sections.remove(environment) {
        return Ok(section.unwrap_or_default());
    }
    let mut names: Vec<_> = sections.keys().map(String::as_str).collect();
    names.sort_unstable();
    let names = names.join(", ");
    Err(Bad::new(format!("there is no section {environment}, only {names}")))
}

/// How many of the file's values are sections: mappings or nothing.
fn sections(yaml: &str) -> usize {
    let sections: Result<HashMap<String, Option<HashMap<String, IgnoredAny>>>, _> = typed(yaml);
    sections.map_or(0, |sections| sections.len())
}

pub(crate) fn typed<T: DeserializeOwned>(yaml: &str) -> Result<T, Bad> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let what = match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                unknown("key", field, expected)
            }
            serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
                unknown("value", variant, expected)
            }
            serde_saphyr::Error::NullIntoString { .. } => {
                "a text is missing; ~ and null are texts only in quotes".to_owned()
            }
            other => other.render(),
        };
        let Some(location) = error.location() else {
            return Bad::new(what);
        };
        // It is told before the text.
        let (line, column) = (location.line(), location.column());
        let what = what.trim_end_matches(&format!(" at line {line}, column {column}"));
        Bad::new(what).at(line, column)
    })
}

/// The keys of what is read, as serde names them to who says another.
pub(crate) fn keys_of<T: DeserializeOwned>() -> Vec<&'static str> {
    let refused = serde_saphyr::from_str::<T>("no key: 0").err();
    match refused.as_ref().map(|refused| refused.without_snippet()) {
        Some(serde_saphyr::Error::SerdeUnknownField { expected, .. }) => expected.clone(),
        _ => Vec::new(),
    }
}

fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("{name} is no {kind} here; did you mean {nearest}?"),
        None => format!("{name} is no {kind} here; there are {}", known.join(", ")),
    }
}

/// What is written as elsewhere, and has to be there.
pub(crate) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// What is written as on the command line.
pub(crate) fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// A number with a unit.
pub(crate) fn duration<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration::duration(&text).map_err(D::Error::custom)).transpose()
}

/// Seconds, or a number with a unit.
pub(crate) fn seconds<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration::seconds(&text).map_err(D::Error::custom)).transpose()
}
