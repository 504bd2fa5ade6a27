//! Copies a store to another engine, or the waiting messages of a SocketIO Web Service to a store.
//!
//! A store is read as a series of [items](item::Item), which have the same form for every engine,
//! and the other engine adds them to an empty store. Afterwards the target is read in the same way
//! and compared with the source: by the count of each kind of item, and by a checksum over all.
//!
//! Positions and epochs are copied with the logs, so clients resume at the target as after a
//! restart. Connected devices count as disconnected from the time of the
//! migration on.
//!
//! Invariant: no server uses either store meanwhile, and a target that is not complete is never
//! opened by one: a file gets its name, and Redis its schema, after the comparison.

mod digest;
pub(super) mod errors;
pub(super) mod item;
pub(super) mod waiting_messages;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::Error;
use super::redis::{MigrationStore, RedisOptions, WebService};
use super::sqlite::migration as sqlite;
use digest::Digest;
use item::Item;

pub use waiting_messages::WaitingMessages;

/// Items that may wait between both stores.
const MAX_WAITING_ITEMS: usize = 256;

/// A store that is migrated.
#[derive(Debug, Clone)]
pub enum MigrationEndpoint {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// The data of Backwire in Redis.
    Redis(RedisOptions),
    /// The queues of a SocketIO Web Service in Redis.
    WebService(RedisOptions, WaitingMessages),
}

/// The outcome of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// The number of items of each kind: `records`, `changes`, …
    pub counts: BTreeMap<&'static str, u64>,
    /// The checksum of all items, in hexadecimal digits.
    pub checksum: String,
    /// Keys of a SocketIO Web Service that were left out, with reasons.
    pub left_out: Vec<String>,
}

/// Copies everything to an empty store, at this time in Unix milliseconds.
///
/// It fails if a server uses one of the stores, if the target is not empty, or if the copy differs.
/// Then the target is as before.
pub async fn migrate(
    from: MigrationEndpoint,
    to: MigrationEndpoint,
    at: u64,
) -> Result<MigrationReport, Error> {
    let target = Target::open(to).await?;
    let (copied, left_out) = match &from {
        MigrationEndpoint::Sqlite(path) => {
            let path = sqlite::Source::open(path).await?;
            let copied = target.fill(|items| path.read(at, items)).await;
            (copied, Vec::new())
        }
        MigrationEndpoint::Redis(options) => {
            let store = MigrationStore::open(options.clone()).await?;
            store.exclude_nodes().await?;
            let copied = match store.check_schema().await {
                Ok(()) => target.fill(|items| store.read(at, items)).await,
                Err(error) => Err(error),
            };
            store.close().await;
            (copied, Vec::new())
        }
        MigrationEndpoint::WebService(options, messages) => {
            let service = WebService::open(options.clone(), messages.clone()).await?;
            let copied = target.fill(|items| service.read(at, items)).await;
            (copied, service.left_out())
        }
    };
    let outcome = match copied {
        Ok(source) => target.verify(source, at).await,
        Err(error) => Err(error),
    };
    target.finish(outcome.is_ok()).await?;
    outcome.map(|Digest { counts, sum }| MigrationReport {
        counts,
        checksum: digest::hexadecimal(sum),
        left_out,
    })
}

/// The store that is filled.
enum Target {
    Sqlite(sqlite::Target),
    Redis(MigrationStore),
}

impl Target {
    async fn open(store: MigrationEndpoint) -> Result<Self, Error> {
        match store {
            MigrationEndpoint::Sqlite(path) => sqlite::Target::open(&path).await.map(Self::Sqlite),
            MigrationEndpoint::Redis(options) => {
                let store = MigrationStore::open(options).await?;
                store.exclude_nodes().await?;
                if let Err(error) = store.begin().await {
                    store.close().await;
                    return Err(error);
                }
                Ok(Self::Redis(store))
            }
            MigrationEndpoint::WebService(..) => Err(Error::Unavailable(
                "the queues of a SocketIO Web Service can only be read".to_owned(),
            )),
        }
    }

    /// Adds all items of a source. Returns their digest.
    async fn fill<F>(&self, read: impl FnOnce(mpsc::Sender<Item>) -> F) -> Result<Digest, Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let (items, mut read_items) = mpsc::channel(MAX_WAITING_ITEMS);
        let (sender, added) = mpsc::channel(MAX_WAITING_ITEMS);
        let digest = async {
            let mut digest = Digest::default();
            while let Some(item) = read_items.recv().await {
                digest.add(&item);
                // If the target has failed, the source ends as well.
                if sender.send(item).await.is_err() {
                    break;
                }
            }
            drop((sender, read_items));
            digest
        };
        let adding = async {
            match self {
                Self::Sqlite(target) => target.add(added).await,
                Self::Redis(store) => store.add(added).await,
            }
        };
        let (read, digest, added) = tokio::join!(read(items), digest, adding);
        // The error of the target comes first: it ends the source.
        added.and(read).map(|()| digest)
    }

    /// Compares the store with what was added.
    async fn verify(&self, source: Digest, at: u64) -> Result<Digest, Error> {
        let (items, mut read_items) = mpsc::channel(MAX_WAITING_ITEMS);
        let reading = async {
            match self {
                Self::Sqlite(target) => target.read(at, items).await,
                Self::Redis(store) => store.read(at, items).await,
            }
        };
        let digest = async {
            let mut digest = Digest::default();
            while let Some(item) = read_items.recv().await {
                digest.add(&item);
            }
            digest
        };
        let (read, copy) = tokio::join!(reading, digest);
        read?;
        match source.differs_from(&copy) {
            None => Ok(source),
            Some(difference) => {
                Err(Error::Unavailable(format!("the copy differs from the source: {difference}")))
            }
        }
    }

    /// Makes the store one that servers open, or removes what was added.
    async fn finish(self, is_complete: bool) -> Result<(), Error> {
        match self {
            Self::Sqlite(target) => target.finish(is_complete).await,
            Self::Redis(store) => {
                let finished = store.finish(is_complete).await;
                store.close().await;
                finished
            }
        }
    }
}
