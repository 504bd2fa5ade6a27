//! A disk as a running process sees it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::ffi;

use crate::faults::{Call, Fault, Faults};
use crate::journal::{Event, FileNumber, Image, Journal};
use crate::locks::{HandleNumber, Locks};

/// The result of a call, or a result code of SQLite.
pub(crate) type CallResult<T = ()> = Result<T, i32>;

/// The slot of the shared memory's locks that a writer has.
const WRITE_SLOT: usize = 0;

/// A function that runs before a call, in the thread that makes it.
pub type Hook = Box<dyn FnOnce() + Send>;

/// A mistake of the disk, to show that a test would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lie {
    /// The disk does what it reports.
    #[default]
    None,
    /// It reports that it has synced and does nothing, as SQLite with `synchronous=OFF`.
    IgnoreSyncs,
    /// The same for write-ahead logs, as SQLite with `synchronous=NORMAL` in a commit.
    IgnoreSyncsOfLogs,
    /// It syncs no folder.
    IgnoreSyncsOfNames,
    /// It syncs the folder only when SQLite asks for it, as for a store that does not.
    IgnoreSyncsOfFolder,
    /// It syncs a file only before the next call, so a commit is answered too early.
    SyncLate,
}

/// A disk in memory with one folder.
pub struct Disk {
    state: Mutex<State>,
    /// Notified when the last file is closed, and when writers may go on.
    changed: Condvar,
}

struct State {
    journal: Journal,
    files: Vec<File>,
    names: BTreeMap<Arc<str>, FileNumber>,
    next_handle: HandleNumber,
    /// The number of open files.
    open: usize,
    faults: Faults,
    hooks: BTreeMap<usize, Hook>,
    are_writers_paused: bool,
    lie: Lie,
    /// The file that is synced before the next call.
    late: Option<FileNumber>,
}

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    locks: Locks,
}

impl State {
    fn new(image: Image) -> Self {
        let names = image.keys().zip(0..).map(|(name, file)| (Arc::from(&**name), file)).collect();
        let files = image.values().map(|bytes| File { bytes: bytes.clone(), ..File::default() });
        Self {
            files: files.collect(),
            names,
            journal: Journal::new(image),
            next_handle: 0,
            open: 0,
            faults: Faults::default(),
            hooks: BTreeMap::new(),
            are_writers_paused: false,
            lie: Lie::None,
            late: None,
        }
    }

    /// Counts a call that may fail.
    fn check(&mut self, call: Call, file: &str) -> CallResult {
        let Some(code) = self.faults.check(call, file) else { return Ok(()) };
        self.record(Event::Failed { call });
        Err(code)
    }

    fn record(&mut self, event: Event) {
        if let Some(file) = self.late.take() {
            self.journal.events.push(Event::Sync { file });
        }
        self.journal.events.push(event);
    }

    fn delete(&mut self, name: &str) -> bool {
        let Some((name, _)) = self.names.remove_entry(name) else { return false };
        self.record(Event::Delete { name });
        true
    }

    fn sync_names(&mut self) {
        if !matches!(self.lie, Lie::IgnoreSyncs | Lie::IgnoreSyncsOfNames) {
            self.record(Event::SyncNames);
        }
    }

    fn sync(&mut self, file: FileNumber, is_log: bool) {
        match self.lie {
            Lie::IgnoreSyncs => {}
            Lie::IgnoreSyncsOfLogs if is_log => {}
            Lie::SyncLate => {
                let earlier = self.late.replace(file);
                self.journal.events.extend(earlier.map(|file| Event::Sync { file }));
            }
            _ => self.record(Event::Sync { file }),
        }
    }
}

