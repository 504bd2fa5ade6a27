//! What a SocketIO Web Service has in its `config.yml` beside the port, and Sails in its
//! `config/cors.js`.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{AllowedOrigin, ApiKey};
use crate::yaml;

/// Where a Redis is. It is read, and used by nothing yet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Its host.
    pub host: String,
    /// Its port.
    #[serde(deserialize_with = "yaml::port")]
    pub port: u16,
    /// Its password.
    #[serde(deserialize_with = "yaml::maybe_secret")]
    pub auth_pass: Option<ApiKey>,
}

impl Default for Redis {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 6379, auth_pass: None }
    }
}

/// Which server this is among those whose ids may not meet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flake {
    /// 0 to 31.
    #[serde(deserialize_with = "five_bits")]
    pub datacenter: u8,
    /// 0 to 31.
    #[serde(deserialize_with = "five_bits")]
    pub worker: u8,
}

fn five_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let number = yaml::number(deserializer, 0..=31, "a number from 0 to 31")?;
    Ok(u8::try_from(number).unwrap_or_default())
}

/// How it is found out that the other end of a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// How long after a ping its pong may come.
    #[serde(rename = "pingTimeout", deserialize_with = "milliseconds")]
    pub timeout: Duration,
    /// How long after a pong the next ping is sent.
    #[serde(rename = "pingInterval", deserialize_with = "milliseconds")]
    pub interval: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), interval: Duration::from_secs(25) }
    }
}

/// Which pages of other origins may use the server, as Sails 0.9 and 1 say it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Cors {
    /// Whether they may at all.
    all_routes: bool,
    /// The origins, separated by commas. Without them, any.
    #[serde(rename = "origin", deserialize_with = "origins")]
    origin: Option<Vec<AllowedOrigin>>,
    /// The same in Sails 1.
    #[serde(deserialize_with = "yaml::maybe_list")]
    allow_origins: Option<Vec<AllowedOrigin>>,
}

impl Cors {
    /// The origins that it allows, or `None` if it does not change them.
    pub(crate) fn origins(self) -> Option<Vec<AllowedOrigin>> {
        let named = self.allow_origins.or(self.origin);
        self.all_routes.then(|| named.unwrap_or_else(|| vec![AllowedOrigin::Any]))
    }
}

fn origins<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<AllowedOrigin>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| text.split(',').map(|origin| origin.trim().parse()).collect());
    parsed.transpose().map_err(D::Error::custom)
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let number = yaml::number(deserializer, 1..=86_400_000, "milliseconds, 1 to 86400000")?;
    Ok(Duration::from_millis(number))
}

/// As a configuration file would say it; a password is not shown.
impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.auth_pass.is_some() { "(set)" } else { "~" };
        write!(f, "{{host: {}, port: {}, auth_pass: {password}}}", self.host, self.port)
    }
}

impl fmt::Display for Flake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{datacenter: {}, worker: {}}}", self.datacenter, self.worker)
    }
}

impl fmt::Display for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (timeout, interval) = (self.timeout.as_millis(), self.interval.as_millis());
        write!(f, "{{pingTimeout: {timeout}, pingInterval: {interval}}}")
    }
}
