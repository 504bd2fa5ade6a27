//! A disk that loses power, for tests of the engine in SQLite.
//!
//! [`Disk`] is a disk in memory with one folder of files. [`Disk::mount`] puts it in the place of a
//! real folder: SQLite then opens all files there on the disk. The module `vfs` registers it as
//! SQLite's default VFS, so every connection of the process uses it, whoever opens it. Files in
//! other folders stay real, and so do the files in this folder that others than SQLite open. A
//! store that syncs its folder itself is given [`Disk::sync_folder`] for that.
//!
//! The disk records each call that changes it. [`Journal::cut`] then computes what a power cut
//! after any of these calls leaves: what was synced, and of the rest a random choice. So one run
//! has as many cuts as it has calls, and each can be repeated. Besides, [`Fault`]s make calls fail.
//!
//! In reading order: `journal` has the calls that changed a disk, `cut` computes what a power cut
//! leaves of it, `faults` are failing calls, `locks` are SQLite's locks and shared memory,
//! `disk` has the state that a running process sees, and `vfs` has the functions that SQLite
//! calls, which is the only unsafe code of the repository.

mod cut;
mod disk;
mod faults;
mod journal;
mod locks;
mod vfs;

pub use disk::{Disk, Hook, Lie};
pub use faults::{Call, Failure, Fault};
pub use journal::{Image, Journal};
pub use vfs::Mounted;
