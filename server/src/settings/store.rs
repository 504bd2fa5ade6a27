//! The setting `engine`: where records and logs are stored. It chooses one of the built-in engines,
//! here a [`Store`]; `Builder::engine` replaces it by an engine of the embedding program.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use backwire_engine::{self as engine, Engine, Memory, Sqlite, Tail, Window};

use super::Limits;

/// An engine, written `memory` or `sqlite:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// Records are lost when the server stops.
    Memory,
    /// Records are in one file. A write is durable before it is answered.
    Sqlite(PathBuf),
}

impl Default for Store {
    fn default() -> Self {
        Self::Sqlite("data/backwire.db".into())
    }
}

impl Store {
    /// Opens the engine. It waits as [`Sqlite::open`] does.
    pub(crate) fn open(
        &self,
        window: Window,
        limits: &Limits,
        tail: Tail,
    ) -> Result<Arc<dyn Engine>, engine::Error> {
        let deadline = limits.read_deadline;
        match self {
            Self::Memory => Ok(Arc::new(Memory::new(window, tail).with_read_deadline(deadline))),
            Self::Sqlite(file) => {
                Ok(Arc::new(Sqlite::open(file, window, tail)?.with_read_deadline(deadline)))
            }
        }
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

    fn file(&self) -> Result<&Path, engine::Error> {
        match self {
            Self::Sqlite(file) => Ok(file),
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
                Err("unknown engine sqlite::memory:; expected memory or sqlite:FILE".to_owned())
            }
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            _ => Err(format!("unknown engine {text:?}; expected memory or sqlite:FILE")),
        }
    }
}

/// Logs and `backwire check` show this text, so it must not contain a password. An engine with
/// credentials takes them from a setting of its own that is secret.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_is_written_as_it_is_read() {
        for text in ["memory", "sqlite:data/backwire.db", "sqlite:/tmp/a:b.db"] {
            assert_eq!(text.parse::<Store>().unwrap().to_string(), text);
        }
        assert!("sqlite::memory:".parse::<Store>().is_err());
        assert!("sqlite:".parse::<Store>().is_err());
        assert!("redis://localhost".parse::<Store>().is_err());
    }

    #[tokio::test]
    async fn missing_folder_is_an_error_that_names_it_and_is_not_created() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("volume");
        let open = || {
            let (tail, _changes) = tokio::sync::mpsc::channel(1);
            Store::Sqlite(folder.join("backwire.db")).open(
                Window::default(),
                &Limits::default(),
                tail,
            )
        };
        let refused = open().err().unwrap().to_string();
        let expected =
            format!("database: the folder {} of the database does not exist", folder.display());
        assert!(refused.starts_with(&expected), "{refused}");
        assert!(!folder.exists());
        std::fs::create_dir(&folder).unwrap();
        open().unwrap();
        assert!(folder.join("backwire.db").exists());
    }
}
