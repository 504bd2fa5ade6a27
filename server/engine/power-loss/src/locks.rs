//! The locks of SQLite on a file, and the memory that its connections share in WAL mode.
//!
//! All connections are in one process. The locks of a file are as in SQLite's `os_unix.c`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use rusqlite::ffi;

/// The number of an open file.
pub(crate) type HandleNumber = u64;

/// The locks of a file and its shared memory.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    levels: BTreeMap<HandleNumber, i32>,
    regions: Vec<Box<[AtomicU64]>>,
    mapped: BTreeSet<HandleNumber>,
    slots: [Slot; ffi::SQLITE_SHM_NLOCK as usize],
}

/// A lock on the shared memory.
#[derive(Debug, Default)]
struct Slot {
    shared: BTreeSet<HandleNumber>,
    exclusive: Option<HandleNumber>,
}

impl Locks {
    /// Raises the lock of a handle. Returns whether it could.
    pub(crate) fn lock(&mut self, handle: HandleNumber, level: i32) -> bool {
        if self.level(handle) >= level {
            return true;
        }
        let others = self.levels.iter().filter(|(other, _)| **other != handle);
        let highest = others.map(|(_, level)| *level).max().unwrap_or(ffi::SQLITE_LOCK_NONE);
        let allowed = match level {
            ffi::SQLITE_LOCK_SHARED => ffi::SQLITE_LOCK_RESERVED,
            _ => ffi::SQLITE_LOCK_SHARED,
        };
        if highest > allowed {
            return false;
        }
        let is_exclusive = level == ffi::SQLITE_LOCK_EXCLUSIVE;
        let has_readers = highest > ffi::SQLITE_LOCK_NONE;
        // A writer that waits for readers lets no new ones in.
        let reached = if is_exclusive && has_readers { ffi::SQLITE_LOCK_PENDING } else { level };
        self.levels.insert(handle, reached);
        reached == level
    }

    /// Lowers the lock of a handle.
    pub(crate) fn unlock(&mut self, handle: HandleNumber, level: i32) {
        if level == ffi::SQLITE_LOCK_NONE {
            self.levels.remove(&handle);
        } else {
            self.levels.insert(handle, level);
        }
    }

    fn level(&self, handle: HandleNumber) -> i32 {
        self.levels.get(&handle).copied().unwrap_or(ffi::SQLITE_LOCK_NONE)
    }

    /// Whether a handle has reserved the file for a write.
    pub(crate) fn is_reserved(&self) -> bool {
        self.levels.values().any(|level| *level >= ffi::SQLITE_LOCK_RESERVED)
    }

    /// Returns a region of the shared memory, which is created if it has to exist.
    pub(crate) fn map(
        &mut self,
        handle: HandleNumber,
        region: usize,
        bytes: usize,
        create: bool,
    ) -> Option<&[AtomicU64]> {
        self.mapped.insert(handle);
        while create && self.regions.len() <= region {
            self.regions.push((0..bytes / 8).map(|_| AtomicU64::new(0)).collect());
        }
        self.regions.get(region).map(|region| &**region)
    }

    /// Ends the use of the shared memory. It goes with its last user.
    pub(crate) fn unmap(&mut self, handle: HandleNumber) {
        self.mapped.remove(&handle);
        for slot in &mut self.slots {
            slot.release(handle);
        }
        if self.mapped.is_empty() {
            self.regions.clear();
        }
    }

    /// Locks some slots. Returns whether it could.
    pub(crate) fn lock_slots(
        &mut self,
        handle: HandleNumber,
        slots: std::ops::Range<usize>,
        is_exclusive: bool,
    ) -> bool {
        let slots = &mut self.slots[slots];
        let is_free = |slot: &Slot| {
            slot.exclusive.is_none_or(|owner| owner == handle)
                && (!is_exclusive || slot.shared.iter().all(|owner| *owner == handle))
        };
        if !slots.iter().all(is_free) {
            return false;
        }
        for slot in slots {
            match is_exclusive {
                true => slot.exclusive = Some(handle),
                false => drop(slot.shared.insert(handle)),
            }
        }
        true
    }

    /// Unlocks some slots.
    pub(crate) fn unlock_slots(&mut self, handle: HandleNumber, slots: std::ops::Range<usize>) {
        self.slots[slots].iter_mut().for_each(|slot| slot.release(handle));
    }
}

impl Slot {
    fn release(&mut self, handle: HandleNumber) {
        self.shared.remove(&handle);
        self.exclusive.take_if(|owner| *owner == handle);
    }
}
