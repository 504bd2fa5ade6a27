//! Files in YAML, read through serde-saphyr and nowhere else.
//!
//! A file says something, or has sections that do, one for each environment. What is wrong in it is told
//! with line and column; a key that is none, with the nearest that is one. Values of a file are never
//! part of what is told of it where they may be secrets.

mod block;
mod list;
mod secret;
mod wording;

use std::collections::HashMap;
use std::env;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::{duration, secret_files};

pub(crate) use block::{Block, Options, Stray};
pub(crate) use list::maybe_list;
pub(crate) use secret::{maybe_secret, secret};
use wording::unknown;

/// Why a file cannot be used, or what in it changes nothing.
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
    let yaml = secret_files::read(file).map_err(bad)?;
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
        let bad = Bad::new(wording::describe(&error, yaml));
        match error.location() {
            Some(location) => bad.at(location.line(), location.column()),
            None => bad,
        }
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
    let duration = text.map(|text| duration::duration(&text)).transpose();
    duration.map_err(|_| D::Error::custom("is not a duration, such as 90s, 30m, 24h or 7d"))
}

/// Seconds, or a number with a unit.
pub(crate) fn seconds<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration::seconds(&text).map_err(D::Error::custom)).transpose()
}

/// A whole number in a range. The error says which numbers are `allowed`.
pub(crate) fn number<'de, D>(
    deserializer: D,
    range: RangeInclusive<u64>,
    allowed: &str,
) -> Result<u64, D::Error>
where
    D: Deserializer<'de>,
{
    let number = u64::deserialize(deserializer).ok().filter(|number| range.contains(number));
    number.ok_or_else(|| D::Error::custom(format!("is not {allowed}")))
}

/// A port; 0 stands for any that is free.
pub(crate) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let port = number(deserializer, 0..=u16::MAX.into(), "a port, 1 to 65535")?;
    Ok(u16::try_from(port).unwrap_or_default())
}

/// A port that need not be there.
pub(crate) fn maybe_port<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u16>, D::Error> {
    struct Port(u16);
    impl<'de> Deserialize<'de> for Port {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            port(deserializer).map(Self)
        }
    }
    Ok(Option::<Port>::deserialize(deserializer)?.map(|Port(port)| port))
}

/// The address of an interface.
pub(crate) fn maybe_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let address = text.map(|text| text.parse()).transpose();
    address.map_err(|_| D::Error::custom("is not an address, such as 127.0.0.1 or 0.0.0.0"))
}

/// Values, each of which is wrong for most keys.
#[cfg(test)]
pub(crate) const WRONG_VALUES: [&str; 20] = [
    "70000",
    "-1",
    "1.5",
    "99999999999999999999",
    "eighty",
    "'eighty years'",
    "true",
    "~",
    "",
    "''",
    "[1]",
    "[[eighty]]",
    "[~]",
    "{a: 1}",
    "{file: eighty}",
    "{role: [1]}",
    "!!int eighty",
    "!eighty 1",
    "*eighty",
    ".inf",
];

/// Fails if an error is not about the file, or has words of Rust or of a library.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_in_words(refused: &str) {
    const FOREIGN: [&str; 24] = [
        "u8",
        "u16",
        "u32",
        "u64",
        "usize",
        "i64",
        "f64",
        "bool ",
        "invalid boolean",
        "string scalar",
        "sequence",
        "struct",
        "enum ",
        "tagged enum",
        "variant",
        "Option",
        "Vec<",
        "serde",
        "invalid type",
        "JSON number",
        "IP address syntax",
        "Policy",
        "missing field",
        " at line",
    ];
    let found = FOREIGN.iter().find(|word| refused.contains(*word));
    assert!(found.is_none(), "{found:?} in {refused}");
    assert!(refused.contains(": "), "{refused}");
}
