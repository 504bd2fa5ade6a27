//! The settings that a SocketIO Web Service has in its `config.yml` beside the port, and those of
//! Sails in `config/cors.js`.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{AllowedOrigin, ApiKey, RedisUrl, Store};
use crate::yaml::{self, Options};

/// The address of a Redis server in a file of a SocketIO Web Service; see
/// [`Settings::select_redis`](super::Settings::select_redis).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// The host.
    pub host: String,
    /// The port.
    #[serde(deserialize_with = "yaml::port")]
    pub port: u16,
    /// The password.
    #[serde(deserialize_with = "yaml::maybe_secret")]
    pub auth_pass: Option<ApiKey>,
}

impl Redis {
    /// Returns the engine at this address. An error names the part of the address that is invalid.
    pub fn store(&self) -> Result<Store, String> {
        let password = self.auth_pass.as_ref().map(ApiKey::text);
        RedisUrl::of(&self.host, self.port, password).map(Store::Redis)
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 6379, auth_pass: None }
    }
}

impl Options for Redis {
    const IGNORED: &'static [(&'static str, &'static str)] = &[
        ("url", NO_REDIS),
        ("path", NO_REDIS),
        ("db", NO_REDIS),
        ("password", NO_REDIS),
        ("prefix", NO_REDIS),
        ("family", NO_REDIS),
        ("tls", NO_REDIS),
        ("parser", NO_REDIS),
        ("return_buffers", NO_REDIS),
        ("detect_buffers", NO_REDIS),
        ("string_numbers", NO_REDIS),
        ("socket_nodelay", NO_REDIS),
        ("socket_keepalive", NO_REDIS),
        ("no_ready_check", NO_REDIS),
        ("enable_offline_queue", NO_REDIS),
        ("connect_timeout", NO_REDIS),
        ("max_attempts", NO_REDIS),
        ("retry_max_delay", NO_REDIS),
        ("retry_strategy", NO_REDIS),
        ("retry_unfulfilled_commands", NO_REDIS),
        ("disable_resubscribing", NO_REDIS),
        ("rename_commands", NO_REDIS),
        ("command_queue_high_water", NO_REDIS),
        ("command_queue_low_water", NO_REDIS),
    ];
}

const NO_REDIS: &str = "other options of an engine in Redis are in `engine`";

/// The number of a server in the ids of its messages, and the beginning of their time. Servers with
/// different numbers draw different ids.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "FlakeBlock")]
pub struct Flake {
    /// 0 to 31.
    pub datacenter: u8,
    /// 0 to 31.
    pub worker: u8,
    /// When the time in ids begins, in milliseconds since 1970.
    pub epoch: u64,
}

/// The block `flakeid` of a configuration file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FlakeBlock {
    #[serde(deserialize_with = "five_bits")]
    datacenter: u8,
    #[serde(deserialize_with = "five_bits")]
    worker: u8,
    /// `datacenter` and `worker` in one number, which overrides them.
    #[serde(deserialize_with = "ten_bits")]
    id: Option<(u8, u8)>,
    #[serde(deserialize_with = "epoch")]
    epoch: u64,
}

impl From<FlakeBlock> for Flake {
    fn from(FlakeBlock { datacenter, worker, id, epoch }: FlakeBlock) -> Self {
        let (datacenter, worker) = id.unwrap_or((datacenter, worker));
        Self { datacenter, worker, epoch }
    }
}

impl Options for Flake {
    const IGNORED: &'static [(&'static str, &'static str)] = &[(
        "seqMask",
        "ids of one millisecond are counted with 12 bits, and then with the next one's",
    )];
}

fn ten_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(u8, u8)>, D::Error> {
    let number = yaml::number(deserializer, 0..=1023, "a number from 0 to 1023")?;
    let bits = |number: u64| u8::try_from(number & 31).unwrap_or_default();
    Ok(Some((bits(number >> 5), bits(number))))
}

fn epoch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    /// The year 2100.
    const MAX_EPOCH: u64 = 4_102_444_800_000;
    yaml::number(deserializer, 0..=MAX_EPOCH, "milliseconds since 1970")
}

fn five_bits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let number = yaml::number(deserializer, 0..=31, "a number from 0 to 31")?;
    Ok(u8::try_from(number).unwrap_or_default())
}

/// Which pages of other origins may use the server, as in Sails 0.9 and 1.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Cors {
    /// Whether pages of other origins may use the server at all.
    all_routes: bool,
    /// The origins, separated by commas. The default is any origin.
    #[serde(rename = "origin", deserialize_with = "origins")]
    origin: Option<Vec<AllowedOrigin>>,
    /// The origins in Sails 1.
    #[serde(deserialize_with = "yaml::maybe_list")]
    allow_origins: Option<Vec<AllowedOrigin>>,
}

impl Cors {
    /// Returns the allowed origins, or `None` if the block does not change them.
    pub(crate) fn origins(self) -> Option<Vec<AllowedOrigin>> {
        let named = self.allow_origins.or(self.origin);
        self.all_routes.then(|| named.unwrap_or_else(|| vec![AllowedOrigin::Any]))
    }
}

impl Options for Cors {
    const IGNORED: &'static [(&'static str, &'static str)] = &[
        ("credentials", "pages whose origins are named have their visitor's cookies"),
        ("allowCredentials", "pages whose origins are named have their visitor's cookies"),
        ("methods", "all methods are allowed"),
        ("allowRequestMethods", "all methods are allowed"),
        ("headers", "all request headers are allowed"),
        ("allowRequestHeaders", "all request headers are allowed"),
        ("exposeHeaders", "pages can read all headers whose names begin with backwire-"),
        ("allowResponseHeaders", "pages can read all headers whose names begin with backwire-"),
        ("securityLevel", "writes and handshakes of other pages are refused"),
        ("allowAnyOriginWithCredentialsUnsafe", "`origins` names those that have cookies"),
    ];
}

fn origins<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<AllowedOrigin>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| text.split(',').map(|origin| origin.trim().parse()).collect());
    parsed.transpose().map_err(D::Error::custom)
}

/// Writes the block as a configuration file has it, without the password.
impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.auth_pass.is_some() { "(set)" } else { "~" };
        write!(f, "{{host: {}, port: {}, auth_pass: {password}}}", self.host, self.port)
    }
}

impl fmt::Display for Flake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { datacenter, worker, epoch } = self;
        write!(f, "{{datacenter: {datacenter}, worker: {worker}, epoch: {epoch}}}")
    }
}
