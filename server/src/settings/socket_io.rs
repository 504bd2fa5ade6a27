//! The settings of Socket.IO: the block `io` of a configuration file.
//!
//! Its keys are those options of `socket.io` for Node.js that have a meaning in Backwire.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::AllowedOrigin;
use super::migration_guide::MIGRATION_GUIDE;
use crate::yaml::{self, FileProblem, Options};

/// The settings of Socket.IO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketIo {
    /// Another path of Socket.IO. `/socket.io` is always served, too.
    pub path: SocketPath,
    /// The transports that clients may use.
    pub transports: Transports,
    /// Bytes that one message of a client may have. The default is four times the limit of a body.
    pub max_http_buffer_size: Option<usize>,
}

/// The path of Socket.IO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath(String);

/// The transports that clients may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transports {
    /// Polling and WebSocket.
    #[default]
    All,
    /// Only polling.
    Polling,
    /// Only WebSocket.
    WebSocket,
}

/// The pings that detect dead connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// How long the pong may take after a ping.
    pub timeout: Duration,
    /// The time from a pong to the next ping.
    pub interval: Duration,
}

/// The block `io` of a configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct IoBlock {
    #[serde(deserialize_with = "milliseconds")]
    ping_timeout: Option<Duration>,
    #[serde(deserialize_with = "milliseconds")]
    ping_interval: Option<Duration>,
    #[serde(deserialize_with = "yaml::parse_optional_text")]
    path: Option<SocketPath>,
    transports: Option<Transports>,
    #[serde(deserialize_with = "bytes")]
    max_http_buffer_size: Option<usize>,
    #[serde(deserialize_with = "yaml::parse_optional_text")]
    pub(crate) origins: Option<SocketIoOrigins>,
}

impl IoBlock {
    /// Replaces the settings that the block sets.
    pub(crate) fn apply_to(self, heartbeat: &mut Heartbeat, socket_io: &mut SocketIo) {
        heartbeat.timeout = self.ping_timeout.unwrap_or(heartbeat.timeout);
        heartbeat.interval = self.ping_interval.unwrap_or(heartbeat.interval);
        socket_io.transports = self.transports.unwrap_or(socket_io.transports);
        socket_io.max_http_buffer_size =
            self.max_http_buffer_size.or(socket_io.max_http_buffer_size);
        if let Some(path) = self.path {
            socket_io.path = path;
        }
    }

    /// Returns a warning about values without effect, if there are any.
    pub(crate) fn warning(&self) -> Option<FileProblem> {
        let patterns = &self.origins.as_ref().filter(|it| !it.patterns.is_empty())?.patterns;
        Some(FileProblem::new(format!(
            "io.origins: {} changes nothing: Backwire allows origins by their full names; list \
             them in `origins`, such as https://app.example ({MIGRATION_GUIDE})",
            patterns.join(" ")
        )))
    }
}

impl Options for IoBlock {
    const IGNORED: &'static [(&'static str, &'static str)] = &[
        ("serveClient", "the client is always served, at /socket.io/socket.io.js"),
        ("allowUpgrades", "`transports` says which transports there are"),
        ("upgradeTimeout", "it is 10 seconds"),
        ("destroyUpgrade", "other WebSockets are refused"),
        ("destroyUpgradeTimeout", "other WebSockets are refused"),
        ("perMessageDeflate", "messages are not compressed"),
        ("httpCompression", "answers of Socket.IO are not compressed"),
        ("cookie", "Socket.IO sets no cookie here"),
        ("cookiePath", "Socket.IO sets no cookie here"),
        ("cookieHttpOnly", "Socket.IO sets no cookie here"),
        ("cors", "`origins` has the origins whose pages may connect"),
        ("handlePreflightRequest", "`origins` has the origins whose pages may connect"),
        ("allowRequest", "a site's authUrl and `origins` decide who may connect"),
        ("adapter", "one process serves all clients"),
        ("parser", "packets have the form of Socket.IO's own parser"),
        ("wsEngine", "WebSockets are built in"),
        ("initialPacket", "no packet is sent with the handshake"),
        ("allowEIO3", "clients of Socket.IO 1 and 2 are always served"),
        ("connectTimeout", "it is 45 seconds"),
        ("connectionStateRecovery", "what a client has missed waits in its queue"),
        ("cleanupEmptyChildNamespaces", "each site has a namespace that stays"),
    ];
}

/// `origins` in the form of Socket.IO 1 and 2: `http://host:port`, `host:port`, `host:*`, `*:port`
/// and `*:*`, with spaces between them.
#[derive(Debug)]
pub(crate) struct SocketIoOrigins {
    /// The origins that are written in full, or any.
    pub(crate) named: Vec<AllowedOrigin>,
    /// Patterns that stand for several origins. They have no effect.
    patterns: Vec<String>,
}

