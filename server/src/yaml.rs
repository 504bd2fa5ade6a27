//! Reads YAML files. Only this module and its submodules use serde-saphyr.
//!
//! A file has its settings at the top, or in sections, one for each environment. Errors have a line
//! and a column. For an unknown key, the error suggests the closest valid one. Values that may be
//! secrets are never part of an error.

mod block;
mod list;
mod secret;
mod wording;

use std::env;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backwire_environment::HashMap;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::{duration, secret_files};

pub(crate) use block::{Block, IgnoredKey, Options};
pub(crate) use list::maybe_list;
pub(crate) use secret::{maybe_secret, secret};
use wording::unknown;

/// An error or a warning about a file, with its line and column.
#[derive(Debug)]
pub struct FileProblem {
    file: PathBuf,
    /// Line and column, from 1.
    at: Option<(u64, u64)>,
    problem: String,
}

impl FileProblem {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { file: PathBuf::new(), at: None, problem: problem.into() }
    }

    pub(crate) fn at(self, line: u64, column: u64) -> Self {
        Self { at: Some((line, column)), ..self }
    }

    pub(crate) fn in_file(self, file: &Path) -> Self {
        Self { file: file.into(), ..self }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for FileProblem {}

/// The type of the settings in a file.
pub(crate) trait Document: DeserializeOwned + Default {
    /// Whether a file with these keys has its settings at the top, without sections.
    fn has_no_sections(yaml: &str, keys: &[String]) -> bool;
}

/// Reads a file. If it has sections, reads the one that `BACKWIRE_ENV` names, or else `NODE_ENV`,
/// or else `production`.
pub(crate) fn read<T: Document>(file: &Path) -> Result<T, FileProblem> {
    let problem = |error: io::Error| FileProblem::new(error.to_string()).in_file(file);
    let yaml = secret_files::read(file).map_err(problem)?;
    let names = ["BACKWIRE_ENV", "NODE_ENV"];
    let named = names.iter().find_map(|name| env::var(name).ok().filter(|it| !it.is_empty()));
    parse(&yaml, named.as_deref().unwrap_or("production")).map_err(|problem| problem.in_file(file))
}

pub(crate) fn parse<T: Document>(yaml: &str, environment: &str) -> Result<T, FileProblem> {
    let keys: Option<HashMap<String, IgnoredAny>> = deserialize(yaml)?;
    let keys: Vec<_> = keys.unwrap_or_default().into_keys().collect();
    if keys.is_empty() {
        return Ok(T::default());
    }
    let has_section = keys.iter().any(|key| key == environment);
    if T::has_no_sections(yaml, &keys) || !has_section && keys.len() != sections(yaml) {
        return deserialize(yaml);
    }
    let mut sections: HashMap<String, Option<T>> = deserialize(yaml)?;
    if let Some(section) = sections.remove(environment) {
        return Ok(section.unwrap_or_default());
    }
    let mut names: Vec<_> = sections.keys().map(String::as_str).collect();
    names.sort_unstable();
    let names = names.join(", ");
    Err(FileProblem::new(format!("there is no section {environment}, only {names}")))
}

/// Returns how many of the file's values can be sections, which are mappings or empty.
fn sections(yaml: &str) -> usize {
    let sections: Result<HashMap<String, Option<HashMap<String, IgnoredAny>>>, _> =
        deserialize(yaml);
    sections.map_or(0, |sections| sections.len())
}

pub(crate) fn deserialize<T: DeserializeOwned>(yaml: &str) -> Result<T, FileProblem> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let problem = FileProblem::new(wording::describe(&error, yaml));
        match error.location() {
            Some(location) => problem.at(location.line(), location.column()),
            None => problem,
        }
    })
}

/// Returns the keys of a type, which are in serde's error about an unknown key.
pub(crate) fn keys_of<T: DeserializeOwned>() -> Vec<&'static str> {
    let refused = serde_saphyr::from_str::<T>("no key: 0").err();
    match refused.as_ref().map(|refused| refused.without_snippet()) {
        Some(serde_saphyr::Error::SerdeUnknownField { expected, .. }) => expected.clone(),
        _ => Vec::new(),
    }
}

/// Parses a required value from its text.
pub(crate) fn parse_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Parses an optional value from its text, which has the same form as on the command line.
pub(crate) fn parse_optional_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// Reads a duration: a number with a unit.
pub(crate) fn duration<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    let duration = text.map(|text| duration::duration(&text)).transpose();
    duration.map_err(|_| D::Error::custom("is not a duration, such as 90s, 30m, 24h or 7d"))
}

/// Reads a duration: seconds, or a number with a unit.
pub(crate) fn seconds<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| duration::seconds(&text).map_err(D::Error::custom)).transpose()
}

/// Reads a whole number in a range. The error names the `allowed` numbers.
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

/// Reads a port. 0 means any free port.
pub(crate) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let port = number(deserializer, 0..=u16::MAX.into(), "a port, 1 to 65535")?;
    Ok(u16::try_from(port).unwrap_or_default())
}

/// Reads an optional port.
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

/// Reads the optional address of an interface.
pub(crate) fn maybe_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let address = text.map(|text| text.parse()).transpose();
    address.map_err(|_| D::Error::custom("is not an address, such as 127.0.0.1 or 0.0.0.0"))
}

/// Values that are wrong for most keys.
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

/// Fails if an error does not describe the file, or has terms of Rust or of a library.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_plain_wording(refused: &str) {
    const INTERNAL_TERMS: [&str; 24] = [
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
    let found = INTERNAL_TERMS.iter().find(|word| refused.contains(*word));
    assert!(found.is_none(), "{found:?} in {refused}");
    assert!(refused.contains(": "), "{refused}");
}
