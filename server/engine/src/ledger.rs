//! The ledger: idempotency keys, and the outcomes of the requests that had them.
//!
//! For a write the ledger stores the parts that a reply needs, and not the record. While the log
//! has the change, a repeat gets the stored reply, made from the log's entry. Afterwards it gets
//! the same status and id, and the record as it is now.
//!
//! A refused write is not remembered: it changed nothing, so another attempt does no harm and may
//! succeed.

use std::collections::VecDeque;
use std::sync::Arc;

use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Verb};
use backwire_records::write::{Key, Write, WriteError};
use sha2::{Digest, Sha256};

use super::window::Window;

/// The maximum number of entries that are dropped for each one that is added. It is more than one,
/// so that a ledger over its limits shrinks. It is small, so that no write is slowed down by a busy
/// day of last week.
pub(super) const DROPPED_PER_WRITE: u32 = 2;

/// The bytes of a write's entry in a file beside its resource and its id: its row, and its entry in
/// the index of keys.
const BYTES_PER_ENTRY: u64 = 104;

/// A hash of identity and key, in few bytes however long they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyHash([u8; KeyHash::LENGTH]);

impl KeyHash {
    const LENGTH: usize = Self::PREFIX + 16;

    /// The hash begins with this many bytes of the key. The keys of one client begin alike, so they
    /// share a page.
    const PREFIX: usize = 8;

    pub(super) fn of(identity: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        // The length of the identity is hashed, too, so that no two pairs are the same text.
        hash.update((identity.len() as u64).to_le_bytes());
        hash.update(identity);
        hash.update(key);
        let mut bytes = [0; Self::LENGTH];
        let prefix = key.len().min(Self::PREFIX);
        bytes[..prefix].copy_from_slice(&key.as_bytes()[..prefix]);
        bytes[Self::PREFIX..].copy_from_slice(&hash.finalize()[..Self::LENGTH - Self::PREFIX]);
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Key> for KeyHash {
    fn from(key: &Key) -> Self {
        Self::of(&key.identity, &key.key)
    }
}

/// A ledger entry.
#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    /// The fingerprint of the request.
    pub(super) fingerprint: u64,
    /// The outcome of the request.
    pub(super) outcome: T,
}

impl<T> Entry<T> {
    /// Returns the outcome for another request with the same key.
    pub(super) fn answer(self, key: &Key) -> Result<T, WriteError> {
        if self.fingerprint != key.fingerprint {
            return Err(WriteError::KeyReused);
        }
        Ok(self.outcome)
    }
}

/// The parts of a write that a reply needs. It has the id of the record and not the record.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) resource: Resource,
    pub(super) id: Id,
    /// The offset of its change in the log; for a write that changed nothing, the head of the log.
    pub(super) offset: u64,
    pub(super) verb: Verb,
    pub(super) kind: Kind,
    pub(super) at: u64,
}

/// The entry of a write in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The change of its record.
    Changed,
    /// A publication, which changes no record.
    Published,
    /// Nothing: the record had these values already.
    Unchanged,
}

impl Written {
    /// Returns the data of a change that was logged.
    pub(super) fn logged(change: &Change) -> Self {
        let kind = if change.published { Kind::Published } else { Kind::Changed };
        Self::of(change, kind)
    }

    /// Returns the data of a write that changed nothing.
    pub(super) fn unchanged(change: &Change) -> Self {
        Self::of(change, Kind::Unchanged)
    }

    fn of(change: &Change, kind: Kind) -> Self {
        let Change { resource, id, verb, at, position, .. } = change;
        let (resource, id, offset) = (resource.clone(), id.clone(), position.offset);
        Self { resource, id, offset, verb: *verb, kind, at: *at }
    }

    /// Whether the log had an entry of the write, and may still have it.
    pub(super) fn was_logged(&self) -> bool {
        self.kind != Kind::Unchanged
    }

    /// Returns the bytes of its entry in a file.
    pub(super) fn bytes(&self) -> u64 {
        bytes(&self.resource, &self.id)
    }

    /// Returns the answer to a repeat whose change the log no longer has: the record as it is now,
    /// at the head of the log.
    ///
    /// If the record does not exist, or the caller may not write it any more, the reply has only
    /// its id. So does the reply to a repeated destroy: a record with this id is another one now.
    pub(super) fn answer(
        self,
        write: &Write,
        record: Option<Arc<Attributes>>,
        head: Position,
    ) -> Change {
        let is_shown = |record: &Arc<Attributes>| {
            self.kind != Kind::Published
                && self.verb != Verb::Destroy
                && write.is_accessible(record)
        };
        let mark = write.key.as_ref().map_or(0, Key::mark);
        match record.filter(is_shown) {
            Some(record) => self.change(record, head, mark),
            None => self.answer_with_id(&write.model.key, mark, head.epoch),
        }
    }

