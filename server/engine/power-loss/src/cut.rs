//! The contents of a disk after a power cut.
//!
//! A file has the bytes of its last sync. Of what was written since then, each sector has any of
//! the states that it was in: the system may write a sector at any time, in any order. So a write
//! can survive, get lost, or be torn between two sectors. The size of the file has any of its
//! states, too. Bytes that were never written, but that the size includes, are zeros or garbage. A
//! truncation removes bytes only together with its size.
//! Creations and deletions of files survive or not until the folder is synced, each by itself.
//!
//! After a sync that has failed, some of the writes before it are lost, although a running process
//! still reads them: the system does not try again. A later write to the same sector saves them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::journal::{Event, FileNumber, Image, Journal};

/// The bytes that a disk writes wholly or not at all.
const SECTORS: [u64; 2] = [512, 4096];

impl Journal {
    /// Returns what a power cut after this many calls leaves.
    pub fn cut(&self, calls: usize, random: &mut StdRng) -> Image {
        let sector = *SECTORS.choose(random).expect("there are some");
        let mut survivors = Survivors { sector, ..Survivors::new(&self.start) };
        for event in &self.events[..calls] {
            survivors.apply(event, random);
        }
        survivors.cut(random)
    }

    /// Returns the contents if the disk is stopped after this many calls and loses nothing.
    pub fn stop(&self, calls: usize) -> Image {
        let mut survivors = Survivors::new(&self.start);
        // Nothing is drawn as no sync fails.
        let no_failures =
            self.events[..calls].iter().filter(|it| !matches!(it, Event::SyncFailed { .. }));
        let mut random = rand::SeedableRng::seed_from_u64(0);
        no_failures.for_each(|event| survivors.apply(event, &mut random));
        survivors.files.iter_mut().for_each(File::sync);
        survivors.sync_names();
        survivors.image()
    }
}

/// The durable part of a disk, and what is not durable yet.
struct Survivors {
    sector: u64,
    names: BTreeMap<Arc<str>, FileNumber>,
    /// The changes of names since the last sync of the folder.
    renamed: Vec<(Arc<str>, Option<FileNumber>)>,
    files: Vec<File>,
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    /// The size as a running process sees it.
    size: u64,
    pending: Vec<Pending>,
}

/// A write or truncation that is not durable.
struct Pending {
    offset: u64,
    /// The written bytes; `None` for a truncation.
    data: Option<Arc<[u8]>>,
    /// The size of the file after it.
    size: u64,
    /// Whether a sync of it has failed and lost it.
    is_lost: bool,
}

impl Survivors {
    fn new(start: &Image) -> Self {
        let names = start.keys().zip(0..).map(|(name, file)| (Arc::from(&**name), file)).collect();
        let files = start.values().map(|bytes| File {
            durable: bytes.clone(),
            size: bytes.len() as u64,
            pending: Vec::new(),
        });
        Self { sector: SECTORS[0], names, renamed: Vec::new(), files: files.collect() }
    }

    fn apply(&mut self, event: &Event, random: &mut StdRng) {
        match event {
            Event::Create { name, file } => {
                self.files.resize_with(file + 1, File::default);
                self.renamed.push((Arc::clone(name), Some(*file)));
            }
            Event::Delete { name } => self.renamed.push((Arc::clone(name), None)),
            Event::Write { file, offset, data } => self.files[*file].write(*offset, data),
            Event::Truncate { file, size } => self.files[*file].truncate(*size),
            Event::Sync { file } => self.files[*file].sync_with(self.sector),
            Event::SyncFailed { file } => self.files[*file].fail(random),
            Event::SyncNames => self.sync_names(),
            Event::Failed { .. } => {}
        }
    }

    fn sync_names(&mut self) {
        for (name, file) in std::mem::take(&mut self.renamed) {
            self.rename(name, file);
        }
    }

    fn rename(&mut self, name: Arc<str>, file: Option<FileNumber>) {
        match file {
            Some(file) => drop(self.names.insert(name, file)),
            None => drop(self.names.remove(&name)),
        }
    }

