//! A group: operations that are committed together in one transaction.
//!
//! Each operation is decided on the state that the earlier ones left, whether they are committed
//! yet or not. If one of them cannot be stored, the group is rolled back and done again with each
//! operation in a savepoint, so that the others can be stored. Savepoints in every group would cost
//! a sixth of the writing, because SQLite keeps a copy of each page for each of them.

use std::sync::Arc;

use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Change, Id, Resource, Verb};
use backwire_records::dangling::{Dangling, Reference};
use backwire_records::json_size::JsonSize;
use backwire_records::messages::flake::Flake;
use backwire_records::model::{self, Model};
use backwire_records::write::{Decision, Key, RecordCounts, StoredState, Write, WriteError};
use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

use super::disk_failure::DiskFailure;
use super::epochs::CurrentEpoch;
use super::expression;
use super::ledger::{self, RecentEntries};
use super::log::{append, store_counters};
use super::operation::{Operation, OperationOutcome};
use super::queues::{self, Step};
use super::records::{Records, StoredRecord};
use super::row;
use super::space::Space;
use super::{cascades, column, forget, sessions, vacuum};
use crate::cascades::{AllCascades, Cascade};
use crate::counters::{Counters, first_free};
use crate::ledger::{LedgerLimits, Written};
use crate::sqlite::row::Column;
use crate::{CommitOutcome, Error, KeyLookup, LedgerEntry, Window};

/// A record that takes no more than this once it is parsed is only measured roughly.
const MAX_ROUGH_BYTES: usize = 8 << 10;

/// The state of the writer, which it has in memory.
pub(super) struct WriterState {
    pub(super) current: CurrentEpoch,
    pub(super) window: Window,
    pub(super) records: Records,
    /// The ledger entries that are not in its table yet.
    pub(super) recent: RecentEntries,
    /// The cascades of the file and of the group; `None` if they have to be read from the file.
    pub(super) cascades: Option<AllCascades>,
    /// The number of records of all resources, including the group; `None` if it has to be read.
    pub(super) total_records: Option<u64>,
    /// The number of sessions, including the group; `None` if they have to be counted.
    pub(super) sessions: Option<usize>,
    pub(super) space: Space,
    pub(super) failure: DiskFailure,
}

impl WriterState {
    /// Drops the state that a group which was not committed may have changed.
    pub(super) fn forget(&mut self) {
        self.records.clear();
        self.cascades = None;
        self.total_records = None;
        self.sessions = None;
    }
}

/// An open transaction.
pub(super) struct Group<'c> {
    transaction: Transaction<'c>,
    state: &'c mut WriterState,
    /// The resources that were written to. Their counters are stored when the group is committed.
    changed_resources: HashMap<Resource, ChangedResource>,
    /// The ledger entries of this group.
    new_entries: RecentEntries,
    /// The time of the latest write that is stored or remembered.
    latest: Option<u64>,
    /// The steps of the queues.
    steps: Option<Steps>,
    /// The bytes of its changes in the logs.
    bytes: u64,
}

/// The number of steps, the last id that was created, and the time of the last step.
struct Steps {
    count: u32,
    last: Flake,
    at: u64,
}

/// A resource's counters, the offset of the group's first change of it, the time of its newest
/// change, and the model of its first written record. Publications alone have no model.
struct ChangedResource {
    counters: Counters,
    first: u64,
    at: u64,
    model: Option<Arc<Model>>,
}

/// A resource's counters after a change, how many records it had before, and the bytes of the
/// change in the log.
struct StoredCounters {
    counters: Counters,
    records_before: u64,
    bytes: u64,
}

impl<'c> Group<'c> {
    /// Opens a transaction. Nobody else can write while it is open.
    pub(super) fn begin(
        connection: &'c mut Connection,
        state: &'c mut WriterState,
    ) -> Result<Self, Error> {
        state.failure.check()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        state.records.refresh(&transaction)?;
        if state.cascades.is_none() {
            state.cascades = Some(cascades::all(&transaction)?);
        }
        if state.total_records.is_none() {
            state.total_records = Some(row::total_records(&transaction)?);
        }
        let (changed_resources, new_entries) = (HashMap::default(), RecentEntries::default());
        Ok(Self {
            transaction,
            state,
            changed_resources,
            new_entries,
            latest: None,
            steps: None,
            bytes: 0,
        })
    }

    /// Returns the bytes of its changes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Does an operation in a savepoint, wholly or not at all. An error concerns only this
    /// operation, unless the group [`is_rolled_back`](Self::is_rolled_back).
    pub(super) fn apply_in_savepoint(
        &mut self,
        operation: Operation,
    ) -> Result<OperationOutcome, Error> {
        self.transaction.execute_batch("SAVEPOINT operation")?;
        let done = self.apply(operation);
        if !self.is_rolled_back() {
            let undo = if done.is_err() { "ROLLBACK TO operation; " } else { "" };
            self.transaction.execute_batch(&format!("{undo}RELEASE operation"))?;
        }
        if done.is_err() {
            self.state.records.clear();
            self.state.sessions = None;
        }
        done
    }

