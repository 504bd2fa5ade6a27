//! Sessions, which keep values from one request of a visitor to the next.
//!
//! A session is an object that is found by its id and dropped when it has not been used for a
//! while. An edit has the changed keys and not the resulting object. So two edits at the same time
//! do not undo each other, unless they set the same key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backwire_environment::HashMap;
use backwire_records::change::Attributes;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::{Environment, Error};

/// The key of a session under which the id of the person is stored who has signed in. Handlers do
/// not use such a name.
pub const PERSON_KEY: &str = "backwire.person";

/// The maximum number of expired sessions that each edit drops. It is more than one, so that their
/// number shrinks.
pub(super) const DROPPED_PER_EDIT: u32 = 2;

/// The store of sessions. Times are Unix milliseconds.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Returns a secret that was drawn when the store was made and does not change.
    async fn secret(&self) -> Result<[u8; 32], Error>;

    /// Returns a session, unless it has expired.
    async fn load(&self, id: &str, now: u64) -> Result<Option<StoredSession>, Error>;

    /// Returns the ids of the sessions that have this value under this key and have not expired. It
    /// scans all of them.
    async fn find_by_value(
        &self,
        key: &str,
        value: &Value,
        now: u64,
    ) -> Result<Vec<Arc<str>>, Error>;

    /// Edits a session, or begins it, and sets the time at which it expires. An empty session is
    /// not stored.
    ///
    /// Invariant: an edit is one step. Every [`load`](Self::load) that begins after it sees it.
    async fn edit(&self, edit: SessionEdit) -> Result<(), Error>;
}

/// A stored session.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSession {
    /// The values.
    pub values: Arc<Attributes>,
    /// When it expires.
    pub until: u64,
}

/// A change of a session.
#[derive(Debug, Clone, Default)]
pub struct SessionEdit {
    /// The id of the session.
    pub id: Arc<str>,
    /// Whether all values are removed first.
    pub clear: bool,
    /// The keys that are set; `None` removes a key.
    pub set: BTreeMap<String, Option<Value>>,
    /// The new id of the session. It is no longer found by its former id.
    pub new_id: Option<Arc<str>>,
    /// The time of the edit.
    pub at: u64,
    /// When the session expires, unless it is edited again.
    pub until: u64,
    /// The maximum number of sessions, if it is limited. A new session replaces the one that
    /// expires first, among those to which nobody has signed in.
    pub max: Option<usize>,
}

/// Whether somebody has signed in.
pub(super) fn is_signed_in(values: &Attributes) -> bool {
    values.get(PERSON_KEY).is_some_and(|person| !person.is_null())
}

impl SessionEdit {
    /// Returns the values of a session after the edit.
    pub fn apply(self, before: Attributes) -> Attributes {
        let mut values = if self.clear { Attributes::new() } else { before };
        for (key, value) in self.set {
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.shift_remove(&key)),
            }
        }
        values
    }
}

/// Sessions in memory, which are lost when the process ends.
pub struct MemorySessions {
    secret: [u8; 32],
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    sessions: HashMap<Arc<str>, StoredSession>,
    /// All sessions, by the time at which they expire.
    ends: BTreeSet<(u64, Arc<str>)>,
    /// The sessions to which nobody has signed in, by the time at which they expire.
    anonymous: BTreeSet<(u64, Arc<str>)>,
}

impl MemorySessions {
    /// Returns an empty store with a new secret.
    pub fn new(environment: &Environment) -> Self {
        Self { secret: environment.random_bytes(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Returns a copy of the sessions, with the same secret.
    pub(crate) fn copy(&self) -> Self {
        Self { secret: self.secret, state: Mutex::new(self.state().clone()) }
    }

    /// Returns the number of sessions, including expired ones that have not been dropped yet.
    pub fn count(&self) -> usize {
        self.state().sessions.len()
    }
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn secret(&self) -> Result<[u8; 32], Error> {
        Ok(self.secret)
    }

    async fn load(&self, id: &str, now: u64) -> Result<Option<StoredSession>, Error> {
        Ok(self.state().sessions.get(id).filter(|session| now < session.until).cloned())
    }

    async fn find_by_value(
        &self,
        key: &str,
        value: &Value,
        now: u64,
    ) -> Result<Vec<Arc<str>>, Error> {
        let state = self.state();
        let sessions = state.sessions.iter().filter(|(_, session)| now < session.until);
        let sessions = sessions.filter(|(_, session)| session.values.get(key) == Some(value));
        Ok(sessions.map(|(id, _)| Arc::clone(id)).collect())
    }

    async fn edit(&self, edit: SessionEdit) -> Result<(), Error> {
        let mut state = self.state();
        state.drop_expired(edit.at);
        state.edit(edit)
    }
}

impl State {
    fn edit(&mut self, edit: SessionEdit) -> Result<(), Error> {
        let (at, until, max) = (edit.at, edit.until, edit.max);
        let id = edit.new_id.as_ref().unwrap_or(&edit.id).clone();
        let former = self.take(&edit.id);
        let is_new = former.is_none();
        let valid = former.filter(|session| at < session.until);
        let before = valid.map(|session| Arc::unwrap_or_clone(session.values));
        let values = edit.apply(before.unwrap_or_default());
        if !values.is_empty() {
            if is_new {
                self.make_room(max)?;
            }
            self.ends.insert((until, id.clone()));
            if !is_signed_in(&values) {
                self.anonymous.insert((until, id.clone()));
            }
            self.sessions.insert(id, StoredSession { values: Arc::new(values), until });
        }
        Ok(())
    }

    /// Makes room for a new session.
    fn make_room(&mut self, max: Option<usize>) -> Result<(), Error> {
        let Some(limit) = max.filter(|max| self.sessions.len() >= *max) else { return Ok(()) };
        let oldest = self.anonymous.first().map(|(_, id)| id.clone());
        let oldest = oldest.ok_or(Error::TooManySessions { limit })?;
        self.take(&oldest);
        Ok(())
    }

    fn take(&mut self, id: &Arc<str>) -> Option<StoredSession> {
        let session = self.sessions.remove(id)?;
        let end = (session.until, id.clone());
        self.ends.remove(&end);
        self.anonymous.remove(&end);
        Some(session)
    }

    fn drop_expired(&mut self, now: u64) {
        for _ in 0..DROPPED_PER_EDIT {
            match self.ends.first() {
                Some((until, id)) if *until <= now => {
                    let id = id.clone();
                    self.take(&id);
                }
                _ => return,
            }
        }
    }
}

/// Neither the secret nor the values of sessions may be in logs.
impl fmt::Debug for MemorySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySessions").field("count", &self.count()).finish_non_exhaustive()
    }
}