    fn cut(mut self, random: &mut StdRng) -> Image {
        let renamed = std::mem::take(&mut self.renamed);
        let kept = Kept::draw(renamed.len(), random);
        for (at, (name, file)) in renamed.into_iter().enumerate() {
            if kept.keeps(at, random) {
                self.rename(name, file);
            }
        }
        let sector = self.sector;
        self.files.iter_mut().for_each(|file| file.cut(sector, random));
        self.image()
    }

    fn image(self) -> Image {
        let Self { names, files, .. } = self;
        let bytes = |file: FileNumber| files[file].durable.clone();
        names.into_iter().map(|(name, file)| (name.to_string(), bytes(file))).collect()
    }
}

impl File {
    fn write(&mut self, offset: u64, data: &Arc<[u8]>) {
        self.size = self.size.max(offset + data.len() as u64);
        self.push(offset, Some(Arc::clone(data)));
    }

    fn truncate(&mut self, size: u64) {
        self.size = size;
        self.push(size, None);
    }

    fn push(&mut self, offset: u64, data: Option<Arc<[u8]>>) {
        self.pending.push(Pending { offset, data, size: self.size, is_lost: false });
    }

    /// Makes everything durable.
    fn sync(&mut self) {
        for Pending { offset, data, size, .. } in self.pending.drain(..) {
            let (offset, size) = (at(offset), at(size));
            self.durable.resize(size, 0);
            if let Some(data) = data {
                self.durable[offset..offset + data.len()].copy_from_slice(&data);
            }
        }
    }

    /// Makes everything durable that no failed sync has lost.
    fn sync_with(&mut self, sector: u64) {
        if self.pending.iter().all(|it| !it.is_lost) {
            return self.sync();
        }
        let kept = self.last_kept(sector, |pending, _| !pending.is_lost);
        let lost: Vec<_> = std::mem::take(&mut self.pending);
        self.durable = merged(&self.durable, (&lost, lost.len()), &kept, sector, self.size, 0);
        // Lost sectors stay lost until they are written again.
        let is_superseded = |at: usize, pending: &Pending| {
            !pending.is_lost
                || pending
                    .sectors(sector, u64::MAX)
                    .all(|it| kept.get(&it).is_some_and(|last| *last >= at))
        };
        let left = lost
            .into_iter()
            .enumerate()
            .filter(|(at, it)| it.data.is_some() && !is_superseded(*at, it));
        self.pending = left.map(|(_, pending)| pending).collect();
    }

    /// A sync has failed: all writes are lost, or some of them.
    fn fail(&mut self, random: &mut StdRng) {
        let loses_all = random.random_bool(0.5);
        for pending in &mut self.pending {
            pending.is_lost |= loses_all || random.random_bool(0.5);
        }
    }

    /// Cuts the power.
    fn cut(&mut self, sector: u64, random: &mut StdRng) {
        if self.pending.is_empty() {
            return;
        }
        let choice = Kept::draw(self.pending.len(), random);
        let drawn: Vec<_> = (0..self.pending.len()).map(|at| choice.share(at, random)).collect();
        let kept =
            self.last_kept(sector, |pending, at| !pending.is_lost && random.random_bool(drawn[at]));
        let sizes = self.pending.len();
        let size = match choice {
            Kept::Nothing => 0,
            Kept::Prefix(count) => count,
            _ if random.random_bool(0.5) => sizes,
            Kept::All | Kept::Some => random.random_range(0..=sizes),
        };
        let resized = size;
        let size =
            size.checked_sub(1).map_or(self.durable.len() as u64, |at| self.pending[at].size);
        let filler = if random.random_bool(0.5) { 0 } else { random.random() };
        let pending = std::mem::take(&mut self.pending);
        self.durable = merged(&self.durable, (&pending, resized), &kept, sector, size, filler);
    }

