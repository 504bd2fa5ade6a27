//! The functions that SQLite calls: a VFS whose files are on disks in memory.
//!
//! SQLite documents the contract of these functions at <https://www.sqlite.org/c3ref/vfs.html> and
//! <https://www.sqlite.org/c3ref/io_methods.html>. Calls for files of other folders
//! go to SQLite's own VFS.
#![expect(unsafe_code, reason = "SQLite calls functions with pointers")]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering, fence};
use std::sync::{Arc, Once};

use parking_lot::RwLock;
use rusqlite::ffi;

use crate::disk::{CallResult, Disk, Handle};

/// The mounted disks by their folders.
static MOUNTED: RwLock<BTreeMap<PathBuf, Arc<Disk>>> = RwLock::new(BTreeMap::new());

/// SQLite's own VFS.
static BASE: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Without the methods of later versions there is no memory map of files.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// A mounted disk. When this is dropped, the folder is real again.
pub struct Mounted(PathBuf);

impl Disk {
    /// Lets SQLite open all files of a folder on this disk. The folder has to exist.
    pub fn mount(self: &Arc<Self>, folder: &Path) -> Mounted {
        register();
        // SQLite follows links before it opens a file.
        let folder = folder.canonicalize().expect("the folder exists");
        MOUNTED.write().insert(folder.clone(), Arc::clone(self));
        Mounted(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        MOUNTED.write().remove(&self.0);
    }
}

/// Makes this the VFS of all connections that name no other.
fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the default VFS exists, and SQLite never changes or frees it. The registered
        // VFS is never freed.
        let code = unsafe {
            let base = ffi::sqlite3_vfs_find(ptr::null());
            BASE.store(base, Ordering::Release);
            let own_size = c_int::try_from(size_of::<OpenFile>()).expect("it is small");
            let vfs = ffi::sqlite3_vfs {
                szOsFile: own_size.max((*base).szOsFile),
                pNext: ptr::null_mut(),
                zName: c"power-loss".as_ptr(),
                xOpen: Some(open),
                xDelete: Some(delete),
                xAccess: Some(access),
                ..*base
            };
            ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1)
        };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite accepts a VFS");
    });
}

/// A file as SQLite allocates it.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// Returns the disk and the name on it of a file, if its folder is mounted.
///
/// # Safety
///
/// The path is null or a string of C.
unsafe fn locate(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: as the caller guarantees.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    let disk = MOUNTED.read().get(path.parent()?).cloned()?;
    Some((disk, path.file_name()?.to_str()?.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a string or null.
    let Some((disk, name)) = (unsafe { locate(path) }) else {
        let base = BASE.load(Ordering::Acquire);
        // SAFETY: the file has the size that the base needs, and all arguments are as it expects
        // them.
        return unsafe {
            (*base).xOpen.map_or(ffi::SQLITE_CANTOPEN, |it| it(base, path, file, flags, out_flags))
        };
    };
    let opened = disk.open(&name, flags);
    let file = file.cast::<OpenFile>();
    // SAFETY: SQLite passes memory of the size of an `OpenFile`. Without methods it does not close
    // the file.
    unsafe {
        (*file).base.pMethods = ptr::null();
        match opened {
            Err(code) => code,
            Ok(handle) => {
                (*file).handle = Box::into_raw(Box::new(handle));
                (*file).base.pMethods = &raw const METHODS;
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
                ffi::SQLITE_OK
            }
        }
    }
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: SQLite passes a string.
    match unsafe { locate(path) } {
        Some((disk, name)) => code(disk.delete(&name, sync_folder != 0)),
        None => {
            let base = BASE.load(Ordering::Acquire);
            // SAFETY: the arguments are as the base expects them.
            unsafe {
                (*base).xDelete.map_or(ffi::SQLITE_IOERR_DELETE, |it| it(base, path, sync_folder))
            }
        }
    }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes a string.
    match unsafe { locate(path) } {
        Some((disk, name)) => {
            // SAFETY: SQLite passes a pointer to an integer.
            unsafe { *out = disk.has_content(&name).into() };
            ffi::SQLITE_OK
        }
        None => {
            let base = BASE.load(Ordering::Acquire);
            // SAFETY: the arguments are as the base expects them.
            unsafe {
                (*base).xAccess.map_or(ffi::SQLITE_IOERR_ACCESS, |it| it(base, path, flags, out))
            }
        }
    }
}

/// Returns the handle of a file.
///
/// # Safety
///
/// The file was opened by [`open`] on a disk and is not closed.
unsafe fn handle<'f>(file: *mut ffi::sqlite3_file) -> &'f mut Handle {
    // SAFETY: `open` has put a handle there. A connection makes one call at a time.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

fn code(result: CallResult) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let file = file.cast::<OpenFile>();
    // SAFETY: `open` has made the handle, and SQLite closes a file once.
    drop(unsafe { Box::from_raw((*file).handle) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    bytes: c_int,
    offset: i64,
) -> c_int {
    let bytes = bytes.unsigned_abs() as usize;
    // SAFETY: the file is open, and the memory has this size.
    let (handle, into) = unsafe { (handle(file), slice::from_raw_parts_mut(into.cast(), bytes)) };
    match handle.read(into, offset.cast_unsigned()) {
        Err(code) => code,
        Ok(count) if count < bytes => ffi::SQLITE_IOERR_SHORT_READ,
        Ok(_) => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    bytes: c_int,
    offset: i64,
) -> c_int {
    let bytes = bytes.unsigned_abs() as usize;
    // SAFETY: the file is open, and the memory has this size.
    let (handle, data) = unsafe { (handle(file), slice::from_raw_parts(data.cast(), bytes)) };
    code(handle.write(data, offset.cast_unsigned()))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.truncate(size.cast_unsigned()))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.sync())
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: the file is open, and SQLite passes a pointer to an integer.
    unsafe { *size = handle(file).size().cast_signed() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    code(unsafe { handle(file) }.lock(level))
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { handle(file) }.unlock(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: the file is open, and SQLite passes a pointer to an integer.
    unsafe { *out = handle(file).is_reserved().into() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// As SQLite's own VFS has it by default: a write does not change bytes beside it, even if the
/// power is cut.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_SUBPAGE_READ
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let (region, bytes) = (region.unsigned_abs() as usize, bytes.unsigned_abs() as usize);
    // SAFETY: the file is open, and SQLite passes a pointer to a pointer. The region stays until
    // its last user has unmapped it. Its type lets all threads write to it.
    unsafe {
        match handle(file).map_shared(region, bytes, extend != 0) {
            Err(code) => code,
            Ok(address) => {
                *out = address.map_or(ptr::null_mut(), |it| it.cast_mut().cast());
                ffi::SQLITE_OK
            }
        }
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let first = first.unsigned_abs() as usize;
    let slots = first..first + count.unsigned_abs() as usize;
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        handle.unlock_shared(slots);
        return ffi::SQLITE_OK;
    }
    code(handle.lock_shared(slots, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0))
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { handle(file) }.unmap_shared();
    ffi::SQLITE_OK
}
