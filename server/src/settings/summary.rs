//! The settings as `check` prints them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use backwire_records::model::Conventions;

use super::table::for_each_setting;
use super::value::SettingValue;
use super::{AllowedHost, AllowedOrigin, ApiKey, SessionSecret, Settings, Store, TrustedProxy};
use crate::route::Shortcuts;

macro_rules! define_lines {
    ($(
        $(#[$doc:meta])+
        $name:ident: $type:ty = $default:expr => { key: $key:literal, $($facets:tt)* }
    )+) => {
        impl Settings {
            /// Returns the keys of the table with their values.
            fn lines(&self) -> Vec<(&'static str, Option<String>)> {
                vec![$(($key, <$type>::show(&self.$name)),)+]
            }
        }
    };
}

for_each_setting!(define_lines);

/// Writes a summary in comments, and the settings as a configuration file has them, without keys.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_comments(f)?;
        for (key, value) in self.lines() {
            if let Some(value) = value {
                writeln!(f, "{key}: {value}")?;
            }
            self.write_blocks_after(key, f)?;
        }
        self.write_resources(f)?;
        match self.sites.file() {
            Some(file) => write!(f, "\n# {}\n{}", file.display(), self.sites),
            None => Ok(()),
        }
    }
}

impl Settings {
    fn write_comments(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# backwire {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(f, "# address: {}", SocketAddr::new(self.host, self.port))?;
        writeln!(f, "# engine: {}", self.store)?;
        match self.site_names().as_str() {
            "" => writeln!(f, "# sites: none")?,
            names => writeln!(f, "# sites: {names}")?,
        }
        self.access_summary().iter().try_for_each(|line| writeln!(f, "# open: {line}"))
    }

    /// Writes the blocks that belong to the setting before them.
    fn write_blocks_after(&self, key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match key {
            "client_ttl" => {
                if let Some(redis) = &self.redis {
                    writeln!(f, "redis: {redis}")?;
                }
                writeln!(f, "flakeid: {}", self.flake)?;
                writeln!(f, "io: {{{}, {}}}", self.heartbeat, self.socket_io)
            }
            "body_limit" => writeln!(f, "limits: {}", self.limits),
            _ => Ok(()),
        }
    }

    fn write_resources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "undeclared: {}", format!("{:?}", self.models.others()).to_lowercase())?;
        let mut names: Vec<_> = self.models.declared().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        writeln!(f, "resources: [{}]", names.join(", "))
    }
}
