//! A part of a log, and its size.

use std::sync::Arc;

use backwire_environment::{HashMap, HashSet};
use backwire_records::change::{Attributes, Change, Id, Position, Verb};
use serde_json::Value;

use super::log_memory::LogClaim;

/// The bytes of text that a filter checks in the time in which it checks a change without text.
const TEXT_UNIT: u64 = 1024;

/// Changes in commit order, to the head of the log.
#[derive(Debug)]
pub(super) struct Range {
    /// The range has everything after this offset.
    pub(super) from: u64,
    pub(super) head: Position,
    pub(super) changes: Vec<Arc<Change>>,
    /// The total sizes: the entry at an index is that of as many changes.
    sums: Vec<Size>,
    /// The memory of the changes, in bytes, if the engine counts it.
    memory: usize,
    claims: Vec<Arc<LogClaim>>,
}

/// The size of changes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Size {
    /// The work of a filter with one condition that checks the changes.
    pub(super) work: u64,
    /// The approximate size of the changes in an answer, in bytes.
    pub(super) bytes: u64,
}

impl Range {
    /// Returns a range with a claim of its changes, unless another range holds them as well.
    pub(super) fn new(
        from: u64,
        head: Position,
        changes: Vec<Arc<Change>>,
        claim: Option<Arc<LogClaim>>,
    ) -> Self {
        let (sums, claims) = (vec![Size::default()], Vec::new());
        let range = Self { from, head, changes: Vec::new(), sums, memory: 0, claims };
        range.extended(changes, head, claim)
    }

    /// Returns the range with the changes that came after it, and their claim.
    pub(super) fn extended(
        &self,
        changes: Vec<Arc<Change>>,
        head: Position,
        claim: Option<Arc<LogClaim>>,
    ) -> Self {
        let (mut all, mut sums) = (self.changes.clone(), self.sums.clone());
        for change in changes {
            let (last, size) = (sums.last().copied().unwrap_or_default(), Size::of(&change));
            sums.push(Size { work: last.work + size.work, bytes: last.bytes + size.bytes });
            all.push(change);
        }
        let memory = self.memory + claim.as_ref().map_or(0, |claim| claim.bytes());
        let claims = self.claims.iter().cloned().chain(claim).collect();
        Self { from: self.from, head, changes: all, sums, memory, claims }
    }

    /// Returns the memory of the changes, in bytes. If the engine does not count it, it is
    /// estimated.
    pub(super) fn memory(&self) -> usize {
        let Size { work, bytes } = self.size_from(0);
        let estimated = usize::try_from(work * TEXT_UNIT + bytes).unwrap_or(usize::MAX);
        if self.memory > 0 { self.memory } else { estimated }
    }

    /// Returns the range without the claim of its memory.
    pub(super) fn without_claims(&self) -> Self {
        let (changes, sums) = (self.changes.clone(), self.sums.clone());
        Self { changes, sums, claims: Vec::new(), ..*self }
    }

    /// Whether the range has the changes after this offset, or the first of them.
    pub(super) fn reaches(&self, offset: u64) -> bool {
        (self.from..=self.head.offset).contains(&offset)
    }

    /// Whether the range has changes that no other range has.
    #[cfg(test)]
    pub(super) fn has_claim(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Returns the bytes of the texts of all changes.
    #[cfg(test)]
    pub(super) fn text_bytes(&self) -> usize {
        let records = self.changes.iter().flat_map(|it| [&it.before, &it.after]);
        records.flatten().map(|record| text(record) as usize).sum()
    }

    /// Returns the index of the first change after an offset.
    pub(super) fn start(&self, offset: u64) -> usize {
        self.changes.partition_point(|change| change.position.offset <= offset)
    }

    /// Returns the size of the changes from an index on.
    pub(super) fn size_from(&self, start: usize) -> Size {
        let [begin, end] = [start, self.changes.len()].map(|index| self.sums[index]);
        Size { work: end.work - begin.work, bytes: end.bytes - begin.bytes }
    }

    /// Returns the size of the change with this offset.
    pub(super) fn size_of(&self, offset: u64) -> Size {
        let [begin, end] = [self.start(offset - 1), self.start(offset)].map(|it| self.sums[it]);
        Size { work: end.work - begin.work, bytes: end.bytes - begin.bytes }
    }

    /// Returns the changes of each of these records. They must be dropped before this range, which
    /// has the claim of their memory.
    pub(super) fn of_each(&self, ids: HashSet<&Id>) -> HashMap<Id, Self> {
        let mut changes: HashMap<&Id, Vec<Arc<Change>>> =
            ids.into_iter().map(|id| (id, Vec::new())).collect();
        for change in &self.changes {
            if let Some(changes) = changes.get_mut(&change.id) {
                changes.push(Arc::clone(change));
            }
        }
        let range_of =
            |(id, changes): (&Id, _)| (id.clone(), Self::new(self.from, self.head, changes, None));
        changes.into_iter().map(range_of).collect()
    }
}

impl Size {
    fn of(change: &Change) -> Self {
        let Change { before, after, .. } = change;
        let text: u64 = [before, after].into_iter().flatten().map(|record| text(record)).sum();
        let sent = match change.verb {
            Verb::Create => change.after.as_deref(),
            Verb::Update => Some(&change.set),
            Verb::Destroy => None,
        };
        Self { work: 1 + text / TEXT_UNIT, bytes: 16 + sent.map_or(0, bytes_of_record) }
    }
}

/// Returns the bytes of the texts that a filter may check. It checks no other values for their
/// size.
fn text(record: &Attributes) -> u64 {
    record.values().filter_map(Value::as_str).map(|text| text.len() as u64).sum()
}

fn bytes_of_record(record: &Attributes) -> u64 {
    record.iter().map(|(name, value)| name.len() as u64 + 4 + bytes_of(value)).sum()
}

fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => items.iter().map(|item| 1 + bytes_of(item)).sum(),
        Value::Object(record) => bytes_of_record(record),
    }
}
