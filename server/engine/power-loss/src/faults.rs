//! Calls that fail.

use rusqlite::ffi;

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A file is opened or created.
    Open,
    /// Bytes are read.
    Read,
    /// Bytes are written.
    Write,
    /// A file is synced, and perhaps its folder.
    Sync,
    /// The size of a file is set.
    Truncate,
    /// A file is deleted.
    Delete,
    /// Shared memory is mapped.
    MapShared,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Truncate,
        Self::Delete,
        Self::MapShared,
    ];
}

/// Why a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device has failed: `EIO`.
    Device,
    /// There is no space left: `ENOSPC`. Calls that need no space do not fail.
    NoSpace,
}

/// A plan to let calls fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The calls that are counted and may fail.
    pub calls: Vec<Call>,
    /// The name of the only file whose calls they are; `None` for all files.
    pub file: Option<&'static str>,
    /// The number of these calls that succeed before.
    pub after: u64,
    /// Why they fail.
    pub failure: Failure,
    /// Whether all later calls fail as well, or only one.
    pub is_lasting: bool,
}

impl Failure {
    /// Returns the result code with which SQLite's own VFS reports it; `None` if such a call does
    /// not fail.
    pub(crate) fn code(self, call: Call) -> Option<i32> {
        Some(match (self, call) {
            (Self::Device, Call::Open) => ffi::SQLITE_CANTOPEN,
            (Self::Device, Call::Read) => ffi::SQLITE_IOERR_READ,
            (Self::Device, Call::Write) => ffi::SQLITE_IOERR_WRITE,
            // Some file systems find out that there is no space when they write at last.
            (_, Call::Sync) => ffi::SQLITE_IOERR_FSYNC,
            (Self::Device, Call::Truncate) => ffi::SQLITE_IOERR_TRUNCATE,
            (Self::Device, Call::Delete) => ffi::SQLITE_IOERR_DELETE,
            (Self::Device, Call::MapShared) => ffi::SQLITE_IOERR_SHMMAP,
            (Self::NoSpace, Call::Write) => ffi::SQLITE_FULL,
            (Self::NoSpace, Call::MapShared) => ffi::SQLITE_IOERR_SHMSIZE,
            (Self::NoSpace, Call::Open) => ffi::SQLITE_CANTOPEN,
            (Self::NoSpace, Call::Read | Call::Truncate | Call::Delete) => return None,
        })
    }
}

/// The faults of a disk.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    planned: Vec<Fault>,
    /// The number of calls that have failed.
    pub(crate) failed: u64,
}

impl Faults {
    pub(crate) fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.planned.clear();
    }

    /// Counts a call. Returns the result code if it fails.
    pub(crate) fn check(&mut self, call: Call, file: &str) -> Option<i32> {
        let mut code = None;
        self.planned.retain_mut(|fault| {
            let is_other_file = fault.file.is_some_and(|only| only != file);
            if is_other_file || !fault.calls.contains(&call) {
                return true;
            }
            if fault.after > 0 {
                fault.after -= 1;
                return true;
            }
            code = code.or(fault.failure.code(call));
            fault.is_lasting
        });
        self.failed += u64::from(code.is_some());
        code
    }
}
