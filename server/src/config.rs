//! The configuration file: YAML, read through serde-saphyr and nowhere else.
//!
//! It has settings, or sections with settings, one for each environment. What is wrong in it is told with
//! line and column; a key that is none, with the nearest that is one.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::model::{Model, Undeclarable, Undeclared};
use crate::nearest::nearest;
use crate::route::Shortcuts;
use crate::settings::{self, ApiKey, SessionSecret, Settings, Store};

/// Where the file is looked for if nobody says where it is.
pub const PLACE: &str = "config/config.yml";

/// What a file says, or its section for one environment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    host: Option<IpAddr>,
    port: Option<u16>,
    #[serde(deserialize_with = "text")]
    engine: Option<Store>,
    #[serde(rename = "static")]
    pages: Option<PathBuf>,
    origins: Option<Vec<String>>,
    #[serde(deserialize_with = "text")]
    api_key: Option<ApiKey>,
    #[serde(deserialize_with = "text")]
    session_secret: Option<SessionSecret>,
    #[serde(deserialize_with = "duration")]
    session_age: Option<Duration>,
    log_count: Option<u64>,
    #[serde(deserialize_with = "duration")]
    log_age: Option<Duration>,
    body_limit: Option<usize>,
    prefix: Option<String>,
    rest_prefix: Option<String>,
    shortcuts: Option<Shortcuts>,
    undeclared: Option<Undeclared>,
    resources: BTreeMap<String, Model>,
}

/// Why a file can not be used.
#[derive(Debug)]
pub struct Bad {
    file: PathBuf,
    /// Line and column, from 1.
    at: Option<(u64, u64)>,
    what: String,
}

impl Config {
    /// Reads a file, its section for the environment that `BACKWIRE_ENV` or else `NODE_ENV` names, or
    /// else production.
    pub fn read(file: &Path) -> Result<Self, Bad> {
        let bad = |error: io::Error| Bad { file: file.into(), at: None, what: error.to_string() };
        let yaml = fs::read_to_string(file).map_err(bad)?;
        let names = ["BACKWIRE_ENV", "NODE_ENV"];
        let named = names.iter().find_map(|name| env::var(name).ok().filter(|it| !it.is_empty()));
        Self::parse(&yaml, named.as_deref().unwrap_or("production"), file)
    }

    fn parse(yaml: &str, environment: &str, file: &Path) -> Result<Self, Bad> {
        let of_file = |mut bad: Bad| {
            bad.file = file.into();
            bad
        };
        let keys: Option<HashMap<String, IgnoredAny>> = typed(yaml).map_err(of_file)?;
        let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
            return Ok(Self::default());
        };
        let has_settings = keys.keys().any(|key| settings_keys().contains(&key.as_str()));
        if has_settings || !keys.contains_key(environment) && keys.len() != sections(yaml) {
            return typed(yaml).map_err(of_file);
        }
        let mut sections: HashMap<String, Self> = typed(yaml).map_err(of_file)?;
        sections.remove(environment).ok_or_else(|| {
            let mut names: Vec<_> = sections.keys().map(String::as_str).collect();
            names.sort_unstable();
            let names = names.join(", ");
            let what = format!("there is no section {environment}, only {names}");
            Bad { file: file.into(), at: None, what }
        })
    }

    /// Puts what it says over what there is.
    pub fn over(self, mut settings: Settings) -> Result<Settings, Undeclarable> {
        fn set<T>(value: Option<T>, place: &mut T) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(self.host, &mut settings.host);
        set(self.port, &mut settings.port);
        set(self.engine, &mut settings.store);
        set(self.origins, &mut settings.origins);
        set(self.log_count, &mut settings.window.count);
        set(self.session_age, &mut settings.session_age);
        set(self.log_age, &mut settings.window.age);
        set(self.body_limit, &mut settings.body_limit);
        set(self.prefix, &mut settings.paths.prefix);
        set(self.rest_prefix, &mut settings.paths.rest_prefix);
        set(self.shortcuts, &mut settings.paths.shortcuts);
        settings.pages = self.pages.or(settings.pages);
        settings.api_key = self.api_key.or(settings.api_key);
        settings.session_secret = self.session_secret.or(settings.session_secret);
        if let Some(undeclared) = self.undeclared {
            settings.models.undeclared(undeclared);
        }
        for (name, model) in self.resources {
            settings.models.declare(&name, model)?;
        }
        Ok(settings)
    }
}

