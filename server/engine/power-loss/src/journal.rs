//! The calls that have changed a disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::faults::Call;

/// The contents of a disk: the files by name.
pub type Image = BTreeMap<String, Vec<u8>>;

/// The number of a file. It stays when the name of the file is deleted.
pub(crate) type FileNumber = usize;

/// A call that has changed the disk.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A file was created.
    Create { name: Arc<str>, file: FileNumber },
    /// A name was deleted.
    Delete { name: Arc<str> },
    /// Bytes were written.
    Write { file: FileNumber, offset: u64, data: Arc<[u8]> },
    /// The size of a file was set.
    Truncate { file: FileNumber, size: u64 },
    /// A file was synced.
    Sync { file: FileNumber },
    /// A sync of a file has failed: what it should have written may be lost, also if a later sync
    /// succeeds.
    SyncFailed { file: FileNumber },
    /// The folder was synced: creations and deletions are durable.
    SyncNames,
    /// Another call has failed, which may have had a part of its effect before.
    Failed { call: Call },
}

/// All calls that have changed a disk, and its contents before them.
#[derive(Debug, Clone)]
pub struct Journal {
    pub(crate) start: Image,
    pub(crate) events: Vec<Event>,
}

impl Journal {
    pub(crate) fn new(start: Image) -> Self {
        Self { start, events: Vec::new() }
    }

    /// Returns the number of calls.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing has changed the disk.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns the numbers of successful and of failed syncs of a file that was there from the
    /// start.
    pub fn syncs(&self, name: &str) -> [usize; 2] {
        let number = self.start.keys().position(|it| it == name);
        let count = |is_counted: fn(&Event) -> Option<FileNumber>| {
            self.events
                .iter()
                .filter(|event| is_counted(event).is_some() && is_counted(event) == number)
                .count()
        };
        let synced = |event: &Event| match event {
            Event::Sync { file } => Some(*file),
            _ => None,
        };
        let failed = |event: &Event| match event {
            Event::SyncFailed { file } => Some(*file),
            _ => None,
        };
        [count(synced), count(failed)]
    }

    /// Returns the number of writes to a file that was there from the start.
    pub fn writes(&self, name: &str) -> usize {
        let number = self.start.keys().position(|it| it == name);
        let is_counted = |event: &&Event| match event {
            Event::Write { file, .. } => Some(*file) == number,
            _ => false,
        };
        self.events.iter().filter(is_counted).count()
    }

    /// Describes the last calls before a cut, for the report of a failed test.
    pub fn describe(&self, calls: usize, count: usize) -> Vec<String> {
        let first = calls.saturating_sub(count);
        let name = |file: &FileNumber| {
            let created = self.events.iter().find_map(|event| match event {
                Event::Create { name, file: created } if created == file => Some(&**name),
                _ => None,
            });
            created.or_else(|| self.start.keys().nth(*file).map(String::as_str)).unwrap_or("?")
        };
        let text = |event: &Event| match event {
            Event::Create { name, .. } => format!("create {name}"),
            Event::Delete { name } => format!("delete {name}"),
            Event::Write { file, offset, data } => {
                format!("write {} {offset}+{}", name(file), data.len())
            }
            Event::Truncate { file, size } => format!("truncate {} {size}", name(file)),
            Event::Sync { file } => format!("sync {}", name(file)),
            Event::SyncFailed { file } => format!("failed sync {}", name(file)),
            Event::SyncNames => "sync folder".to_owned(),
            Event::Failed { call } => format!("failed {call:?}"),
        };
        let shown = self.events[..calls].iter().enumerate().skip(first);
        shown.map(|(number, event)| format!("{number}: {}", text(event))).collect()
    }
}
