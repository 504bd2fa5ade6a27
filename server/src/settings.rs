//! What can be set, with its defaults.

mod service;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use subtle::ConstantTimeEq;

use crate::delivery::flake::Node;
use crate::delivery::rules::Ttl;
use crate::engine::{self, Engine, Memory, Sqlite, Tail, Window};
use crate::model::Models;
use crate::route::Paths;
use crate::sites::Sites;
use crate::socket::Limits;

pub use service::{Flake, Heartbeat, Redis};

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen. Only this machine by default: nothing here asks yet who is calling.
    pub host: IpAddr,
    /// Which port; 0 means any that is free.
    pub port: u16,
    /// Where records and logs live.
    pub store: Store,
    /// How much of each log is kept.
    pub window: Window,
    /// What is declared of resources.
    pub models: Models,
    /// How resources are reached.
    pub paths: Paths,
    /// A directory of pages to serve beside the resources.
    pub pages: Option<PathBuf>,
    /// Origins (`https://app.example`) whose pages may use the server, beyond those of its own host.
    pub origins: Vec<String>,
    /// What back ends publish with over HTTP; without it they can not.
    pub api_key: Option<ApiKey>,
    /// What session cookies are signed with; without it, the engine's own secret.
    pub session_secret: Option<SessionSecret>,
    /// How long a session is kept that nothing is done with.
    pub session_age: Duration,
    /// How long messages wait for a person whose last device has left; without it for ever.
    pub client_ttl: Option<Duration>,
    /// Where a Redis is.
    pub redis: Option<Redis>,
    /// The apps that share this server, with a namespace each.
    pub sites: Sites,
    /// Which server this is among those whose ids may not meet.
    pub flake: Flake,
    /// How it is found out that the other end of a connection is gone.
    pub heartbeat: Heartbeat,
    /// Bytes a body may have.
    pub body_limit: usize,
    /// Requests one connection may have in flight.
    pub in_flight: usize,
    /// Packets that may wait for one client to read them. Pushes are shared by all who wait for
    /// them, answers are not: this many of the largest is what a client that does not read can cost.
    pub unread: usize,
    /// How long a client may read nothing of what is sent to it before its connection is ended.
    pub write_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 1337,
            store: Store::default(),
            window: Window::default(),
            models: Models::default(),
            paths: Paths::default(),
            pages: None,
            origins: Vec::new(),
            api_key: None,
            session_secret: None,
            session_age: Duration::from_secs(24 * 60 * 60),
            client_ttl: Some(Duration::from_secs(60 * 60)),
            redis: None,
            sites: Sites::default(),
            flake: Flake::default(),
            heartbeat: Heartbeat::default(),
            body_limit: 1 << 20,
            in_flight: 256,
            unread: 512,
            write_deadline: Duration::from_secs(20),
        }
    }
}

impl Settings {
    /// How long messages wait at sites that do not say it.
    pub(crate) fn ttl(&self) -> Ttl {
        Ttl::seconds(self.client_ttl.unwrap_or_default().as_secs())
    }

    /// Who draws the ids of messages.
    pub(crate) fn node(&self) -> Node {
        let Flake { datacenter, worker } = self.flake;
        Node::new(datacenter.into(), worker.into()).unwrap_or_default()
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            body: self.body_limit,
            in_flight: self.in_flight,
            unread: self.unread,
            heartbeat: self.heartbeat,
        }
    }
}

/// A secret that a back end has to know. It is not shown where settings are.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// Reads it from a file; spaces and newlines around it do not count.
    pub fn read(file: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        text.trim().parse().map_err(|reason| format!("{file}: {reason}"))
    }

    /// What a back end shows, if it can be in a header. It is marked as not to be shown.
    pub(crate) fn bearer(&self) -> Option<HeaderValue> {
        let mut header = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// Whether this is it. How long the answer takes does not tell how much of it is right.
    pub(crate) fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl FromStr for ApiKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            Err("a key has at least one character")
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// What session cookies are signed with: at least 32 characters. It is not shown where settings are.
#[derive(Clone)]
pub struct SessionSecret(Arc<[u8]>);

impl SessionSecret {
    /// Reads it from a file; spaces and newlines around it do not count.
    pub fn read(file: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        text.trim().parse().map_err(|reason| format!("{file}: {reason}"))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// That of an engine.
impl From<[u8; 32]> for SessionSecret {
    fn from(secret: [u8; 32]) -> Self {
        Self(Arc::new(secret))
    }
}

impl FromStr for SessionSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.len() < 32 {
            Err("a session secret has at least 32 characters")
        } else {
            Ok(Self(text.as_bytes().into()))
        }
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

/// Which engine, written `memory` or `sqlite:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Gone when the server stops.
    Memory,
    /// One file; durable before a write is answered.
    Sqlite(PathBuf),
}

impl Default for Store {
    fn default() -> Self {
        Self::Sqlite("data/backwire.db".into())
    }
}

impl Store {
    /// Opens the engine; a file's directory is made if it is not there.
    pub(crate) fn open(
        &self,
        window: Window,
        tail: Tail,
    ) -> Result<Arc<dyn Engine>, engine::Error> {
        match self {
            Self::Memory => Ok(Arc::new(Memory::new(window, tail))),
            Self::Sqlite(file) => {
                if let Some(directory) = file.parent() {
                    std::fs::create_dir_all(directory).map_err(|error| {
                        let directory = directory.display();
                        engine::Error::Unavailable(format!("can not make {directory}: {error}"))
                    })?;
                }
                Ok(Arc::new(Sqlite::open(file, window, tail)?))
            }
        }
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            _ => Err(format!("{text:?} is no engine; memory and sqlite:FILE are")),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
        }
    }
}

/// Reads `90s`, `30m`, `24h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let not_one = || format!("{text:?} is no duration; 90s, 30m, 24h and 7d are");
    let unit = text.chars().next_back().ok_or_else(not_one)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(not_one()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| not_one())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(not_one)
}

