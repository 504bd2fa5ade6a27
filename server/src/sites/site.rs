//! The settings of one site in `sites.yml`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::invalid::InvalidSite;
use crate::settings::{AllowedOrigin, ApiKey, Origin};
use crate::yaml;

/// The name of a site, which is the name of its namespace without the slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The settings of a site: how it authenticates its people and its back ends.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Site {
    /// The url that the server asks for the rooms of a token.
    #[serde(deserialize_with = "yaml::parse_text")]
    pub auth_url: AuthUrl,
    /// The scheme before the token in the `Authorization` header.
    #[serde(default, deserialize_with = "yaml::parse_text")]
    pub auth_scheme: Scheme,
    /// The key that back ends need to send messages.
    #[serde(deserialize_with = "yaml::secret")]
    pub api_key: ApiKey,
    /// The prefix of rooms that belong to one person.
    #[serde(default, deserialize_with = "prefix")]
    pub user_room_prefix: Option<String>,
    /// The origins whose pages may connect to the site. By default, the origin of `auth_url`.
    #[serde(default, deserialize_with = "yaml::maybe_list")]
    pub origins: Option<Vec<AllowedOrigin>>,
    /// The room that lets clients without a private room connect, if there is a `user_room_prefix`.
    #[serde(default, deserialize_with = "prefix")]
    pub public_channel: Option<String>,
    /// The url that the server sends a `PUT` to when a person's client has connected or
    /// disconnected.
    #[serde(default, deserialize_with = "yaml::parse_optional_text")]
    pub update_user_url: Option<UpdateUserUrl>,
    /// How long messages wait for a person whose last device has disconnected. Zero means for ever.
    /// The default is [`Settings::client_ttl`](crate::Settings::client_ttl).
    #[serde(default, deserialize_with = "yaml::seconds")]
    pub client_ttl: Option<Duration>,
    /// The names of the push service's own events.
    #[serde(default)]
    pub event_names: EventNames,
    /// How many messages may wait for one person.
    #[serde(default = "most_waiting", deserialize_with = "count")]
    pub most_waiting: usize,
    /// How many named devices the server remembers of one person. A new device replaces the one
    /// that has been disconnected the longest. If all are connected, the new device is refused.
    #[serde(default = "most_devices", deserialize_with = "count")]
    pub most_devices: usize,
    /// How long a stock client may take to ack a batch. After that, events no longer wait for the
    /// ack.
    #[serde(default = "batch_timeout", deserialize_with = "timeout_of_batch")]
    pub batch_timeout: Duration,
    /// How long the `authUrl` may take to answer.
    #[serde(default = "auth_timeout", deserialize_with = "timeout_of_auth")]
    pub auth_timeout: Duration,
    /// How often the tokens of connected clients are checked again. By default, never.
    #[serde(default, deserialize_with = "interval")]
    pub recheck: Option<Duration>,
    /// How many requests to the `authUrl` may run at once.
    #[serde(default = "auth_at_once", deserialize_with = "count")]
    pub auth_at_once: usize,
    /// Whether the resources of this server belong to the site. Then access rules know its people.
    /// Only one site may have them.
    #[serde(default)]
    pub resources: bool,
}

/// A url that the server sends requests to, over http or https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthUrl {
    uri: Uri,
    /// Its origin, which the pages of the site have by default.
    origin: AllowedOrigin,
}

/// A url that connects and disconnects are reported to, over http or https. `:id` in it stands for
/// a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateUserUrl(String);

/// The first word of an `Authorization` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme(String);

/// The names of the push service's own events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventNames {
    /// `batch` and `resync`.
    #[default]
    Plain,
    /// `_batch`, `_resync` and `_settings`, which are names that apps do not use.
    Underscored,
}

impl EventNames {
    /// Returns the names of the push service's own events, which no message may have.
    pub(crate) fn own(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["batch", "resync"],
            Self::Underscored => &["_batch", "_resync", "_settings"],
        }
    }
}

fn most_waiting() -> usize {
    1000
}

fn most_devices() -> usize {
    100
}

fn batch_timeout() -> Duration {
    Duration::from_secs(10)
}

fn auth_timeout() -> Duration {
    Duration::from_secs(5)
}

