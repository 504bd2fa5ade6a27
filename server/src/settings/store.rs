//! The setting `engine`: where records and logs are stored. It chooses one of the built-in engines,
//! here a [`Store`]; `Builder::engine` replaces it by an engine of the embedding program.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use backwire_engine::{
    self as engine, Engine, Memory, MigrationEndpoint, MigrationReport, Redis, RedisOptions,
    Sqlite, Tail, WaitingMessages, Window,
};

use super::{Limits, RedisUrl};

const EXPECTED: &str = "expected memory, sqlite:FILE or redis://HOST";

/// An engine, written `memory`, `sqlite:FILE` or as a [`RedisUrl`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Records are lost when the server stops.
    Memory,
    /// Records are in one file. A write is durable before it is answered.
    Sqlite(PathBuf),
    /// Records are in a Redis server, which several servers can share. A write is as durable as
    /// Redis is configured to be.
    Redis(RedisUrl),
}

impl Default for Store {
    fn default() -> Self {
        Self::Sqlite("data/backwire.db".into())
    }
}

impl Store {
    /// Opens the engine. For a file it waits as [`Sqlite::open`] does, and for Redis as
    /// [`Redis::open`] does.
    pub(crate) async fn open(
        self,
        window: Window,
        limits: Limits,
        tail: Tail,
    ) -> Result<Arc<dyn Engine>, engine::Error> {
        let deadline = limits.read_deadline;
        match self {
            Self::Memory => Ok(Arc::new(Memory::new(window, tail).with_read_deadline(deadline))),
            Self::Sqlite(file) => {
                open_blocking(move || {
                    Ok(Arc::new(Sqlite::open(&file, window, tail)?.with_read_deadline(deadline)))
                })
                .await
            }
            Self::Redis(url) => {
                let mut options = redis_options(&url);
                options.read_deadline = deadline;
                let opened = Redis::open(options, window, tail).await;
                Ok(Arc::new(opened.map_err(|error| name_address(error, &url))?))
            }
        }
    }
}

/// Opens an engine in a thread of its own: it may wait for another process.
#[expect(clippy::disallowed_methods, reason = "the edge opens the engine")]
pub(crate) async fn open_blocking<F>(open: F) -> Result<Arc<dyn Engine>, engine::Error>
where
    F: FnOnce() -> Result<Arc<dyn Engine>, engine::Error> + Send + 'static,
{
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|error| engine::Error::Unavailable(error.to_string()))?
}

fn redis_options(url: &RedisUrl) -> RedisOptions {
    RedisOptions::new(url.with_credentials())
}

/// Adds the address of Redis to an error.
fn name_address(error: engine::Error, url: &RedisUrl) -> engine::Error {
    match error {
        engine::Error::Unavailable(reason) => {
            engine::Error::Unavailable(format!("{url} cannot be opened: {reason}"))
        }
        other => other,
    }
}

impl Store {
    /// Copies the database to a file that does not exist yet. A server may use the store meanwhile.
    pub fn back_up(&self, copy: &Path) -> Result<(), engine::Error> {
        engine::back_up(self.file()?, copy)
    }

    /// Replaces the database by a copy that [`back_up`](Self::back_up) has made. No server may use
    /// the store meanwhile. Returns where the former database is now, if there was one.
    pub fn restore(&self, copy: &Path) -> Result<Option<PathBuf>, engine::Error> {
        engine::restore(copy, self.file()?)
    }

    /// Copies everything to an empty store, at this time in Unix milliseconds. No server may use
    /// either store meanwhile. See [`migrate`](backwire_engine::migrate).
    pub async fn migrate(&self, to: &Self, at: u64) -> Result<MigrationReport, engine::Error> {
        engine::migrate(self.migrated()?, to.migrated()?, at).await
    }

    /// Copies the messages that wait in the Redis of a SocketIO Web Service, which is not changed,
    /// to an empty store.
    pub async fn migrate_from_web_service(
        &self,
        from: &RedisUrl,
        messages: WaitingMessages,
        at: u64,
    ) -> Result<MigrationReport, engine::Error> {
        let from = MigrationEndpoint::WebService(redis_options(from), messages);
        engine::migrate(from, self.migrated()?, at).await
    }