impl FromStr for SocketIoOrigins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut named, mut patterns) = (Vec::new(), Vec::new());
        for origin in text.split_whitespace() {
            match origin.split_once("://") {
                None if ["*", "*:*"].contains(&origin) => named.push(AllowedOrigin::Any),
                _ if origin.contains('*') => patterns.push(origin.to_owned()),
                None => {
                    for scheme in ["http", "https"] {
                        named.push(parse_origin(origin, &format!("{scheme}://{origin}"))?);
                    }
                }
                Some(("http" | "https", _)) => named.push(parse_origin(origin, origin)?),
                Some(_) => return Err(not_an_origin(origin)),
            }
        }
        Ok(Self { named, patterns })
    }
}

fn parse_origin(written: &str, origin: &str) -> Result<AllowedOrigin, String> {
    origin.parse().map_err(|_| not_an_origin(written))
}

fn not_an_origin(text: &str) -> String {
    format!(
        "origins: {text:?} is not an origin, such as https://app.example:443 or app.example:443"
    )
}

impl SocketPath {
    /// The default path of Socket.IO's clients.
    pub const DEFAULT: &'static str = "/socket.io";

    /// Returns the path, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SocketPath {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl FromStr for SocketPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let path = text.trim_end_matches('/');
        let is_path = path.len() > 1
            && path.starts_with('/')
            && path.bytes().all(|it| it.is_ascii_graphic() && !b"?#%\"<>\\".contains(&it));
        match is_path {
            true => Ok(Self(path.to_owned())),
            false => Err("is not a path, such as /socket.io"),
        }
    }
}

impl Transports {
    /// Returns the names of the transports in Socket.IO.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::All => &["polling", "websocket"],
            Self::Polling => &["polling"],
            Self::WebSocket => &["websocket"],
        }
    }
}

impl<'de> Deserialize<'de> for Transports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, PartialEq)]
        #[serde(rename_all = "lowercase")]
        enum Transport {
            Polling,
            WebSocket,
        }
        let transports = Vec::<Transport>::deserialize(deserializer)?;
        let [polls, has_websocket] =
            [Transport::Polling, Transport::WebSocket].map(|it| transports.contains(&it));
        match (polls, has_websocket) {
            (true, true) => Ok(Self::All),
            (true, false) => Ok(Self::Polling),
            (false, true) => Ok(Self::WebSocket),
            (false, false) => Err(de::Error::custom("is not a list with polling or websocket")),
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), interval: Duration::from_secs(25) }
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let number = yaml::number(deserializer, 1..=86_400_000, "milliseconds, 1 to 86400000")?;
    Ok(Some(Duration::from_millis(number)))
}

/// Reads a number of bytes, from the size of a CONNECT to the largest limit of a body.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    // The documentation of Socket.IO writes its default as 10E7.
    let number = f64::deserialize(deserializer).ok().filter(|it| it.fract() == 0.0);
    let number = number.filter(|it| (1024.0..=1_073_741_824.0).contains(it));
    let number = number.ok_or_else(|| de::Error::custom("is not bytes, 1024 to 1073741824"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is in the range"
    )]
    Ok(Some(number as usize))
}

/// Writes the settings as a configuration file has them, without the braces.
impl fmt::Display for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (timeout, interval) = (self.timeout.as_millis(), self.interval.as_millis());
        write!(f, "pingTimeout: {timeout}, pingInterval: {interval}")
    }
}

/// Writes the settings as a configuration file has them, without the braces.
impl fmt::Display for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transports = self.transports.names().join(", ");
        write!(f, "path: {}, transports: [{transports}]", self.path.as_str())?;
        match self.max_http_buffer_size {
            Some(bytes) => write!(f, ", maxHttpBufferSize: {bytes}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_of_socket_io_1_become_origins_as_browsers_send_them() {
        let named = |text: &str| -> Vec<_> {
            let origins: SocketIoOrigins = text.parse().unwrap();
            origins.named.iter().map(ToString::to_string).collect()
        };
        assert_eq!(named("https://App.example:443"), ["https://app.example"]);
        assert_eq!(named("http://a.example:80/ "), ["http://a.example"]);
        assert_eq!(named("a.example:8080"), ["http://a.example:8080", "https://a.example:8080"]);
        assert_eq!(
            named("a.example:80 https://b.example:444"),
            ["http://a.example", "https://a.example:80", "https://b.example:444"]
        );
        assert_eq!(named("*:* a.example:* *:80"), ["'*'"]);
        for wrong in ["ftp://a:1", "http://", "a/b:1", "http://a,http://b"] {
            assert!(wrong.parse::<SocketIoOrigins>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn path_begins_with_a_slash_and_ends_without_one() {
        assert_eq!("/push/socket.io/".parse::<SocketPath>().unwrap().as_str(), "/push/socket.io");
        for wrong in ["", "/", "socket.io", "/a b", "/a?b", "/ä"] {
            assert!(wrong.parse::<SocketPath>().is_err(), "{wrong}");
        }
    }
}
