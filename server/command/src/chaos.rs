//! `backwire chaos`: clients that check the guarantees of a deployment while connections are cut
//! and servers are killed.
//!
//! In reading order:
//!
//! - `run`: a run from its beginning to its verdict;
//! - `deployment`: the connections to the tested server;
//! - `endpoint`: the url of the connections, and the certificates that are trusted there;
//! - `own_server`: a server that the run starts and kills;
//! - `own_redis`: its Redis, which the run starts and kills, too;
//! - `process`: starts both, and sends them signals;
//! - `back_end`: the back end of that server, which knows its people and sends them messages;
//! - `proxy`: the proxy between the clients and the server, with its faults;
//! - `faults`: injects the faults;
//! - `interrupts`: the signals that end a run;
//! - `load`: the actions of the clients;
//! - `meter`: the counts and measurements, by the second;
//! - `verdict`: the checks, and the violations that they have found;
//! - `story`: the history of a record;
//! - `report`: the verdict as a page.

mod back_end;
mod deployment;
mod endpoint;
mod fault;
mod faults;
mod interrupts;
mod load;
mod meter;
mod own_redis;
mod own_server;
mod process;
mod proxy;
mod report;
mod run;
mod story;
mod verdict;

use std::fmt;
use std::path::PathBuf;

use backwire::settings::{RedisUrl, Store};
use backwire_records::nearest;
use url::Url;

pub use fault::Fault;
pub use run::run;
pub use verdict::Outcome;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub clients: usize,
    pub seconds: u64,
    pub seed: u64,
    pub faults: Vec<Fault>,
    /// The server of the user, instead of one that is started.
    pub url: Option<Url>,
    /// The certificates that are trusted at that server, instead of those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The engine of the server that is started.
    pub engine: Engine,
    /// The resource, instead of one with a random name.
    pub resource: Option<String>,
    pub report: Option<PathBuf>,
}

impl Plan {
    /// Whether the records of the run outlive it.
    pub fn is_shared(&self) -> bool {
        self.url.is_some() || matches!(self.engine, Engine::Redis { .. })
    }
}

/// The engine of a server that is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// In a temporary file.
    Sqlite,
    Memory,
    /// A Redis that is started, too.
    OwnRedis,
    /// A Redis of the user.
    Redis {
        /// Its address, as it was given.
        address: String,
        /// The same without a password.
        shown: RedisUrl,
    },
}

impl Engine {
    /// Returns the engine with this name.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "sqlite" => Ok(Self::Sqlite),
            "memory" => Ok(Self::Memory),
            "redis" => Ok(Self::OwnRedis),
            _ => match name.parse() {
                Ok(Store::Redis(shown)) => Ok(Self::Redis { address: name.to_owned(), shown }),
                Err(error) if name.starts_with("redis") && name.contains(':') => Err(error),
                _ => Err(unknown(name)),
            },
        }
    }
}

fn unknown(name: &str) -> String {
    let hint = nearest::hint(name, ["sqlite", "memory", "redis"]);
    // It may be an address with a password.
    let name = if name.contains('@') { String::new() } else { format!(" {name:?}") };
    format!("unknown engine{name}; expected sqlite, memory, redis or redis://HOST{hint}")
}

/// The name without a password.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite => f.write_str("sqlite"),
            Self::Memory => f.write_str("memory"),
            Self::OwnRedis => f.write_str("redis"),
            Self::Redis { shown, .. } => shown.fmt(f),
        }
    }
}