/// The keys of a [`Config`], to tell a file with sections from one without: serde names them to who says
/// another.
fn settings_keys() -> &'static [&'static str] {
    static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let refused = serde_saphyr::from_str::<Config>("no key: 0").err();
        match refused.as_ref().map(|refused| refused.without_snippet()) {
            Some(serde_saphyr::Error::SerdeUnknownField { expected, .. }) => expected.clone(),
            _ => Vec::new(),
        }
    });
    &KEYS
}

/// How many of the file's values are sections: mappings or nothing.
fn sections(yaml: &str) -> usize {
    let sections: Result<HashMap<String, Option<HashMap<String, IgnoredAny>>>, _> = typed(yaml);
    sections.map_or(0, |sections| sections.len())
}

fn typed<T: DeserializeOwned>(yaml: &str) -> Result<T, Bad> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let at = error.location().map(|location| (location.line(), location.column()));
        let what = match error.without_snippet() {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                unknown("key", field, expected)
            }
            serde_saphyr::Error::SerdeUnknownVariant { variant, expected, .. } => {
                unknown("value", variant, expected)
            }
            other => other.render(),
        };
        Bad { file: PathBuf::new(), at, what }
    })
}

fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("{name} is no {kind} here; did you mean {nearest}?"),
        None => format!("{name} is no {kind} here; there are {}", known.join(", ")),
    }
}

/// What is written as on the command line.
fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| settings::duration(&text).map_err(D::Error::custom)).transpose()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Settings, String> {
        let config = Config::parse(yaml, "production", Path::new("config.yml"));
        let config = config.map_err(|bad| bad.to_string())?;
        config.over(Settings::default()).map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_file_without_anything_changes_nothing() {
        assert_eq!(read("").unwrap().port, 1337);
        assert_eq!(read("# nothing yet\n").unwrap().port, 1337);
    }

    #[test]
    fn settings_are_written_as_on_the_command_line() {
        let settings = read("port: 80\nengine: memory\nlog_age: 90s\nshortcuts: write\n").unwrap();
        assert_eq!((settings.port, settings.store), (80, Store::Memory));
        assert_eq!(settings.window.age, Duration::from_secs(90));
        assert_eq!(read("session_age: 1h").unwrap().session_age, Duration::from_secs(3600));
        assert_eq!(settings.paths.shortcuts, Shortcuts::Write);
    }

    #[test]
    fn a_section_is_for_its_environment() {
        let yaml = "development:\n  port: 1\nproduction:\n  port: 2\n";
        assert_eq!(read(yaml).unwrap().port, 2);
        assert_eq!(
            read("development:\n  port: 1\n").unwrap_err(),
            "config.yml: there is no section production, only development"
        );
    }

    #[test]
    fn a_key_that_is_none_is_told_with_its_place_and_the_nearest() {
        assert_eq!(
            read("port: 80\nprot: 81\n").unwrap_err(),
            "config.yml:2:1: prot is no key here; did you mean port?"
        );
        assert_eq!(
            read("production:\n  resources:\n    todo:\n      atributes: {}\n").unwrap_err(),
            "config.yml:4:7: atributes is no key here; did you mean attributes?"
        );
        let kind = "resources: {todo: {attributes: {title: {type: text}}}}";
        assert!(read(kind).unwrap_err().starts_with("config.yml:1:"), "{:?}", read(kind));
    }

    #[test]
    fn a_value_that_can_not_be_is_told_with_its_place() {
        for (yaml, at) in [
            ("port: eighty", "config.yml:1:7: "),
            ("engine: redis", "config.yml:1:9: \"redis\" is no engine"),
            ("session_secret: short", "config.yml:1:17: a session secret has at least 32"),
            ("log_age: long", "config.yml:1:10: \"long\" is no duration"),
            ("port: [", "config.yml:"),
            ("resources: {7up: {}}", "\"7up\" can not be a resource"),
            ("resources: {a: {attributes: {b: {regex: '['}}}}", "config.yml:1:"),
        ] {
            let told = read(yaml).unwrap_err();
            assert!(told.starts_with(at), "{told}");
        }
    }

    #[test]
    fn all_keys_are_known_as_such() {
        assert!(settings_keys().contains(&"session_age"));
        for key in settings_keys() {
            let told = read(&format!("{key}: {{x: [1]}}\n"));
            assert!(!told.is_err_and(|told| told.contains("is no key here; there are")), "{key}");
        }
        assert!(read("x: {}\nport: 1").unwrap_err().contains("x is no key"));
    }
}