impl Disk {
    /// Returns a disk with these files, all of them durable.
    pub fn new(image: Image) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new(image)), changed: Condvar::new() })
    }

    /// Returns what has happened to it so far.
    pub fn journal(&self) -> Journal {
        self.state.lock().journal.clone()
    }

    /// Returns the number of calls so far that have changed the disk.
    pub fn calls(&self) -> usize {
        self.state.lock().journal.len()
    }

    /// Lets calls fail.
    pub fn plan(&self, fault: Fault) {
        self.state.lock().faults.plan(fault);
    }

    /// Lets no more calls fail. Returns how many have failed.
    pub fn repair(&self) -> u64 {
        let mut state = self.state.lock();
        state.faults.clear();
        state.faults.failed
    }

    /// Makes a mistake from now on.
    pub fn set_lie(&self, lie: Lie) {
        self.state.lock().lie = lie;
    }

    /// Runs the hook before the first call that changes the disk after this many of them. The
    /// caller holds no lock meanwhile, so the hook may use other connections.
    pub fn before_call(&self, calls: usize, hook: Hook) {
        self.state.lock().hooks.insert(calls, hook);
    }

    /// Drops the hooks that have not run.
    pub fn clear_hooks(&self) {
        self.state.lock().hooks.clear();
    }

    /// Lets every writer wait before it begins a transaction.
    pub fn pause_writers(&self) {
        self.state.lock().are_writers_paused = true;
    }

    /// Lets writers go on.
    pub fn resume_writers(&self) {
        self.state.lock().are_writers_paused = false;
        self.changed.notify_all();
    }

    /// Waits until all files are closed.
    pub fn wait_until_closed(&self) {
        self.changed.wait_while(&mut self.state.lock(), |state| state.open > 0);
    }

    /// Syncs the folder, as a process does that has opened it. SQLite has no call for that.
    pub fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.begin();
        let synced = state.check(Call::Sync, "");
        synced.map_err(|_| io::Error::other("the disk has failed"))?;
        if state.lie != Lie::IgnoreSyncsOfFolder {
            state.sync_names();
        }
        Ok(())
    }

    /// Begins a call that may change the disk: runs the hook that is due, and locks the state.
    fn begin(&self) -> MutexGuard<'_, State> {
        loop {
            let mut state = self.state.lock();
            let calls = state.journal.len();
            let due = state.hooks.first_entry().filter(|it| *it.key() <= calls);
            let Some(hook) = due.map(|it| it.remove()) else { return state };
            drop(state);
            hook();
        }
    }

    pub(crate) fn open(self: &Arc<Self>, name: &str, flags: i32) -> CallResult<Handle> {
        let mut state = self.begin();
        state.check(Call::Open, name)?;
        let has = |flag: i32| flags & flag != 0;
        let known = state.names.get(name).copied();
        if known.is_some() && has(ffi::SQLITE_OPEN_EXCLUSIVE) {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        let is_log = has(ffi::SQLITE_OPEN_WAL);
        let is_journal = has(ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL);
        let file = match known {
            Some(file) => file,
            None if has(ffi::SQLITE_OPEN_CREATE) => {
                let (file, name) = (state.files.len(), Arc::<str>::from(name));
                state.files.push(File::default());
                state.names.insert(Arc::clone(&name), file);
                state.record(Event::Create { name, file });
                file
            }
            None => return Err(ffi::SQLITE_CANTOPEN),
        };
        state.next_handle += 1;
        state.open += 1;
        Ok(Handle {
            disk: Arc::clone(self),
            number: state.next_handle,
            file,
            name: name.into(),
            is_log,
            // SQLite's own VFS also syncs the folder for a file that was there. Nothing documents
            // that, so the engine must not need it.
            syncs_names: known.is_none() && (is_log || is_journal),
            deleted_on_close: has(ffi::SQLITE_OPEN_DELETEONCLOSE).then(|| name.to_owned()),
        })
    }

    pub(crate) fn delete(&self, name: &str, syncs_names: bool) -> CallResult {
        let mut state = self.begin();
        state.check(Call::Delete, name)?;
        if !state.delete(name) {
            return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
        }
        if syncs_names {
            state.sync_names();
        }
        Ok(())
    }

    /// Whether there is such a file and it is not empty, as SQLite asks.
    pub(crate) fn has_content(&self, name: &str) -> bool {
        let state = self.state.lock();
        state.names.get(name).is_some_and(|file| !state.files[*file].bytes.is_empty())
    }
}

/// An open file.
pub(crate) struct Handle {
    disk: Arc<Disk>,
    number: HandleNumber,
    file: FileNumber,
    name: Arc<str>,
    is_log: bool,
    /// Whether the next sync also syncs the folder, because this has created the file.
    syncs_names: bool,
    deleted_on_close: Option<String>,
}

