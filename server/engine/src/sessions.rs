//! What is kept of visitors from one request to the next.
//!
//! A session is an object that is found by its id and forgotten when it has not been used for a while.
//! An edit says what has changed and not what has come of it, so that of two edits at the same time
//! neither undoes the other, but where they are about the same key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use backwire_records::change::Attributes;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::Error;

/// The key under which a session says who has signed in: such as no handler takes for its own.
pub const PERSON: &str = "backwire.person";

/// Sessions that may be forgotten for each edit: more than one, so that their number shrinks.
pub(super) const DROPPED_PER_EDIT: u32 = 2;

/// Where sessions live. Times are Unix milliseconds.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// A secret that was drawn when the store was made and stays with it.
    async fn secret(&self) -> Result<[u8; 32], Error>;

    /// What a session holds, if its time is not up.
    async fn load(&self, id: &str, now: u64) -> Result<Option<Held>, Error>;

    /// The sessions that hold this value under this key, and whose time is not up. It looks at all of them.
    async fn holding(&self, key: &str, value: &Value, now: u64) -> Result<Vec<Arc<str>>, Error>;

    /// Edits a session, or begins it, and keeps it from here on until the time the edit names. One that
    /// holds nothing is not kept at all.
    ///
    /// Invariant: an edit is one step. It is seen by every [`load`](Self::load) that begins after it.
    async fn edit(&self, edit: Edit) -> Result<(), Error>;
}

/// A session that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// What it holds.
    pub values: Arc<Attributes>,
    /// When it is forgotten.
    pub until: u64,
}

/// What has become of a session.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Of the session.
    pub id: Arc<str>,
    /// First it loses all it held,
    pub clears: bool,
    /// then these keys get a value, or lose the one they had.
    pub set: BTreeMap<String, Option<Value>>,
    /// and then it is found by this id, and by the one it had no longer.
    pub becomes: Option<Arc<str>>,
    /// When this happens.
    pub at: u64,
    /// How long the session is kept if nothing more happens.
    pub until: u64,
    /// How many sessions there may be, if that is limited. One that begins takes the place of the one that
    /// ends first, among those to which nobody has signed in.
    pub max: Option<usize>,
}

/// Whether somebody has signed in.
pub(super) fn is_signed_in(values: &Attributes) -> bool {
    values.get(PERSON).is_some_and(|person| !person.is_null())
}

impl Edit {
    /// What a session that has held so much holds now.
    pub fn apply(self, held: Attributes) -> Attributes {
        let mut values = if self.clears { Attributes::new() } else { held };
        for (key, value) in self.set {
            match value {
                Some(value) => drop(values.insert(key, value)),
                None => drop(values.shift_remove(&key)),
            }
        }
        values
    }
}

/// Sessions that live as long as their process.
pub struct MemorySessions {
    secret: [u8; 32],
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<Arc<str>, Held>,
    /// Whose time is up first comes first.
    ends: BTreeSet<(u64, Arc<str>)>,
    /// Those among them to which nobody has signed in.
    anonymous: BTreeSet<(u64, Arc<str>)>,
}

impl Default for MemorySessions {
    fn default() -> Self {
        Self { secret: rand::random(), kept: Mutex::default() }
    }
}

impl MemorySessions {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }

    /// How many there are, also of those whose time is up and that have not been dropped yet.
    pub fn count(&self) -> usize {
        self.kept().sessions.len()
    }
}

#[async_trait]
impl Sessions for MemorySessions {
    async fn secret(&self) -> Result<[u8; 32], Error> {
        Ok(self.secret)
    }

    async fn load(&self, id: &str, now: u64) -> Result<Option<Held>, Error> {
        Ok(self.kept().sessions.get(id).filter(|held| now < held.until).cloned())
    }

    async fn holding(&self, key: &str, value: &Value, now: u64) -> Result<Vec<Arc<str>>, Error> {
        let kept = self.kept();
        let sessions = kept.sessions.iter().filter(|(_, held)| now < held.until);
        let sessions = sessions.filter(|(_, held)| held.values.get(key) == Some(value));
        Ok(sessions.map(|(id, _)| Arc::clone(id)).collect())
    }

    async fn edit(&self, edit: Edit) -> Result<(), Error> {
        let mut kept = self.kept();
        kept.drop_ended(edit.at);
        kept.edit(edit)
    }
}

impl Kept {
    fn edit(&mut self, edit: Edit) -> Result<(), Error> {
        let (at, until, max) = (edit.at, edit.until, edit.max);
        let id = edit.becomes.as_ref().unwrap_or(&edit.id).clone();
        let former = self.take(&edit.id);
        let begins = former.is_none();
        let held = former.filter(|held| at < held.until);
        let values =
            edit.apply(held.map(|held| Arc::unwrap_or_clone(held.values)).unwrap_or_default());
        if !values.is_empty() {
            if begins {
                self.make_room(max)?;
            }
            self.ends.insert((until, id.clone()));
            if !is_signed_in(&values) {
                self.anonymous.insert((until, id.clone()));
            }
            self.sessions.insert(id, Held { values: Arc::new(values), until });
        }
        Ok(())
    }

    /// Makes room for a session that begins.
    fn make_room(&mut self, max: Option<usize>) -> Result<(), Error> {
        let Some(limit) = max.filter(|max| self.sessions.len() >= *max) else { return Ok(()) };
        let oldest = self.anonymous.first().map(|(_, id)| id.clone());
        let oldest = oldest.ok_or(Error::TooManySessions { limit })?;
        self.take(&oldest);
        Ok(())
    }

    fn take(&mut self, id: &Arc<str>) -> Option<Held> {
        let held = self.sessions.remove(id)?;
        let end = (held.until, id.clone());
        self.ends.remove(&end);
        self.anonymous.remove(&end);
        Some(held)
    }

    fn drop_ended(&mut self, now: u64) {
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

/// Neither the secret nor what people keep is for logs.
impl fmt::Debug for MemorySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySessions").field("count", &self.count()).finish_non_exhaustive()
    }
}