    /// Does an operation. A refused operation leaves no trace. If the file
    /// [fails](Error::Unavailable), a part of it may be stored, and the group must not be
    /// committed.
    pub(super) fn apply(&mut self, operation: Operation) -> Result<OperationOutcome, Error> {
        match operation {
            Operation::Write(write) => self.write(*write).map(OperationOutcome::Write),
            Operation::Lookup(lookup) => {
                let entry = self.ledger_entry(&lookup)?;
                Ok(OperationOutcome::Lookup(entry.map(Box::new)))
            }
            Operation::Edit(edit) => {
                let known = &mut self.state.sessions;
                let count = known.map_or_else(|| sessions::count(&self.transaction), Ok)?;
                let count = count.saturating_sub(sessions::forget(&self.transaction, edit.at)?);
                *known = Some(count);
                *known = Some(sessions::edit(&self.transaction, edit, count)?);
                Ok(OperationOutcome::Edit)
            }
            // The maintenance is done after the commit.
            Operation::Maintain => Ok(OperationOutcome::Maintain),
            Operation::Finish(cascade) => {
                cascades::remove(&self.transaction, &cascade)?;
                if let Some(all) = &mut self.state.cascades {
                    all.remove(&cascade);
                }
                Ok(OperationOutcome::Finish)
            }
            Operation::Step(step, at) => self.step(step, at).map(OperationOutcome::Step),
        }
    }

    fn step(&mut self, step: Step, at: u64) -> Result<queues::StepOutcome, Error> {
        let (mut last, steps) = match self.steps {
            Some(Steps { count, last, .. }) => (last, count),
            None => (queues::last(&self.transaction)?, 0),
        };
        let done = queues::run_step(&self.transaction, step, at, &mut last, &self.state.window)?;
        self.steps = Some(Steps { count: steps + 1, last, at });
        Ok(done)
    }

    fn write(&mut self, write: Write) -> Result<CommitOutcome, Error> {
        if let Some(key) = &write.key
            && let Some(written) = self.recall(key, write.at)?
        {
            return Ok(CommitOutcome::repeated(self.answer(written, &write)?));
        }
        let (stored_state, stored) = self.stored_state(&write)?;
        let json = stored.as_ref().and_then(|stored| stored.json.as_ref());
        let size = |json| JsonSize::rough(json, MAX_ROUGH_BYTES, usize::MAX).parsed_bytes();
        write.memory.add(json.map_or(0, size))?;
        let (key, free) = (write.key.clone(), stored_state.next_id);
        let model = Arc::clone(&write.model);
        let references = write.references.clone();
        match write.apply(stored_state)? {
            Decision::Changed(change) => {
                let counters_after = self.store(&change, free, stored, key.as_ref())?;
                let cascades = match change.verb {
                    Verb::Destroy => self.begin_cascades(references, &change)?,
                    _ => Vec::new(),
                };
                // Nothing fails from here on, so memory and file stay consistent.
                self.remember(&change, key, model, counters_after, &cascades);
                Ok(CommitOutcome::changed(Arc::new(change)))
            }
            Decision::Unchanged(change) => {
                if let Some(key) = &key {
                    self.new_entries.remember(key, Written::unchanged(&change));
                    self.latest = self.latest.max(Some(change.at));
                }
                Ok(CommitOutcome::unchanged(change))
            }
        }
    }

    /// Stores the cascades of a destroy.
    fn begin_cascades(&self, references: Vec<Reference>, change: &Change) -> Result<Vec<Cascade>> {
        let mut begun = Vec::new();
        for reference in references {
            if cascades::has_references(&self.transaction, &reference, &change.id)? {
                let until = match reference.resource == change.resource {
                    true => change.position.offset,
                    false => self.counters(&reference.resource)?.head,
                };
                let (id, origin) = (change.id.clone(), change.origin.clone());
                let cascade = Cascade { reference, id, until, origin };
                cascades::insert(&self.transaction, &cascade)?;
                begun.push(cascade);
            }
        }
        Ok(begun)
    }

    /// Returns the dangling references of a record that was changed last at this offset.
    fn dangling(&self, resource: &Resource, record: &Attributes, changed: u64) -> Dangling {
        let cascades = self.state.cascades.as_ref().and_then(|all| all.of(resource));
        cascades.map(|cascades| cascades.dangling(record, changed)).unwrap_or_default()
    }

    /// Whether a failure (a full disk) made SQLite roll back the whole transaction. Later
    /// operations would be committed one by one, so the group has to end.
    pub(super) fn is_rolled_back(&self) -> bool {
        self.transaction.is_autocommit()
    }