/// Reads what [`duration`] does, and a number alone as seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text)
            .map_err(|_| format!("{text:?} is no duration; 90, 90s, 30m, 24h and 7d are")),
    }
}

/// What is in force, as a configuration file would say it; a key is not shown.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host: {}\nport: {}\nengine: {}", self.host, self.port, self.store)?;
        if let Some(pages) = &self.pages {
            writeln!(f, "static: {}", pages.display())?;
        }
        writeln!(f, "origins: [{}]", self.origins.join(", "))?;
        writeln!(f, "api_key: {}", if self.api_key.is_some() { "(set)" } else { "~" })?;
        writeln!(
            f,
            "session_secret: {}",
            if self.session_secret.is_some() { "(set)" } else { "~" }
        )?;
        writeln!(f, "session_age: {}s", self.session_age.as_secs())?;
        writeln!(f, "log_count: {}", self.window.count)?;
        writeln!(f, "log_age: {}s", self.window.age.as_secs())?;
        writeln!(f, "client_ttl: {}", self.client_ttl.unwrap_or_default().as_secs())?;
        if let Some(redis) = &self.redis {
            writeln!(f, "redis: {redis}")?;
        }
        writeln!(f, "flakeid: {}\nio: {}", self.flake, self.heartbeat)?;
        writeln!(f, "body_limit: {}", self.body_limit)?;
        let Paths { prefix, rest_prefix, shortcuts } = &self.paths;
        writeln!(f, "prefix: {prefix:?}\nrest_prefix: {rest_prefix:?}")?;
        writeln!(f, "shortcuts: {}", format!("{shortcuts:?}").to_lowercase())?;
        writeln!(f, "undeclared: {}", format!("{:?}", self.models.others()).to_lowercase())?;
        let mut names: Vec<_> = self.models.declared().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        writeln!(f, "resources: [{}]", names.join(", "))?;
        match self.sites.file() {
            Some(file) => write!(f, "\n# {}\n{}", file.display(), self.sites),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "s", "24", "1y", "-1s", "99999999999999999999d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_engine_is_written_as_it_is_read() {
        for text in ["memory", "sqlite:data/backwire.db", "sqlite:/tmp/a:b.db"] {
            assert_eq!(text.parse::<Store>().unwrap().to_string(), text);
        }
        assert!("sqlite:".parse::<Store>().is_err());
        assert!("redis://localhost".parse::<Store>().is_err());
    }

    #[test]
    fn a_key_is_not_shown_and_no_other_is_taken_for_it() {
        let key: ApiKey = "secret".parse().unwrap();
        assert!(key.is("secret"));
        for other in ["", "s", "Secret", "secret2"] {
            assert!(!key.is(other), "{other}");
        }
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!("".parse::<ApiKey>().is_err());
    }

    #[test]
    fn a_session_secret_is_long_and_not_shown() {
        assert!("s".repeat(31).parse::<SessionSecret>().is_err());
        let secret: SessionSecret = "s".repeat(32).parse().unwrap();
        assert_eq!(format!("{secret:?}"), "SessionSecret(…)");
    }

    #[test]
    fn a_session_secret_may_be_in_a_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("secret").display().to_string();
        std::fs::write(&file, format!("{}\n", "s".repeat(32))).unwrap();
        assert_eq!(SessionSecret::read(&file).unwrap().as_bytes(), "s".repeat(32).as_bytes());
        std::fs::write(&file, "short\n").unwrap();
        assert!(SessionSecret::read(&file).unwrap_err().ends_with("at least 32 characters"));
        assert!(SessionSecret::read(&format!("{file}.old")).is_err());
    }

    #[test]
    fn a_files_directory_is_made() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("deep/down/backwire.db");
        let (tail, _changes) = tokio::sync::mpsc::channel(1);
        Store::Sqlite(file.clone()).open(Window::default(), tail).unwrap();
        assert!(file.exists());
    }
}