    /// Returns the last write of each sector that survives.
    fn last_kept(
        &self,
        sector: u64,
        mut is_kept: impl FnMut(&Pending, usize) -> bool,
    ) -> BTreeMap<u64, usize> {
        let mut last = BTreeMap::new();
        let end = self.pending.iter().map(Pending::end).max().unwrap_or_default();
        let end = end.max(self.durable.len() as u64);
        for (at, pending) in self.pending.iter().enumerate() {
            for number in pending.sectors(sector, end) {
                if is_kept(pending, at) {
                    last.insert(number, at);
                }
            }
        }
        last
    }
}

impl Pending {
    /// Returns the end of what it writes.
    fn end(&self) -> u64 {
        self.offset + self.data.as_ref().map_or(0, |data| data.len() as u64)
    }

    /// Returns the sectors that it changes, up to the end of all bytes.
    fn sectors(&self, sector: u64, end: u64) -> std::ops::Range<u64> {
        let end = if self.data.is_some() { self.end() } else { end.max(self.offset) };
        self.offset / sector..end.div_ceil(sector)
    }
}

/// Returns the bytes of a file of which each sector has everything up to its last surviving write.
/// `resized` is the number of pending calls whose size survives. A later truncation has not
/// happened: the system frees the bytes of a file only after its new size is durable.
fn merged(
    durable: &[u8],
    (pending, resized): (&[Pending], usize),
    kept: &BTreeMap<u64, usize>,
    sector: u64,
    size: u64,
    filler: u8,
) -> Vec<u8> {
    let end = pending.iter().map(Pending::end).max().unwrap_or_default();
    let end = end.max(durable.len() as u64).max(size);
    let mut bytes = durable.to_vec();
    bytes.resize(at(end), filler);
    for (number, write) in pending.iter().enumerate() {
        for touched in write.sectors(sector, end) {
            if kept.get(&touched).is_none_or(|last| *last < number) {
                continue;
            }
            let from = write.offset.max(touched * sector);
            let to = match &write.data {
                Some(_) => write.end().min((touched + 1) * sector),
                None => end.min((touched + 1) * sector),
            };
            let target = &mut bytes[at(from)..at(to)];
            match &write.data {
                Some(data) => {
                    target.copy_from_slice(&data[at(from - write.offset)..at(to - write.offset)])
                }
                None if number < resized => target.fill(0),
                None => {}
            }
        }
    }
    bytes.truncate(at(size));
    bytes
}

/// How much of what was not durable survives.
#[derive(Clone, Copy)]
enum Kept {
    Nothing,
    All,
    /// This many calls, of which the last is torn.
    Prefix(usize),
    /// Each call by itself: wholly, in part or not at all.
    Some,
}

impl Kept {
    fn draw(count: usize, random: &mut StdRng) -> Self {
        match random.random_range(0..6) {
            0 => Self::Nothing,
            1 => Self::All,
            2 | 3 => Self::Prefix(random.random_range(0..=count)),
            _ => Self::Some,
        }
    }

    /// Draws whether a call survives.
    fn keeps(self, at: usize, random: &mut StdRng) -> bool {
        let share = self.share(at, random);
        random.random_bool(share.round())
    }

    /// Draws which part of the sectors of a call survives.
    fn share(self, at: usize, random: &mut StdRng) -> f64 {
        match self {
            Self::Nothing => 0.0,
            Self::All => 1.0,
            Self::Prefix(count) if at + 1 < count => 1.0,
            Self::Prefix(count) if at + 1 > count => 0.0,
            Self::Prefix(_) | Self::Some => {
                *[0.0, 0.5, 1.0].choose(random).expect("there are some")
            }
        }
    }
}

fn at(position: u64) -> usize {
    usize::try_from(position).expect("a file in memory is small")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn file_that_a_truncation_has_not_made_smaller_has_all_its_bytes() {
        for seed in 0..200 {
            let durable = vec![1; 9 * 512];
            let size = durable.len() as u64;
            let mut file = File { durable, size, pending: Vec::new() };
            file.truncate(0);
            file.cut(512, &mut StdRng::seed_from_u64(seed));
            let is_whole = file.durable.len() as u64 == size && !file.durable.contains(&0);
            assert!(file.durable.is_empty() || is_whole, "seed {seed}");
        }
    }
}