impl Handle {
    /// Reads bytes, and returns how many there were.
    pub(crate) fn read(&self, into: &mut [u8], offset: u64) -> CallResult<usize> {
        let mut state = self.disk.state.lock();
        state.check(Call::Read, &self.name)?;
        let bytes = &state.files[self.file].bytes;
        let start = usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
        let count = into.len().min(bytes.len() - start);
        into[..count].copy_from_slice(&bytes[start..start + count]);
        into[count..].fill(0);
        Ok(count)
    }

    /// Writes bytes. If the call fails, half of them were written.
    pub(crate) fn write(&self, data: &[u8], offset: u64) -> CallResult {
        let mut state = self.disk.begin();
        let checked = state.check(Call::Write, &self.name);
        let data = if checked.is_ok() { data } else { &data[..data.len() / 2] };
        let start = usize::try_from(offset).map_err(|_| ffi::SQLITE_IOERR_WRITE)?;
        let bytes = &mut state.files[self.file].bytes;
        bytes.resize(bytes.len().max(start + data.len()), 0);
        bytes[start..start + data.len()].copy_from_slice(data);
        state.record(Event::Write { file: self.file, offset, data: data.into() });
        checked
    }

    pub(crate) fn truncate(&self, size: u64) -> CallResult {
        let mut state = self.disk.begin();
        state.check(Call::Truncate, &self.name)?;
        let bytes = usize::try_from(size).map_err(|_| ffi::SQLITE_IOERR_TRUNCATE)?;
        state.files[self.file].bytes.resize(bytes, 0);
        state.record(Event::Truncate { file: self.file, size });
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> CallResult {
        let mut state = self.disk.begin();
        let checked = state.check(Call::Sync, &self.name);
        if checked.is_err() {
            state.record(Event::SyncFailed { file: self.file });
            return checked;
        }
        state.sync(self.file, self.is_log);
        if std::mem::take(&mut self.syncs_names) {
            state.sync_names();
        }
        Ok(())
    }

    pub(crate) fn size(&self) -> u64 {
        self.disk.state.lock().files[self.file].bytes.len() as u64
    }

    pub(crate) fn lock(&self, level: i32) -> CallResult {
        busy_unless(self.locks(|locks| locks.lock(self.number, level)))
    }

    pub(crate) fn unlock(&self, level: i32) {
        self.locks(|locks| locks.unlock(self.number, level));
    }

    pub(crate) fn is_reserved(&self) -> bool {
        self.locks(|locks| locks.is_reserved())
    }

    /// Returns the address of a region of shared memory, unless it does not exist.
    pub(crate) fn map_shared(
        &self,
        region: usize,
        bytes: usize,
        create: bool,
    ) -> CallResult<Option<*const AtomicU64>> {
        self.disk.state.lock().check(Call::MapShared, &self.name)?;
        Ok(self.locks(|locks| {
            locks.map(self.number, region, bytes, create).map(<[AtomicU64]>::as_ptr)
        }))
    }

    pub(crate) fn unmap_shared(&self) {
        self.locks(|locks| locks.unmap(self.number));
    }

    pub(crate) fn lock_shared(&self, slots: Range<usize>, is_exclusive: bool) -> CallResult {
        let mut state = self.disk.state.lock();
        if is_exclusive && slots.start == WRITE_SLOT {
            self.disk.changed.wait_while(&mut state, |state| state.are_writers_paused);
        }
        let locks = &mut state.files[self.file].locks;
        busy_unless(locks.lock_slots(self.number, slots, is_exclusive))
    }

    pub(crate) fn unlock_shared(&self, slots: Range<usize>) {
        self.locks(|locks| locks.unlock_slots(self.number, slots));
    }

    fn locks<T>(&self, work: impl FnOnce(&mut Locks) -> T) -> T {
        work(&mut self.disk.state.lock().files[self.file].locks)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.unlock(ffi::SQLITE_LOCK_NONE);
        let mut state = self.disk.begin();
        if let Some(name) = &self.deleted_on_close {
            state.delete(name);
        }
        state.open -= 1;
        drop(state);
        self.disk.changed.notify_all();
    }
}

fn busy_unless(is_done: bool) -> CallResult {
    if is_done { Ok(()) } else { Err(ffi::SQLITE_BUSY) }
}