    /// Commits the group, and makes it durable.
    pub(super) fn commit(self) -> Result<()> {
        let is_settled = self.forget()?;
        match self.state.space.is_full() {
            true => vacuum::more(&self.transaction)?,
            false => vacuum::step(&self.transaction)?,
        }
        if let Some(Steps { count, last, at }) = self.steps {
            queues::store_last(&self.transaction, last)?;
            queues::forget(&self.transaction, count, at)?;
        }
        self.transaction.commit()?;
        self.state.current.mark_stored(self.changed_resources.into_keys());
        match is_settled {
            true => self.state.recent.clear(),
            false => self.state.recent.append(self.new_entries),
        }
        Ok(())
    }

    /// Stores the counters and drops changes that are outside of the window. If there are many
    /// recent ledger entries, or the log drops one of them, moves them to their table before.
    /// Returns whether it did.
    fn forget(&self) -> Result<bool> {
        let Some(now) = self.latest else { return Ok(false) };
        let is_full = self.state.space.is_full();
        let mut is_due = self.state.recent.are_due(&self.new_entries);
        let mut forgotten = Vec::new();
        for (resource, ChangedResource { counters, first, at, model }) in &self.changed_resources {
            let window = window_of(&self.state.window, counters, is_full);
            let (floor, bytes) =
                forget::floor(&self.transaction, resource, counters, &window, *at)?;
            let log_bytes = counters.log_bytes.saturating_sub(bytes);
            self.state.current.store_first(&self.transaction, resource, *first)?;
            let key = model.as_ref().map(|model| &*model.key);
            let stored = Counters { floor, log_bytes, ..*counters };
            store_counters(&self.transaction, resource, stored, key)?;
            if floor > counters.floor {
                forgotten.push((resource, counters.floor, floor));
                is_due |= self.remembered().iter().any(|recent| recent.reaches(resource, floor));
            }
        }
        if is_due {
            ledger::move_to_table(
                &self.transaction,
                self.remembered(),
                LedgerLimits::of(&self.state.window, now),
            )?;
        }
        for (resource, from, floor) in forgotten {
            forget::changes(&self.transaction, resource, from, floor)?;
        }
        Ok(is_due)
    }

    /// Returns the write that had this key, if the ledger knows it.
    fn recall(&self, key: &Key, now: u64) -> Result<Option<Written>, Error> {
        let cutoff = self.state.window.ledger_cutoff(now);
        let entry = ledger::recall(&self.transaction, self.remembered(), key, cutoff)?;
        Ok(entry.map(|entry| entry.answer(key)).transpose()?)
    }

    fn ledger_entry(&self, lookup: &KeyLookup) -> Result<Option<LedgerEntry>, Error> {
        let Some(written) = self.recall(&lookup.key, lookup.at)? else { return Ok(None) };
        let epoch = self.state.current.epoch;
        let logged = ledger::reply(&self.transaction, &written, epoch)?;
        Ok(Some(LedgerEntry::new(written, epoch, logged)))
    }

    /// Returns the answer to a repeat of a write.
    fn answer(&mut self, written: Written, write: &Write) -> Result<Change> {
        let epoch = self.state.current.epoch;
        if let Some(reply) = ledger::reply(&self.transaction, &written, epoch)? {
            return Ok(reply);
        }
        let head = self.counters(&written.resource)?.position(epoch);
        let records = &mut self.state.records;
        let found = records.look(&self.transaction, &written.resource, &written.id)?;
        let record = found.and_then(|(record, changed)| {
            self.dangling(&written.resource, &record, changed).resolve(record)
        });
        Ok(written.answer(write, record, head))
    }

    /// Returns the ledger entries that are not in its table.
    fn remembered(&self) -> [&RecentEntries; 2] {
        [&self.state.recent, &self.new_entries]
    }

    /// Returns the state that a write is decided on, and the record's row, if it has one.
    fn stored_state(
        &mut self,
        write: &Write,
    ) -> Result<(StoredState, Option<StoredRecord>), Error> {
        let counters = self.counters(&write.resource)?;
        let id = write.id()?;
        let next_id = match &id {
            Some(_) => counters.next_id,
            None => self.free_id(&write.resource, &counters)?,
        };
        let id = id.unwrap_or(Id::Integer(next_id));
        let stored = self.state.records.take(&self.transaction, &write.resource, &id)?;
        let record = stored.as_ref().and_then(|stored| stored.record.clone());
        let previous = stored.as_ref().map_or(counters.floor, |stored| stored.offset);
        let position = counters.next_position(self.state.current.epoch);
        let taken = self.taken(write, &id, record.as_deref())?;
        let dangling = stored
            .as_ref()
            .zip(record.as_deref())
            .map(|(stored, record)| self.dangling(&write.resource, record, stored.changed));
        let dangling = dangling.unwrap_or_default();
        let total = self.state.total_records.unwrap_or_default();
        let records = RecordCounts { total, of_resource: counters.records };
        Ok((StoredState { record, dangling, previous, position, next_id, taken, records }, stored))
    }

