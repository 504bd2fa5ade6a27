//! The settings of a server, with their defaults.
//!
//! In reading order:
//!
//! - `limits`: what a client may use;
//! - `trusted_proxy`: the proxies whose client addresses the server trusts;
//! - `store`: the engine;
//! - `allowed_host`: the names of the server;
//! - `allowed_origin`: the pages that may use it;
//! - `access_summary`: a summary of who has access to what;
//! - `secret`: keys, which are never shown;
//! - `service`: the other settings of a push service;
//! - `socket_io`: the settings of Socket.IO.

mod access_summary;
mod allowed_host;
mod allowed_origin;
mod limits;
mod migration_guide;
mod secret;
mod service;
mod socket_io;
mod store;
mod trusted_proxy;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use backwire_engine::Window;
use backwire_records::messages::flake::Node;
use backwire_records::messages::rules::Ttl;
use backwire_records::model::{Models, Undeclared};

use crate::route::Paths;
use crate::sites::Sites;

pub use allowed_host::AllowedHost;
pub(crate) use allowed_origin::without_port;
pub use allowed_origin::{AllowedOrigin, Origin};
pub(crate) use limits::LimitsBlock;
pub use limits::{Limit, Limits};
pub(crate) use migration_guide::MIGRATION_GUIDE;
pub use secret::{ApiKey, SessionSecret};
pub use service::{Cors, Flake, Redis};
pub(crate) use socket_io::IoBlock;
pub use socket_io::{Heartbeat, SocketIo, SocketPath, Transports};
pub use store::Store;
pub use trusted_proxy::TrustedProxy;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address to listen on. By default, only this machine can connect, because all callers may
    /// read and write resources without access rules.
    pub host: IpAddr,
    /// The port to listen on. 0 means any free port.
    pub port: u16,
    /// The engine that stores records and logs.
    pub store: Store,
    /// How much of each log and of the ledger is kept.
    pub window: Window,
    /// The declared resources.
    pub models: Models,
    /// The paths of resources.
    pub paths: Paths,
    /// A directory of pages to serve beside the resources.
    pub pages: Option<PathBuf>,
    /// Files in that directory that are never served. The files of the store are not served either.
    pub private_files: Vec<PathBuf>,
    /// Other origins whose pages may use the server. Pages of its own host always may.
    pub origins: Vec<AllowedOrigin>,
    /// The host names that requests may have, beside `localhost` and addresses. Without any, all
    /// names are allowed, with one exception: a server that listens only on this machine refuses
    /// other names with its own port.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Other origins whose pages may show pages of this server in a frame.
    pub frame_ancestors: Vec<AllowedOrigin>,
    /// The key that back ends need to publish over HTTP. Without it, they cannot publish.
    pub api_key: Option<ApiKey>,
    /// The secret that session cookies are signed with. The default is the engine's own secret.
    pub session_secret: Option<SessionSecret>,
    /// How long an unused session is kept.
    pub session_age: Duration,
    /// How long messages wait for a person whose last device has disconnected. `None` means for
    /// ever.
    pub client_ttl: Option<Duration>,
    /// The address of a Redis server. No engine uses it yet.
    pub redis: Option<Redis>,
    /// The apps that share this server. Each has its own namespace.
    pub sites: Sites,
    /// The number of this server in the ids of messages. Servers with different numbers draw
    /// different ids.
    pub flake: Flake,
    /// The pings that detect dead connections.
    pub heartbeat: Heartbeat,
    /// The settings of Socket.IO.
    pub socket_io: SocketIo,
    /// Bytes that the body of a request may have.
    pub body_limit: usize,
    /// What one client, site or resource may use.
    pub limits: Limits,
    /// The proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<TrustedProxy>,
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
            private_files: Vec::new(),
            origins: Vec::new(),
            allowed_hosts: Vec::new(),
            frame_ancestors: Vec::new(),
            api_key: None,
            session_secret: None,
            session_age: Duration::from_secs(24 * 60 * 60),
            client_ttl: Some(Duration::from_secs(60 * 60)),
            redis: None,
            sites: Sites::default(),
            flake: Flake::default(),
            heartbeat: Heartbeat::default(),
            socket_io: SocketIo::default(),
            body_limit: 1 << 20,
            limits: Limits::default(),
            trusted_proxies: vec![TrustedProxy::Loopback, TrustedProxy::Private],
        }
    }
}

