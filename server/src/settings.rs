//! What can be set, with its defaults.
//!
//! In reading order: `limits`: what a client may use; `trusted_proxy`: whose client a request is; `store`: which engine; `allowed_host`: names of the server; `allowed_origin`: pages that may use it; `openness`: what is
//! open to whom; `secret`: keys, which are not shown; `service`: what else is in the file of a push service; `socket_io`: what of that is about
//! Socket.IO.

mod allowed_host;
mod allowed_origin;
mod limits;
mod openness;
mod page;
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
pub(crate) use page::PAGE;
pub use secret::{ApiKey, SessionSecret};
pub use service::{Cors, Flake, Redis};
pub(crate) use socket_io::IoBlock;
pub use socket_io::{Heartbeat, SocketIo, SocketPath, Transports};
pub use store::Store;
pub use trusted_proxy::TrustedProxy;

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen. Only this machine by default: nothing here asks yet who is calling.
    pub host: IpAddr,
    /// Which port; 0 means any that is free.
    pub port: u16,
    /// Where records and logs live.
    pub store: Store,
    /// How much is kept of each log, and of the ledger.
    pub window: Window,
    /// What is declared of resources.
    pub models: Models,
    /// How resources are reached.
    pub paths: Paths,
    /// A directory of pages to serve beside the resources.
    pub pages: Option<PathBuf>,
    /// Files of the server that are never served beside those pages. Those of the store are not, either.
    pub private_files: Vec<PathBuf>,
    /// Origins whose pages may use the server, beyond those of its own host.
    pub origins: Vec<AllowedOrigin>,
    /// The names it may be asked by, beside `localhost` and addresses. Without any, whatever it is called,
    /// with one exception: who listens on this machine alone is not asked by a name with its own port.
    pub allowed_hosts: Vec<AllowedHost>,
    /// The origins whose pages may have pages of this server in a frame, beside pages of its own origin.
    pub frame_ancestors: Vec<AllowedOrigin>,
    /// What back ends publish with over HTTP; without it they cannot.
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
    /// How Socket.IO is served.
    pub socket_io: SocketIo,
    /// Bytes a body may have.
    pub body_limit: usize,
    /// What one client, site or resource may use.
    pub limits: Limits,
    /// Proxies whose `X-Forwarded-For` header is believed.
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
    /// The defaults of a server that has sites and no declared resources: a push service. Other
    /// machines reach it, and it has no resources. What its file or command line says counts
    /// before them.
    pub fn push_service() -> Self {
        let mut settings = Self { host: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..Self::default() };
        settings.models.undeclared(Undeclared::Refuse);
        settings
    }

    /// How long messages wait at sites that do not say it.
    pub(crate) fn ttl(&self) -> Ttl {
        Ttl::seconds(self.client_ttl.unwrap_or_default().as_secs())
    }

    /// Who draws the ids of messages.
    pub(crate) fn node(&self) -> Node {
        let Flake { datacenter, worker, epoch } = self.flake;
        Node::new(datacenter.into(), worker.into()).unwrap_or_default().since(epoch)
    }
}

/// A summary in comments, and what is in force as a configuration file has it. No key is shown.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# backwire {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "# address: {}", SocketAddr::new(self.host, self.port))?;
        writeln!(f, "# engine: {}", self.store)?;
        match self.site_names().as_str() {
            "" => writeln!(f, "# sites: none")?,
            names => writeln!(f, "# sites: {names}")?,
        }
        for open in self.openness() {
            writeln!(f, "# open: {open}")?;
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
