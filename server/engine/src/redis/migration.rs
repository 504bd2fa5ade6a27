//! The data in Redis as the source or the target of a [migration](crate::migration).
//!
//! Invariant: while it is filled, the schema is one that no server reads. It becomes that of this
//! version when the copy has been compared.

mod add;
mod read;

use std::sync::Arc;

use redis::{Value, cmd};
use tokio::sync::mpsc::{Receiver, Sender};

use super::RedisOptions;
use super::connection::Commands;
use super::handshake::{self, SCHEMA};
use super::lease::Lease;
use super::link::Link;
use super::scan::scan;
use crate::Error;
use crate::migration::errors::failed;
use crate::migration::item::Item;

/// The schema of data that are not complete.
const INCOMPLETE: &str = "migrating";

/// Keys that are removed in one step.
const REMOVED_KEYS: usize = 1_000;

/// The data with one prefix.
pub(crate) struct MigrationStore {
    commands: Arc<Commands>,
    lease: Lease,
}

impl MigrationStore {
    /// Connects. Nothing is written.
    pub(crate) async fn open(options: RedisOptions) -> Result<Self, Error> {
        let RedisOptions { url, prefix, deadline, .. } = options;
        let link = Arc::new(Link::new(&url, prefix, deadline)?);
        let commands = Arc::new(Commands::without_epoch(link));
        commands.connection().await?;
        Ok(Self { lease: Lease::new(Arc::clone(&commands)), commands })
    }

    /// Excludes servers until [`close`](Self::close). Fails if one uses the data.
    pub(crate) async fn exclude_nodes(&self) -> Result<(), Error> {
        self.lease.exclude_nodes().await
    }

    /// Lets servers use the data again.
    pub(crate) async fn close(&self) {
        self.lease.release().await;
    }

    /// Fails if there are no data, or data of another version.
    pub(crate) async fn check_schema(&self) -> Result<(), Error> {
        match self.schema().await? {
            Some(schema) if schema == SCHEMA => Ok(()),
            Some(schema) => Err(handshake::other_schema(&self.commands.link, &schema)),
            None => Err(self.failed("there are no data of Backwire")),
        }
    }

    /// Sends all items. Connected devices count as disconnected from `at` on.
    pub(crate) async fn read(&self, at: u64, items: Sender<Item>) -> Result<(), Error> {
        read::all(&self.commands, at, items).await
    }

    /// Prepares the data to be filled. Fails if there are any. It removes the data of an earlier
    /// migration that did not finish.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        match self.schema().await?.as_deref() {
            Some(INCOMPLETE) => self.clear().await?,
            None if self.keys().await?.is_empty() => {}
            _ => {
                let reason = "the target is not empty: choose another database, or remove its keys";
                return Err(self.failed(reason));
            }
        }
        self.set_schema(INCOMPLETE).await
    }

    /// Adds all items.
    pub(crate) async fn add(&self, items: Receiver<Item>) -> Result<(), Error> {
        add::all(&self.commands, items).await
    }

    /// Makes complete data those of this version, or removes them.
    pub(crate) async fn finish(&self, is_complete: bool) -> Result<(), Error> {
        match is_complete {
            true => self.set_schema(SCHEMA).await,
            false => self.clear().await,
        }
    }

    fn failed(&self, reason: &str) -> Error {
        failed(format_args!("the keys `{}:…` in Redis", self.commands.link.prefix), reason)
    }

    fn meta(&self) -> String {
        format!("{}:meta", self.commands.link.prefix)
    }

    async fn schema(&self) -> Result<Option<String>, Error> {
        let mut get = cmd("HGET");
        get.arg(self.meta()).arg("schema");
        Ok(self.commands.query::<Option<String>>([get]).await?.pop().flatten())
    }

    async fn set_schema(&self, schema: &str) -> Result<(), Error> {
        let mut set = cmd("HSET");
        set.arg(self.meta()).arg("schema").arg(schema);
        self.commands.query::<Value>([set]).await.map(drop)
    }

    /// Returns all keys but that of the leases.
    async fn keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        let prefix = format!("{}:", self.commands.link.prefix);
        let leases = format!("{prefix}nodes");
        let mut keys = scan(&self.commands, &prefix).await?;
        keys.retain(|key| key != leases.as_bytes());
        Ok(keys)
    }

    async fn clear(&self) -> Result<(), Error> {
        for keys in self.keys().await?.chunks(REMOVED_KEYS) {
            let mut unlink = cmd("UNLINK");
            unlink.arg(keys);
            self.commands.query::<Value>([unlink]).await?;
        }
        Ok(())
    }
}