fn auth_at_once() -> usize {
    16
}

impl Site {
    /// Creates a site with the defaults.
    pub fn new(auth_url: AuthUrl, api_key: ApiKey) -> Self {
        Self {
            auth_url,
            auth_scheme: Scheme::default(),
            api_key,
            user_room_prefix: None,
            origins: None,
            public_channel: None,
            update_user_url: None,
            client_ttl: None,
            event_names: EventNames::default(),
            most_waiting: most_waiting(),
            most_devices: most_devices(),
            batch_timeout: batch_timeout(),
            auth_timeout: auth_timeout(),
            recheck: None,
            auth_at_once: auth_at_once(),
            resources: false,
        }
    }

    /// Returns the site if its values are those that a file may have. An empty prefix or channel
    /// counts as none.
    pub(super) fn checked(self, name: &Name) -> Result<Self, InvalidSite> {
        let has_interval = self.recheck.is_none_or(is_interval);
        let checks = [
            ("mostWaiting", is_count(self.most_waiting), COUNT),
            ("mostDevices", is_count(self.most_devices), COUNT),
            ("authAtOnce", is_count(self.auth_at_once), COUNT),
            ("batchTimeout", is_timeout(self.batch_timeout), TIMEOUT),
            ("authTimeout", is_timeout(self.auth_timeout), TIMEOUT),
            ("recheck", has_interval, INTERVAL),
        ];
        if let Some((setting, _, expected)) = checks.into_iter().find(|(_, is_valid, _)| !is_valid)
        {
            return Err(InvalidSite::Setting { site: name.to_string(), setting, expected });
        }
        let user_room_prefix = self.user_room_prefix.and_then(unless_empty);
        let public_channel = self.public_channel.and_then(unless_empty);
        Ok(Self { user_room_prefix, public_channel, ..self })
    }

    /// Returns the origins whose pages may connect to the site.
    pub fn origins(&self) -> &[AllowedOrigin] {
        self.origins.as_deref().unwrap_or(std::slice::from_ref(&self.auth_url.origin))
    }

    /// Whether pages of this origin may connect to the site.
    pub(crate) fn allows(&self, origin: &Origin) -> bool {
        self.origins().iter().any(|allowed| allowed.is_any() || allowed.names(origin))
    }

    /// Whether a client with these rooms may connect. If the site has a `user_room_prefix`, a
    /// client needs a private room or the public channel.
    pub(crate) fn accepts_rooms(&self, rooms: &[String]) -> bool {
        let is_public = |room: &String| self.public_channel.as_ref() == Some(room);
        self.user_room_prefix.is_none()
            || rooms.iter().any(|room| self.is_user_room(room) || is_public(room))
    }

    /// Whether a room belongs to one person.
    pub fn is_user_room(&self, room: &str) -> bool {
        self.user_room_prefix.as_ref().is_some_and(|prefix| room.starts_with(prefix))
    }
}

impl Name {
    /// Returns the name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the Socket.IO namespace of the site.
    pub fn namespace(&self) -> String {
        format!("/{}", self.0)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// The namespace of Socket.IO's own admin page, and one that Backwire may need.
        const RESERVED: [&str; 2] = ["admin", "backwire"];
        let is_inner = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        let is_name = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && text.len() <= 64
            && text.bytes().all(is_inner);
        match is_name {
            false => Err(format!(
                "{text:?} cannot be a site: a name has 1 to 64 ASCII letters, digits, - _ and ., \
                 and begins with a letter or digit"
            )),
            true if RESERVED.contains(&text.to_ascii_lowercase().as_str()) => {
                Err(format!("{text:?} cannot be a site: the name is reserved"))
            }
            true => Ok(Self(text.into())),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::parse_text(deserializer)
    }
}

/// Lets maps with names as keys look up a text.
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AuthUrl {
    /// Returns the url as requests have it.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl FromStr for AuthUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not a url: expected http://… or https://…");
        let url = Url::parse(text).map_err(|_| invalid())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "a url of a site has no name and password: the header is for the token".into()
            );
        }
        let origin = url.origin().ascii_serialization().parse().map_err(|_| invalid())?;
        let uri = url.as_str().parse().map_err(|_| invalid())?;
        Ok(Self { uri, origin: AllowedOrigin::One(origin) })
    }
}

