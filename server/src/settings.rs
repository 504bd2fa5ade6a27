//! The settings of a server, with their defaults.
//!
//! In reading order:
//!
//! - `table`: all settings that have one value or a list;
//! - `value`: the types of their values;
//! - `command_option`: the options of a command line for them;
//! - `summary`: what `check` prints;
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
mod command_option;
mod limits;
mod migration_guide;
mod secret;
mod service;
mod socket_io;
mod store;
mod summary;
mod table;
mod trusted_proxy;
mod value;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use backwire_engine::Window;
use backwire_records::messages::flake::Node;
use backwire_records::messages::rules::Ttl;
use backwire_records::model::{Conventions, Models, Undeclared};

use crate::route::{Paths, Shortcuts};
use crate::sites::Sites;

pub use allowed_host::AllowedHost;
pub(crate) use allowed_origin::without_port;
pub use allowed_origin::{AllowedOrigin, Origin};
pub use backwire_engine::RedisUrl;
pub use command_option::{Assignment, CommandOption, TextKind};
pub(crate) use limits::LimitsBlock;
pub use limits::{Limit, Limits};
pub(crate) use migration_guide::MIGRATION_GUIDE;
pub use secret::{ApiKey, SessionSecret};
pub use service::{Cors, Flake, Redis};
pub(crate) use socket_io::IoBlock;
pub use socket_io::{Heartbeat, SocketIo, SocketPath, Transports};
pub use store::Store;
pub(crate) use store::open_blocking;
pub(crate) use table::for_each_setting;
pub use trusted_proxy::TrustedProxy;
pub(crate) use value::{SettingValue, read};

const HOUR: Duration = Duration::from_secs(60 * 60);

macro_rules! define_settings {
    ($($(#[$doc:meta])+ $name:ident: $type:ty = $default:expr => $facets:tt)+) => {
        /// The settings of a server.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $($(#[$doc])+ pub $name: $type,)+
            /// The declared resources.
            pub models: Models,
            /// Files among the pages that are never served. The files of the store are not served
            /// either.
            pub private_files: Vec<PathBuf>,
            /// The address of a Redis server in a file of a SocketIO Web Service. It has no effect
            /// before [`select_redis`](Self::select_redis).
            pub redis: Option<Redis>,
            /// The apps that share this server. Each has its own namespace.
            pub sites: Sites,
            /// The number of this server in the ids of messages. Servers with different numbers
            /// draw different ids.
            pub flake: Flake,
            /// The pings that detect dead connections.
            pub heartbeat: Heartbeat,
            /// The settings of Socket.IO.
            pub socket_io: SocketIo,
            /// The limits of one client, site or resource.
            pub limits: Limits,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $($name: $default,)+
                    models: Models::default(),
                    private_files: Vec::new(),
                    redis: None,
                    sites: Sites::default(),
                    flake: Flake::default(),
                    heartbeat: Heartbeat::default(),
                    socket_io: SocketIo::default(),
                    limits: Limits::default(),
                }
            }
        }
    };
}

for_each_setting!(define_settings);

impl Settings {
    /// Returns the defaults of a push service: a server that has sites and no declared resources.
    /// It listens on all interfaces, and refuses undeclared resources. Its file and command line
    /// override these defaults.
    pub fn push_service() -> Self {
        let mut settings = Self { host: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..Self::default() };
        settings.models.undeclared(Undeclared::Refuse);
        settings
    }

    /// Uses the Redis of a SocketIO Web Service as the engine, unless another one is set, as the
    /// argument tells. If the server has a database already, it is an error: its data would be
    /// missing.
    pub fn select_redis(&mut self, has_engine: bool) -> Result<(), String> {
        let Some(redis) = &self.redis else { return Ok(()) };
        let store = redis.store().map_err(|reason| format!("redis: {reason}"))?;
        if has_engine {
            tracing::warn!("redis: the setting has no effect, because `engine` is set");
            return Ok(());
        }
        if let Store::Sqlite(file) = &self.store
            && file.exists()
        {
            let (file, former) = (file.display(), &self.store);
            return Err(format!(
                "redis: the setting selects the engine {store}, but this server has the database {file}: set \
                 `engine: {former}` to go on with it, or copy it with `backwire migrate {former} {store}` and move \
                 it away"
            ));
        }
        self.store = store;
        Ok(())
    }

    /// Returns how much of each log and of the ledger is kept.
    pub(crate) fn window(&self) -> Window {
        Window {
            count: self.log_count,
            bytes: self.log_bytes,
            age: self.log_age,
            ledger_age: self.ledger_age,
            ledger_bytes: self.ledger_bytes,
        }
    }

    /// Returns the paths of resources.
    pub(crate) fn paths(&self) -> Paths {
        let (prefix, rest_prefix) = (self.prefix.clone(), self.rest_prefix.clone());
        let by_convention = match self.compat {
            Conventions::Backwire => Shortcuts::default(),
            Conventions::Sails => Shortcuts::Write,
        };
        Paths { prefix, rest_prefix, shortcuts: self.shortcuts.unwrap_or(by_convention) }
    }

    /// Returns how long messages wait at sites without a `clientTtl`.
    pub fn ttl(&self) -> Ttl {
        Ttl::seconds(self.client_ttl.unwrap_or_default().as_secs())
    }

    /// Returns the node that draws the ids of messages.
    pub(crate) fn node(&self) -> Node {
        let Flake { datacenter, worker, epoch } = self.flake;
        Node::new(datacenter.into(), worker.into()).unwrap_or_default().since(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_of_a_web_service_does_not_replace_a_database() {
        let database = tempfile::NamedTempFile::new().unwrap();
        let store = Store::Sqlite(database.path().into());
        let redis = Redis { host: "h".to_owned(), ..Redis::default() };
        let mut settings =
            Settings { store: store.clone(), redis: Some(redis), ..Settings::default() };
        let refused = settings.select_redis(false).unwrap_err();
        let migrate = format!("`backwire migrate {store} redis://h:6379`");
        assert!(refused.contains(&migrate) && refused.contains(&format!("`engine: {store}`")));
        settings.select_redis(true).unwrap();
        assert_eq!(settings.store, store);
    }
}