    /// Returns the id that a create without an id gets.
    fn free_id(&self, resource: &Resource, counters: &Counters) -> Result<i64, Error> {
        let free = counters.free_id(|range| {
            let mut statement = self.transaction.prepare_cached(
                "SELECT id FROM records
                 WHERE resource = ?1 AND id BETWEEN ?2 AND ?3 AND json IS NOT NULL ORDER BY id",
            )?;
            let taken = (Column(resource), range.start(), range.end());
            first_free(&range, statement.query_map(taken, |row| row.get(0))?)
        })?;
        free.ok_or_else(|| WriteError::NoIdLeft { resource: resource.clone() }.into())
    }

    /// Returns the first attribute whose unique value another record has.
    fn taken(&self, write: &Write, id: &Id, own: Option<&Attributes>) -> Result<Option<String>> {
        for (name, value) in write.unique_values(own) {
            let Some(attribute) = expression::of(&name) else { continue };
            let resource = expression::resource(&write.resource);
            let sql = format!(
                "SELECT json, coalesce(changed, offset) AS changed FROM records
                 WHERE {resource} AND {attribute} = ?1 AND id <> ?2"
            );
            let mut statement = self.transaction.prepare_cached(&sql)?;
            let mut rows = statement.query((column::value(value.clone()), Column(id)))?;
            // To SQLite, true is 1, so the values are compared again.
            while let Some(row) = rows.next()? {
                let changed = row::unsigned(row, "changed")?;
                let record = row::record(row, "json")?.and_then(|record| {
                    self.dangling(&write.resource, &record, changed).resolve(record)
                });
                let record = record.filter(|other| write.conflicts_with(other, own));
                let other = record.as_ref().and_then(|record| record.get(&name));
                if other.is_some_and(|other| model::is_same(other, &value)) {
                    return Ok(Some(name));
                }
            }
        }
        Ok(None)
    }

    fn counters(&self, resource: &Resource) -> Result<Counters> {
        match self.changed_resources.get(resource) {
            Some(changed_resources) => Ok(changed_resources.counters),
            None => row::counters(&self.transaction, resource),
        }
    }

    fn store(
        &mut self,
        change: &Change,
        free: i64,
        stored: Option<StoredRecord>,
        key: Option<&Key>,
    ) -> Result<StoredCounters> {
        let mut counters = self.counters(&change.resource)?;
        counters.count(change, free);
        let after = change.after.as_deref().map(row::text);
        // A publication does not have the record before.
        let before = stored.as_ref().and_then(|stored| stored.json.as_deref());
        let before = before.filter(|_| change.before.is_some());
        let bytes = append(&self.transaction, change, [before, after.as_deref()], key)?;
        counters.log_bytes += bytes;
        let existed = stored.as_ref().is_some_and(|stored| stored.json.is_some());
        let records_before = counters.records;
        if !change.published {
            counters.count_record(existed, change.after.is_some());
        }
        self.state.records.store(&self.transaction, stored, change, after)?;
        Ok(StoredCounters { counters, records_before, bytes })
    }

    /// Updates the state in memory after a change was stored.
    fn remember(
        &mut self,
        change: &Change,
        key: Option<Key>,
        model: Arc<Model>,
        StoredCounters { counters, records_before, bytes }: StoredCounters,
        cascades: &[Cascade],
    ) {
        self.bytes += bytes;
        self.latest = self.latest.max(Some(change.at));
        if let Some(key) = key {
            self.new_entries.remember(&key, Written::logged(change));
        }
        if let Some(total) = &mut self.state.total_records {
            *total = (*total + counters.records).saturating_sub(records_before);
        }
        let (model, at) = ((!change.published).then_some(model), change.at);
        match self.changed_resources.get_mut(&change.resource) {
            Some(changed) => {
                (changed.counters, changed.at) = (counters, at);
                changed.model = changed.model.take().or(model);
            }
            None => {
                let first = change.position.offset;
                let changed = ChangedResource { counters, first, at, model };
                self.changed_resources.insert(change.resource.clone(), changed);
            }
        }
        if let Some(all) = &mut self.state.cascades {
            cascades.iter().for_each(|cascade| all.insert(cascade));
        }
    }
}

/// Returns the window of a log. On a full disk, each commit drops an eighth of a log, because the
/// log has the deleted records.
fn window_of(window: &Window, counters: &Counters, is_full: bool) -> Window {
    let kept = counters.head - counters.floor;
    let count = if is_full { window.count.min(kept - kept / 8) } else { window.count };
    Window { count, ..*window }
}