impl Settings {
    /// Returns the defaults of a push service: a server that has sites and no declared resources.
    /// It listens on all interfaces, and refuses undeclared resources. Its file and command line
    /// override these defaults.
    pub fn push_service() -> Self {
        let mut settings = Self { host: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..Self::default() };
        settings.models.undeclared(Undeclared::Refuse);
        settings
    }

    /// Returns how long messages wait at sites without a `clientTtl`.
    pub(crate) fn ttl(&self) -> Ttl {
        Ttl::seconds(self.client_ttl.unwrap_or_default().as_secs())
    }

    /// Returns the node that draws the ids of messages.
    pub(crate) fn node(&self) -> Node {
        let Flake { datacenter, worker, epoch } = self.flake;
        Node::new(datacenter.into(), worker.into()).unwrap_or_default().since(epoch)
    }
}

/// Writes a summary in comments, and the settings as a configuration file has them, without keys.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# backwire {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "# address: {}", SocketAddr::new(self.host, self.port))?;
        writeln!(f, "# engine: {}", self.store)?;
        match self.site_names().as_str() {
            "" => writeln!(f, "# sites: none")?,
            names => writeln!(f, "# sites: {names}")?,
        }
        for line in self.access_summary() {
            writeln!(f, "# open: {line}")?;
        }
        writeln!(f, "host: {}\nport: {}\nengine: {}", self.host, self.port, self.store)?;
        if let Some(pages) = &self.pages {
            writeln!(f, "static: {}", pages.display())?;
        }
        let origins: Vec<_> = self.origins.iter().map(ToString::to_string).collect();
        writeln!(f, "origins: [{}]", origins.join(", "))?;
        let hosts: Vec<_> = self.allowed_hosts.iter().map(ToString::to_string).collect();
        writeln!(f, "allowed_hosts: [{}]", hosts.join(", "))?;
        let frames: Vec<_> = self.frame_ancestors.iter().map(ToString::to_string).collect();
        writeln!(f, "frame_ancestors: [{}]", frames.join(", "))?;
        writeln!(f, "api_key: {}", if self.api_key.is_some() { "(set)" } else { "~" })?;
        writeln!(
            f,
            "session_secret: {}",
            if self.session_secret.is_some() { "(set)" } else { "~" }
        )?;
        writeln!(f, "session_age: {}s", self.session_age.as_secs())?;
        writeln!(f, "log_count: {}", self.window.count)?;
        writeln!(f, "log_bytes: {}", self.window.bytes)?;
        writeln!(f, "log_age: {}s", self.window.age.as_secs())?;
        writeln!(f, "ledger_age: {}s", self.window.ledger_age.as_secs())?;
        writeln!(f, "ledger_bytes: {}", self.window.ledger_bytes)?;
        writeln!(f, "client_ttl: {}", self.client_ttl.unwrap_or_default().as_secs())?;
        if let Some(redis) = &self.redis {
            writeln!(f, "redis: {redis}")?;
        }
        writeln!(f, "flakeid: {}\nio: {{{}, {}}}", self.flake, self.heartbeat, self.socket_io)?;
        writeln!(f, "body_limit: {}\nlimits: {}", self.body_limit, self.limits)?;
        let proxies: Vec<_> = self.trusted_proxies.iter().map(ToString::to_string).collect();
        writeln!(f, "trusted_proxies: [{}]", proxies.join(", "))?;
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