    /// Returns the answer to a repeat that has only the id of the record, as the primary key of
    /// this name.
    ///
    /// After a create or an update it has offset 0, because it lacks what the write has set: a
    /// client that has received the change of the write still needs it.
    pub(super) fn answer_with_id(self, primary_key: &str, mark: u64, epoch: u64) -> Change {
        let id = (primary_key.to_owned(), self.id.to_json());
        let has_outcome = self.verb == Verb::Destroy || self.kind == Kind::Published;
        let offset = if has_outcome { self.offset } else { 0 };
        let position = Position { epoch, offset };
        self.change(Arc::new(Attributes::from_iter([id])), position, mark)
    }

    fn change(self, record: Arc<Attributes>, position: Position, mark: u64) -> Change {
        let (before, after) = sides(self.verb, Some(record));
        Change {
            resource: self.resource,
            position,
            previous: 0,
            verb: self.verb,
            id: self.id,
            before,
            after,
            set: Attributes::new(),
            mark,
            published: self.kind == Kind::Published,
            origin: None,
            new_members: None,
            at: self.at,
        }
    }
}

/// Returns the bytes of an entry in a file.
pub(super) fn bytes(resource: &Resource, id: &Id) -> u64 {
    let id = match id {
        Id::Integer(_) => size_of::<i64>(),
        Id::Text(text) => text.len(),
    };
    BYTES_PER_ENTRY + (resource.as_str().len() + id) as u64
}

/// A ledger in memory.
#[derive(Debug, Clone)]
pub(super) struct Ledger<T> {
    entries: HashMap<KeyHash, (u64, Entry<T>)>,
    /// The entries in the order in which they were added, with their time and bytes.
    ages: VecDeque<(u64, u64, KeyHash)>,
    /// The bytes of all entries.
    bytes: u64,
}

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), ages: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Clone> Ledger<T> {
    /// Returns the entry of a key, if it is younger than the cutoff.
    pub(super) fn recall(&self, key: &Key, cutoff: u64) -> Option<Entry<T>> {
        let (at, entry) = self.entries.get(&KeyHash::from(key))?;
        (*at >= cutoff).then(|| entry.clone())
    }

    /// Adds an entry of this many bytes, and drops a few that are older than the cutoff or exceed
    /// the limit of bytes.
    pub(super) fn remember(
        &mut self,
        key: &Key,
        at: u64,
        outcome: T,
        bytes: u64,
        limits: LedgerLimits,
    ) {
        let hash = KeyHash::from(key);
        self.ages.push_back((at, bytes, hash));
        self.bytes += bytes;
        self.entries.insert(hash, (at, Entry { fingerprint: key.fingerprint, outcome }));
        for _ in 0..DROPPED_PER_WRITE {
            let is_too_much = self.bytes > limits.bytes;
            let Some((at, bytes, hash)) =
                self.ages.pop_front_if(|(at, ..)| is_too_much || *at < limits.cutoff)
            else {
                return;
            };
            self.bytes -= bytes;
            // A key that was used again after it expired has a younger entry.
            if self.entries.get(&hash).is_some_and(|(last, _)| *last == at) {
                self.entries.remove(&hash);
            }
        }
    }
}

/// The limits of a ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct LedgerLimits {
    /// Entries from before this time are dropped.
    pub(super) cutoff: u64,
    /// The maximum bytes of all entries together.
    pub(super) bytes: u64,
}

impl LedgerLimits {
    pub(super) fn of(window: &Window, now: u64) -> Self {
        Self { cutoff: window.ledger_cutoff(now), bytes: window.ledger_bytes }
    }
}

/// Returns the parts of a logged change that an answer needs.
pub(super) fn stored(change: &Change) -> Change {
    let (before, after) = sides(change.verb, shown(change).cloned());
    Change {
        before,
        after,
        previous: 0,
        set: Attributes::new(),
        origin: None,
        new_members: None,
        ..change.clone()
    }
}

/// Returns the record that an answer has: as it was after the write, or before the destroy.
fn shown(change: &Change) -> Option<&Arc<Attributes>> {
    change.after.as_ref().or(change.before.as_ref())
}

/// Returns the record before and after a change, given the one that an answer has.
fn sides(verb: Verb, shown: Option<Arc<Attributes>>) -> (Side, Side) {
    match verb {
        Verb::Destroy => (shown, None),
        Verb::Create | Verb::Update => (None, shown),
    }
}

type Side = Option<Arc<Attributes>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_hash_distinguishes_identity_from_key() {
        let hashes = [("", "ab"), ("a", "b"), ("ab", ""), ("", "ba")]
            .map(|(identity, key)| KeyHash::of(identity, key));
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[index + 1..].contains(hash));
        }
        assert_eq!(KeyHash::of("a", "b"), hashes[1]);
    }

    #[test]
    fn keys_of_one_client_have_hashes_that_begin_alike() {
        let [one, other] = ["5f0c2a9e-1", "5f0c2a9e-2"].map(|key| KeyHash::of("ann", key));
        assert_eq!(one.as_bytes()[..8], *b"5f0c2a9e");
        assert_eq!(one.as_bytes()[..8], other.as_bytes()[..8]);
        assert_ne!(one, other);
    }
}