impl UpdateUserUrl {
    /// Returns the url for one person.
    pub(crate) fn of(&self, person: &str) -> Option<Uri> {
        let person = utf8_percent_encode(person, NON_ALPHANUMERIC).to_string();
        self.0.replace(":id", &person).parse().ok()
    }
}

impl FromStr for UpdateUserUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let AuthUrl { uri: url, .. } = text.parse()?;
        Ok(Self(url.to_string()))
    }
}

impl Default for Scheme {
    fn default() -> Self {
        Self("Bearer".to_owned())
    }
}

impl Scheme {
    /// Returns the `Authorization` header for a token, if a header can contain it. It is marked as
    /// sensitive.
    pub(crate) fn header(&self, token: &str) -> Option<HeaderValue> {
        let mut header = HeaderValue::from_str(&format!("{} {token}", self.0)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

impl FromStr for Scheme {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_scheme = !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic());
        if is_scheme { Ok(Self(text.to_owned())) } else { Err("it is a word of visible ASCII") }
    }
}

/// Reads a prefix. An empty one counts as none: it would make every room a private room.
fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.and_then(unless_empty))
}

fn unless_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

const MAX_COUNT: usize = 1_000_000;
const COUNT: &str = "a number from 1 to 1000000";
const TIMEOUT: &str = "1 to 300 seconds";
const INTERVAL: &str = "1 second or more";

fn is_count(count: usize) -> bool {
    (1..=MAX_COUNT).contains(&count)
}

fn is_timeout(timeout: Duration) -> bool {
    (1..=300).contains(&timeout.as_secs())
}

fn is_interval(interval: Duration) -> bool {
    interval.as_secs() > 0
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = yaml::number(deserializer, 1..=MAX_COUNT as u64, COUNT)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn timeout_of_batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    timeout(deserializer, batch_timeout())
}

fn timeout_of_auth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    timeout(deserializer, auth_timeout())
}

fn timeout<'de, D: Deserializer<'de>>(
    deserializer: D,
    default: Duration,
) -> Result<Duration, D::Error> {
    let timeout = yaml::seconds(deserializer)?.unwrap_or(default);
    match is_timeout(timeout) {
        true => Ok(timeout),
        false => Err(D::Error::custom(format!("is not {TIMEOUT}"))),
    }
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match yaml::seconds(deserializer)? {
        Some(interval) if !is_interval(interval) => {
            Err(D::Error::custom(format!("is not {INTERVAL}")))
        }
        interval => Ok(interval),
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Writes the settings as `sites.yml` has them, without the key.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  authUrl: {}", self.auth_url.uri())?;
        writeln!(f, "  authScheme: {}\n  apiKey: (set)", self.auth_scheme.0)?;
        match &self.user_room_prefix {
            Some(prefix) => writeln!(f, "  userRoomPrefix: {prefix:?}")?,
            None => writeln!(f, "  userRoomPrefix: ~")?,
        }
        let origins: Vec<_> = self.origins().iter().map(ToString::to_string).collect();
        writeln!(f, "  origins: [{}]", origins.join(", "))?;
        if let Some(channel) = &self.public_channel {
            writeln!(f, "  publicChannel: {channel:?}")?;
        }
        if let Some(UpdateUserUrl(url)) = &self.update_user_url {
            writeln!(f, "  updateUserUrl: {url}")?;
        }
        if let Some(ttl) = self.client_ttl {
            writeln!(f, "  clientTtl: {}", ttl.as_secs())?;
        }
        let names = format!("{:?}", self.event_names).to_lowercase();
        writeln!(f, "  eventNames: {names}\n  mostWaiting: {}", self.most_waiting)?;
        writeln!(f, "  mostDevices: {}", self.most_devices)?;
        writeln!(f, "  batchTimeout: {}", self.batch_timeout.as_secs())?;
        let timeout = self.auth_timeout.as_secs();
        writeln!(f, "  authTimeout: {timeout}\n  authAtOnce: {}", self.auth_at_once)?;
        if let Some(interval) = self.recheck {
            writeln!(f, "  recheck: {}", interval.as_secs())?;
        }
        writeln!(f, "  resources: {}", self.resources)
    }
}
