//! What is remembered of a write or a post that came with a key, and when it counts as a repeat.
//!
//! Only what was committed is remembered: a refused write changed nothing, so trying it again does
//! no harm and may fare better. A repeat is answered from here without asking what has become of
//! the record since.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::change::{Attributes, Change, Verb};
use crate::write::{Key, Refused};

/// How long a key is known: 7 days. The runtime does not resend what is older.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Entries that may be dropped for each one that is added. More than one, so that the ledger
/// shrinks to what it should be; not many, so that no write pays for a busy day of last week.
pub(super) const DROPPED_PER_WRITE: u32 = 2;

/// Something that was done.
#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    /// Of the request.
    pub(super) fingerprint: u64,
    /// What it came to.
    pub(super) outcome: T,
}

impl<T> Entry<T> {
    /// Answers another request that came with the same key.
    pub(super) fn answer(self, key: &Key) -> Result<T, Refused> {
        if self.fingerprint != key.fingerprint {
            return Err(Refused::KeyReused);
        }
        Ok(self.outcome)
    }
}

/// What is remembered in memory.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    entries: HashMap<Name, (u64, Entry<T>)>,
    /// In the order they were written; the oldest go first.
    ages: VecDeque<(u64, Name)>,
}

/// Identity and key.
type Name = (Arc<str>, Arc<str>);

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), ages: VecDeque::new() }
    }
}

impl<T: Clone> Ledger<T> {
    /// What came of the request that had this key, if there was one.
    pub(super) fn recall(&self, key: &Key, now: u64) -> Option<Entry<T>> {
        let (at, entry) = self.entries.get(&(Arc::clone(&key.identity), Arc::clone(&key.key)))?;
        (*at >= cutoff(now)).then(|| entry.clone())
    }

    pub(super) fn remember(&mut self, key: Key, at: u64, outcome: T) {
        self.drop_old(cutoff(at));
        let name = (key.identity, key.key);
        self.ages.push_back((at, name.clone()));
        self.entries.insert(name, (at, Entry { fingerprint: key.fingerprint, outcome }));
    }

    fn drop_old(&mut self, cutoff: u64) {
        for _ in 0..DROPPED_PER_WRITE {
            let Some((_, name)) = self.ages.pop_front_if(|(at, _)| *at < cutoff) else {
                return;
            };
            // A name that was used again after its time has an entry that is younger.
            if self.entries.get(&name).is_some_and(|(at, _)| *at < cutoff) {
                self.entries.remove(&name);
            }
        }
    }
}

/// Entries older than this are forgotten, also when they have not been dropped yet.
pub(super) fn cutoff(now: u64) -> u64 {
    now.saturating_sub(u64::try_from(KEPT.as_millis()).expect("a week of milliseconds fits"))
}

/// A change as far as an answer needs it.
pub(super) fn outcome(change: &Change) -> Change {
    let (before, after) = sides(change.verb, shown(change).cloned());
    Change {
        before,
        after,
        previous: 0,
        set: Attributes::new(),
        published: false,
        origin: None,
        ..change.clone()
    }
}

/// The one record an answer shows: as it is now, or as it was when it was destroyed.
pub(super) fn shown(change: &Change) -> Option<&Arc<Attributes>> {
    change.after.as_ref().or(change.before.as_ref())
}

/// Puts what was [`shown`] back in its place: before or after the change.
pub(super) fn sides(verb: Verb, shown: Option<Arc<Attributes>>) -> (Side, Side) {
    match verb {
        Verb::Destroy => (shown, None),
        Verb::Create | Verb::Update => (None, shown),
    }
}

type Side = Option<Arc<Attributes>>;
