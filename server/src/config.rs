//! The configuration file, `config/config.yml`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use backwire_records::change::Resource;
use backwire_records::model::{Conventions, ModelError, ModelSettings, Models, Undeclared};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::route::Shortcuts;
use crate::settings::{
    self, AllowedHost, AllowedOrigin, ApiKey, Cors, Flake, IoBlock, LimitsBlock, MIGRATION_GUIDE,
    Redis, SessionSecret, Settings, Store, TrustedProxy, for_each_setting,
};
use crate::yaml::{self, Block, Document, IgnoredKey};

pub use crate::yaml::FileProblem;

/// The path of the file if no other is set.
pub const DEFAULT_PATH: &str = "config/config.yml";

macro_rules! define_config {
    ($(
        $(#[$doc:meta])+
        $name:ident: $type:ty = $default:expr => { key: $key:literal, $($facets:tt)* }
    )+) => {
        /// The settings of a file, or of its section for one environment.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $(#[serde(rename = $key, deserialize_with = "settings::read")]
            $name: Option<$type>,)+
            limits: LimitsBlock,
            /// `client_ttl` in later versions of the SocketIO Web Service.
            #[serde(deserialize_with = "settings::read")]
            device_ttl: Option<Option<Duration>>,
            /// The log settings of those versions.
            winston: Option<IgnoredAny>,
            /// The deployment settings of those versions.
            servers: Option<IgnoredAny>,
            redis: Option<Block<Redis>>,
            flakeid: Option<Block<Flake>>,
            io: Option<Block<IoBlock>>,
            undeclared: Option<Undeclared>,
            cors: Option<Block<Cors>>,
            resource_defaults: Option<ModelSettings>,
            resources: BTreeMap<String, ModelSettings>,
        }

        impl Config {
            /// Sets the values of the keys in the table, and leaves the blocks.
            fn apply_table_to(&mut self, settings: &mut Settings) {
                $(if let Some(value) = self.$name.take() {
                    settings.$name = value;
                })+
            }
        }
    };
}

for_each_setting!(define_config);

impl Config {
    /// Reads a file. If it has sections, reads the one that `BACKWIRE_ENV` names, or else
    /// `NODE_ENV`, or else `production`.
    pub fn read(file: &Path) -> Result<Self, FileProblem> {
        yaml::read(file)
    }

    /// Returns warnings about the keys of the file that have no effect.
    pub fn warnings(&self, file: &Path) -> Vec<FileProblem> {
        fn of<T>(block: &Option<Block<T>>) -> &[IgnoredKey] {
            block.as_ref().map_or(&[], |block| &block.ignored_keys)
        }
        let blocks = [
            ("redis", of(&self.redis)),
            ("flakeid", of(&self.flakeid)),
            ("io", of(&self.io)),
            ("cors", of(&self.cors)),
        ];
        let ignored_keys = blocks
            .into_iter()
            .flat_map(|(block, keys)| keys.iter().map(move |key| key.warning(block).in_file(file)));
        let io = self.io.as_ref().and_then(|block| block.known.warning());
        let is_twice = self.client_ttl.is_some() && self.device_ttl.is_some();
        let others = [
            ("device_ttl", is_twice, "client_ttl is set, which is the same"),
            (
                "winston",
                self.winston.is_some(),
                "the log goes to stderr, and RUST_LOG says how much",
            ),
            ("servers", self.servers.is_some(), "Backwire does not deploy itself"),
        ];
        let others = others.into_iter().filter(|(_, is_ignored, _)| *is_ignored);
        let others = others.map(|(key, _, instead)| {
            FileProblem::new(format!("{key} changes nothing: {instead} ({MIGRATION_GUIDE})"))
        });
        let others = io.into_iter().chain(others).map(|problem| problem.in_file(file));
        ignored_keys.chain(others).collect()
    }

    /// Whether the file sets the engine.
    pub fn has_engine(&self) -> bool {
        self.store.is_some()
    }

    /// Whether the file declares a resource.
    pub fn has_resources(&self) -> bool {
        !self.resources.is_empty()
    }

    /// Returns the settings with the values of the file instead of theirs.
    pub fn apply_to(mut self, mut settings: Settings) -> Result<Settings, ModelError> {
        self.replace_missing_by_other_forms();
        self.apply_table_to(&mut settings);
        self.limits.apply_to(&mut settings.limits);
        if let Some(Block { known, .. }) = self.flakeid {
            settings.flake = known;
        }
        if let Some(Block { known, .. }) = self.io {
            known.apply_to(&mut settings.heartbeat, &mut settings.socket_io);
        }
        settings.redis = self.redis.map(|block| block.known).or(settings.redis);
        if let Some(undeclared) = self.undeclared {
            settings.models.undeclared(undeclared);
        }
        declare(self.resource_defaults, self.resources, &mut settings.models)?;
        Ok(settings)
    }

    /// Takes values that are not set from keys of Sails, Socket.IO and the SocketIO Web Service.
    fn replace_missing_by_other_forms(&mut self) {
        let of_cors = self.cors.take().and_then(|block| block.known.origins());
        let of_io = self.io.as_ref().and_then(|block| block.known.origins.as_ref());
        let of_io = of_io.map(|origins| origins.named.clone());
        self.origins = self.origins.take().or(of_cors).or(of_io);
        self.client_ttl = self.client_ttl.or(self.device_ttl);
    }
}

/// Declares the resources of a file. The defaults of the file replace those of a builder, key by
/// key.
fn declare(
    defaults: Option<ModelSettings>,
    resources: BTreeMap<String, ModelSettings>,
    models: &mut Models,
) -> Result<(), ModelError> {
    if let Some(settings) = defaults {
        models.set_defaults(settings.or(models.defaults().clone()))?;
    }
    let mut declared = BTreeSet::new();
    for (name, settings) in resources {
        models.declare(&name, settings.or(models.defaults().clone()))?;
        if let Some(twice) = Resource::parse(&name).filter(|name| !declared.insert(name.clone())) {
            return Err(ModelError::Twice(twice));
        }
    }
    models.associate()
}

impl Document for Config {
    fn has_no_sections(_: &str, keys: &[String]) -> bool {
        keys.iter().any(|key| settings_keys().contains(&key.as_str()))
    }
}

/// Returns the keys of the settings, which distinguish a file without sections from one with them.
fn settings_keys() -> &'static [&'static str] {
    static KEYS: LazyLock<Vec<&str>> = LazyLock::new(yaml::keys_of::<Config>);
    &KEYS
}

#[cfg(test)]
mod tests;