    fn migrated(&self) -> Result<MigrationEndpoint, engine::Error> {
        match self {
            Self::Sqlite(file) => Ok(MigrationEndpoint::Sqlite(file.clone())),
            Self::Redis(url) => Ok(MigrationEndpoint::Redis(redis_options(url))),
            Self::Memory => {
                let reason = "engine: memory stores nothing that could be copied";
                Err(engine::Error::Unavailable(reason.to_owned()))
            }
        }
    }

    fn file(&self) -> Result<&Path, engine::Error> {
        match self {
            Self::Sqlite(file) => Ok(file),
            Self::Redis(_) => {
                let reason =
                    "engine: redis has no file: back it up with the means of Redis (RDB or AOF)";
                Err(engine::Error::Unavailable(reason.to_owned()))
            }
            Self::Memory => {
                let reason = "engine: memory has no file: there is nothing to back up or restore";
                Err(engine::Error::Unavailable(reason.to_owned()))
            }
        }
    }
}

impl FromStr for Store {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            // Each connection would have its own database.
            Some(("sqlite", ":memory:")) => {
                Err(format!("unknown engine sqlite::memory:; {EXPECTED}"))
            }
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            Some(("redis" | "rediss" | "redis+sentinel" | "rediss+sentinel", _)) => {
                text.parse().map(Self::Redis)
            }
            // It may be an address with a password.
            _ if text.contains('@') => Err(format!("unknown engine; {EXPECTED}")),
            _ => Err(format!("unknown engine {text:?}; {EXPECTED}")),
        }
    }
}

/// Logs and `backwire check` show this text, so it contains no password.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Self::Redis(url) => write!(f, "{url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn engine_is_written_as_it_is_read() {
        for text in [
            "memory",
            "sqlite:data/backwire.db",
            "sqlite:/tmp/a:b.db",
            "redis://localhost:6380/1",
            "rediss://localhost?ca=/etc/ca.pem",
            "redis+sentinel://one,two:26380/main",
        ] {
            assert_eq!(text.parse::<Store>().unwrap().to_string(), text);
        }
        assert!("sqlite::memory:".parse::<Store>().is_err());
        assert!("sqlite:".parse::<Store>().is_err());
    }

    #[test]
    fn password_of_redis_is_never_shown() {
        let mut settings = Settings::default();
        let store: Store = "redis://writer9:hunter7@10.0.0.1/1".parse().unwrap();
        assert_eq!(store.to_string(), "redis://10.0.0.1/1");
        settings.store = store;
        for shown in [settings.to_string(), format!("{settings:?}")] {
            assert!(shown.contains("redis://10.0.0.1/1"), "{shown}");
            assert!(!shown.contains("hunter7") && !shown.contains("writer9"), "{shown}");
        }
        for text in ["redsi://:secret@host", "redis://:secret@", "rediss://:secret@host#x"] {
            let error = text.parse::<Store>().unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn redis_that_does_not_answer_is_an_error_with_its_address() {
        let (tail, _changes) = tokio::sync::mpsc::channel(1);
        let store: Store = "redis://:secret@127.0.0.1:1".parse().unwrap();
        let refused = store.open(Window::default(), Limits::default(), tail).await;
        let refused = refused.err().unwrap().to_string();
        let expected = "database: redis://127.0.0.1:1 cannot be opened: Redis: ";
        assert!(refused.starts_with(expected) && !refused.contains("secret"), "{refused}");
    }

    #[tokio::test]
    async fn missing_folder_is_an_error_that_names_it_and_is_not_created() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("volume");
        let open = async || {
            let (tail, _changes) = tokio::sync::mpsc::channel(1);
            let store = Store::Sqlite(folder.join("backwire.db"));
            store.open(Window::default(), Limits::default(), tail).await
        };
        let refused = open().await.err().unwrap().to_string();
        let expected =
            format!("database: the folder {} of the database does not exist", folder.display());
        assert!(refused.starts_with(&expected), "{refused}");
        assert!(!folder.exists());
        std::fs::create_dir(&folder).unwrap();
        open().await.unwrap();
        assert!(folder.join("backwire.db").exists());
    }
}
