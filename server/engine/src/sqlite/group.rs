//! Writes that are committed together: one transaction.
//!
//! Each is decided on the state its predecessors left, whether they were committed yet or not. One that
//! cannot be stored spoils its group, so that is done again, each operation in a savepoint: it takes none of
//! the others with it then. Savepoints for all that can be stored would be a sixth of the writing, as
//! SQLite keeps a copy of each page for each of them.

use std::collections::HashMap;
use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Resource, Verb};
use backwire_records::dangling::{Dangling, Reference};
use backwire_records::json_size::JsonSize;
use backwire_records::messages::flake::Flake;
use backwire_records::model::{self, Model};
use backwire_records::write::{Decision, Key, RecordCounts, Refused, Standing, Write};
use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

use super::epochs::CurrentEpoch;
use super::expression;
use super::ledger::{self, Recent};
use super::operation::{Done, Operation};
use super::queues::{self, Step};
use super::records::{Records, Stored};
use super::row;
use super::space::Space;
use super::{cascades, column, forget, sessions, vacuum};
use crate::cascades::{AllCascades, Cascade};
use crate::counters::{Counters, change_bytes, first_free};
use crate::ledger::{LedgerLimits, Written};
use crate::sqlite::row::Column;
use crate::{Committed, Error, Window};

/// What the writer knows of its file.
pub(super) struct Known {
    pub(super) current: CurrentEpoch,
    pub(super) window: Window,
    pub(super) records: Records,
    /// What is remembered and not in the ledger's table.
    pub(super) recent: Recent,
    /// Those of the file and of the group; none if they have to be read from the file.
    pub(super) cascades: Option<AllCascades>,
    /// Records of all resources, those of the group included; none if they have to be counted.
    pub(super) total_records: Option<u64>,
    /// Sessions, those of the group included; none if they have to be counted.
    pub(super) sessions: Option<usize>,
    pub(super) space: Space,
}

impl Known {
    /// Forgets what a group that was not committed may have changed.
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
    known: &'c mut Known,
    /// The resources that were written to; their counters are stored when the group is committed.
    grown: HashMap<Resource, Grown>,
    /// What is remembered of this group.
    fresh: Recent,
    /// When the latest write was that is stored or remembered.
    latest: Option<u64>,
    /// What happened to queues.
    steps: Option<Steps>,
    /// Bytes of its changes in the logs.
    bytes: u64,
}

/// Steps that were taken, the last id they have drawn, and when the last of them was.
struct Steps {
    count: u32,
    last: Flake,
    at: u64,
}

/// A resource's counters, the offset of the group's first change of it, the time of its newest
/// change, and the model of its first written record. Publications alone have no model.
struct Grown {
    counters: Counters,
    first: u64,
    at: u64,
    model: Option<Arc<Model>>,
}

/// A resource's counters after a change, how many records it had before, and the bytes of the change in the log.
struct Counted {
    counters: Counters,
    records_before: u64,
    bytes: u64,
}

impl<'c> Group<'c> {
    /// Opens a transaction that nobody else can write beside.
    pub(super) fn begin(connection: &'c mut Connection, known: &'c mut Known) -> Result<Self> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        known.records.refresh(&transaction)?;
        if known.cascades.is_none() {
            known.cascades = Some(cascades::all(&transaction)?);
        }
        if known.total_records.is_none() {
            known.total_records = Some(row::total_records(&transaction)?);
        }
        let (grown, fresh) = (HashMap::new(), Recent::default());
        Ok(Self { transaction, known, grown, fresh, latest: None, steps: None, bytes: 0 })
    }

    /// Bytes of its changes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a operation into the group, wholly or not at all. An error concerns this one alone, unless
    /// the group [`is_given_up`](Self::is_given_up).
    pub(super) fn take_wholly(&mut self, operation: Operation) -> Result<Done, Error> {
        self.transaction.execute_batch("SAVEPOINT operation")?;
        let done = self.take(operation);
        if !self.is_given_up() {
            let undo = if done.is_err() { "ROLLBACK TO operation; " } else { "" };
            self.transaction.execute_batch(&format!("{undo}RELEASE operation"))?;
        }
        if done.is_err() {
            self.known.records.clear();
            self.known.sessions = None;
        }
        done
    }

    /// Takes a operation into the group. One that is refused leaves no trace, but where
    /// the file [fails](Error::Unavailable), it may be there in part, and the group is spoiled.
    pub(super) fn take(&mut self, operation: Operation) -> Result<Done, Error> {
        match operation {
            Operation::Write(write) => self.write(*write).map(Done::Write),
            Operation::Edit(edit) => {
                let known = &mut self.known.sessions;
                let count = known.map_or_else(|| sessions::count(&self.transaction), Ok)?;
                let count = count.saturating_sub(sessions::forget(&self.transaction, edit.at)?);
                *known = Some(count);
                *known = Some(sessions::edit(&self.transaction, edit, count)?);
                Ok(Done::Edit)
            }
            // What there is to do is done after the commit.
            Operation::Maintain => Ok(Done::Maintain),
            Operation::Finish(cascade) => {
                cascades::remove(&self.transaction, &cascade)?;
                if let Some(all) = &mut self.known.cascades {
                    all.remove(&cascade);
                }
                Ok(Done::Finish)
            }
            Operation::Step(step, at) => self.step(step, at).map(Done::Step),
        }
    }

    fn step(&mut self, step: Step, at: u64) -> Result<queues::Done, Error> {
        let (mut last, steps) = match self.steps {
            Some(Steps { count, last, .. }) => (last, count),
            None => (queues::last(&self.transaction)?, 0),
        };
        let done = queues::take(&self.transaction, step, at, &mut last, &self.known.window)?;
        self.steps = Some(Steps { count: steps + 1, last, at });
        Ok(done)
    }

    fn write(&mut self, write: Write) -> Result<Committed, Error> {
        if let Some(key) = &write.key
            && let Some(written) = self.recall(key, write.at)?
        {
            return Ok(Committed::repeated(self.answer(written, &write)?));
        }
        let (standing, stored) = self.standing(&write)?;
        let json = stored.as_ref().and_then(|stored| stored.json.as_ref());
        write.memory.add(json.map_or(0, |json| JsonSize::of(json).parsed_bytes()))?;
        let (key, free) = (write.key.clone(), standing.next_id);
        let model = Arc::clone(&write.model);
        let references = write.references.clone();
        match write.apply(standing)? {
            Decision::Changed(change) => {
                let counted = self.store(&change, free, stored, key.as_ref())?;
                let cascades = match change.verb {
                    Verb::Destroy => self.begin_cascades(references, &change)?,
                    _ => Vec::new(),
                };
                // Nothing fails from here on, so memory and file stay alike.
                self.remember(&change, key, model, counted, &cascades);
                Ok(Committed::changed(Arc::new(change)))
            }
            Decision::Unchanged(change) => {
                if let Some(key) = &key {
                    self.fresh.remember(key, Written::unchanged(&change));
                    self.latest = self.latest.max(Some(change.at));
                }
                Ok(Committed::unchanged(change))
            }
        }
    }

    /// Stores which references to a destroyed record are to be removed.
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

    /// What dangles in a record that was changed last at this offset.
    fn dangling(&self, resource: &Resource, record: &Attributes, changed: u64) -> Dangling {
        let cascades = self.known.cascades.as_ref().and_then(|all| all.of(resource));
        cascades.map(|cascades| cascades.dangling(record, changed)).unwrap_or_default()
    }

    /// Whether a failure (a full disk) made SQLite give up the whole transaction. What came after
    /// would be committed write by write, so the group has to end.
    pub(super) fn is_given_up(&self) -> bool {
        self.transaction.is_autocommit()
    }

    /// Makes it durable.
    pub(super) fn commit(self) -> Result<()> {
        let is_settled = self.forget()?;
        match self.known.space.is_full() {
            true => vacuum::more(&self.transaction)?,
            false => vacuum::step(&self.transaction)?,
        }
        if let Some(Steps { count, last, at }) = self.steps {
            queues::store_last(&self.transaction, last)?;
            queues::forget(&self.transaction, count, at)?;
        }
        self.transaction.commit()?;
        self.known.current.mark_stored(self.grown.into_keys());
        match is_settled {
            true => self.known.recent.clear(),
            false => self.known.recent.append(self.fresh),
        }
        Ok(())
    }

    /// Stores the counters and drops what the logs have kept long enough. Where there are many, or the log
    /// forgets one of them, puts what is remembered in its table before. Says whether it did.
    fn forget(&self) -> Result<bool> {
        let Some(now) = self.latest else { return Ok(false) };
        let is_full = self.known.space.is_full();
        let mut is_due = self.known.recent.are_due(&self.fresh);
        let mut forgotten = Vec::new();
        for (resource, Grown { counters, first, at, model }) in &self.grown {
            let window = window_of(&self.known.window, counters, is_full);
            let (floor, bytes) =
                forget::floor(&self.transaction, resource, counters, &window, *at)?;
            let log_bytes = counters.log_bytes.saturating_sub(bytes);
            self.known.current.store_first(&self.transaction, resource, *first)?;
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
                LedgerLimits::of(&self.known.window, now),
            )?;
        }
        for (resource, from, floor) in forgotten {
            forget::changes(&self.transaction, resource, from, floor)?;
        }
        Ok(is_due)
    }

    /// The write that had this key, if it is remembered.
    fn recall(&self, key: &Key, now: u64) -> Result<Option<Written>, Error> {
        let cutoff = self.known.window.ledger_cutoff(now);
        let entry = ledger::recall(&self.transaction, self.remembered(), key, cutoff)?;
        Ok(entry.map(|entry| entry.answer(key)).transpose()?)
    }

    /// The answer to a repeat of a write.
    fn answer(&mut self, written: Written, write: &Write) -> Result<Change> {
        let epoch = self.known.current.epoch;
        if let Some(reply) = ledger::reply(&self.transaction, &written, epoch)? {
            return Ok(reply);
        }
        let head = self.counters(&written.resource)?.position(epoch);
        let records = &mut self.known.records;
        let found = records.look(&self.transaction, &written.resource, &written.id)?;
        let record = found.and_then(|(record, changed)| {
            self.dangling(&written.resource, &record, changed).resolve(record)
        });
        Ok(written.answer(write, record, head))
    }

    /// What is not in the ledger's table.
    fn remembered(&self) -> [&Recent; 2] {
        [&self.known.recent, &self.fresh]
    }

    /// And the record's row, if it has one.
    fn standing(&mut self, write: &Write) -> Result<(Standing, Option<Stored>), Error> {
        let counters = self.counters(&write.resource)?;
        let id = write.id()?;
        let next_id = match &id {
            Some(_) => counters.next_id,
            None => self.free_id(&write.resource, &counters)?,
        };
        let id = id.unwrap_or(Id::Integer(next_id));
        let stored = self.known.records.take(&self.transaction, &write.resource, &id)?;
        let record = stored.as_ref().and_then(|stored| stored.record.clone());
        let previous = stored.as_ref().map_or(counters.floor, |stored| stored.offset);
        let position = counters.next_position(self.known.current.epoch);
        let taken = self.taken(write, &id, record.as_deref())?;
        let dangling = stored
            .as_ref()
            .zip(record.as_deref())
            .map(|(stored, record)| self.dangling(&write.resource, record, stored.changed));
        let dangling = dangling.unwrap_or_default();
        let total = self.known.total_records.unwrap_or_default();
        let records = RecordCounts { total, of_resource: counters.records };
        Ok((Standing { record, dangling, previous, position, next_id, taken, records }, stored))
    }

    /// The id that a create without one gets.
    fn free_id(&self, resource: &Resource, counters: &Counters) -> Result<i64, Error> {
        let free = counters.free_id(|range| {
            let mut statement = self.transaction.prepare_cached(
                "SELECT id FROM records
                 WHERE resource = ?1 AND id BETWEEN ?2 AND ?3 AND json IS NOT NULL ORDER BY id",
            )?;
            let taken = (Column(resource), range.start(), range.end());
            first_free(&range, statement.query_map(taken, |row| row.get(0))?)
        })?;
        free.ok_or_else(|| Refused::NoIdLeft { resource: resource.clone() }.into())
    }

    /// The first of the write's claims that another record has.
    fn taken(&self, write: &Write, id: &Id, own: Option<&Attributes>) -> Result<Option<String>> {
        for (name, value) in write.claims(own) {
            let Some(attribute) = expression::of(&name) else { continue };
            let resource = expression::resource(&write.resource);
            let sql = format!(
                "SELECT json, coalesce(changed, offset) AS changed FROM records
                 WHERE {resource} AND {attribute} = ?1 AND id <> ?2"
            );
            let mut statement = self.transaction.prepare_cached(&sql)?;
            let mut rows = statement.query((column::value(value.clone()), Column(id)))?;
            // To SQLite true is 1.
            while let Some(row) = rows.next()? {
                let changed = row::unsigned(row, "changed")?;
                let record = row::record(row, "json")?.and_then(|record| {
                    self.dangling(&write.resource, &record, changed).resolve(record)
                });
                let record = record.filter(|other| write.is_rival(other, own));
                let other = record.as_ref().and_then(|record| record.get(&name));
                if other.is_some_and(|other| model::is_same(other, &value)) {
                    return Ok(Some(name));
                }
            }
        }
        Ok(None)
    }

    fn counters(&self, resource: &Resource) -> Result<Counters> {
        match self.grown.get(resource) {
            Some(grown) => Ok(grown.counters),
            None => row::counters(&self.transaction, resource),
        }
    }

    fn store(
        &mut self,
        change: &Change,
        free: i64,
        stored: Option<Stored>,
        key: Option<&Key>,
    ) -> Result<Counted> {
        let mut counters = self.counters(&change.resource)?;
        counters.count(change, free);
        let after = change.after.as_deref().map(row::text);
        // What is published does not say what was before.
        let before = stored.as_ref().and_then(|stored| stored.json.as_deref());
        let before = before.filter(|_| change.before.is_some());
        let bytes = append(&self.transaction, change, [before, after.as_deref()], key)?;
        counters.log_bytes += bytes;
        let was_there = stored.as_ref().is_some_and(|stored| stored.json.is_some());
        let records_before = counters.records;
        if !change.published {
            counters.count_record(was_there, change.after.is_some());
        }
        self.known.records.store(&self.transaction, stored, change, after)?;
        Ok(Counted { counters, records_before, bytes })
    }

    /// Remembers a change that was stored.
    fn remember(
        &mut self,
        change: &Change,
        key: Option<Key>,
        model: Arc<Model>,
        Counted { counters, records_before, bytes }: Counted,
        cascades: &[Cascade],
    ) {
        self.bytes += bytes;
        self.latest = self.latest.max(Some(change.at));
        if let Some(key) = key {
            self.fresh.remember(&key, Written::logged(change));
        }
        let model = (!change.published).then_some(model);
        let before = self.grown.remove(&change.resource);
        let first = before.as_ref().map_or(change.position.offset, |before| before.first);
        let model = before.and_then(|before| before.model).or(model);
        if let Some(total) = &mut self.known.total_records {
            *total = (*total + counters.records).saturating_sub(records_before);
        }
        let grown = Grown { counters, first, at: change.at, model };
        self.grown.insert(change.resource.clone(), grown);
        if let Some(all) = &mut self.known.cascades {
            cascades.iter().for_each(|cascade| all.insert(cascade));
        }
    }
}

/// On a full disk, each commit forgets an eighth of a log: what is deleted is in it.
fn window_of(window: &Window, counters: &Counters, is_full: bool) -> Window {
    let kept = counters.head - counters.floor;
    let count = if is_full { window.count.min(kept - kept / 8) } else { window.count };
    Window { count, ..*window }
}

/// The first record decides the name of the key.
fn store_counters(
    connection: &Connection,
    resource: &Resource,
    counters: Counters,
    key: Option<&str>,
) -> Result<()> {
    let Counters { head, floor, next_id, records, log_bytes } = counters;
    connection
        .prepare_cached(
            "INSERT INTO resources (name, head, floor, next_id, key_name, records, log_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (name) DO UPDATE
             SET head = ?2, floor = ?3, next_id = ?4, key_name = coalesce(key_name, ?5),
                 records = ?6, log_bytes = ?7",
        )?
        .execute((
            Column(resource),
            head.cast_signed(),
            floor.cast_signed(),
            next_id,
            key,
            records.cast_signed(),
            log_bytes.cast_signed(),
        ))?;
    Ok(())
}

/// Appends a change to the log, with the key it is remembered by. Returns what it takes there.
fn append(
    connection: &Connection,
    change: &Change,
    [before, after]: [Option<&str>; 2],
    key: Option<&Key>,
) -> Result<u64> {
    let names = row::names(&change.set);
    connection
        .prepare_cached(
            "INSERT INTO log (resource, offset, previous, verb, id, before, after, attributes,
                              mark, published, origin, at, identity, key, fingerprint)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute((
            &Column(&change.resource),
            change.position.offset.cast_signed(),
            change.previous.cast_signed(),
            Column(&change.verb),
            &Column(&change.id),
            before,
            after,
            &names,
            change.mark.cast_signed(),
            change.published,
            &change.origin,
            change.at.cast_signed(),
            key.map(|key| &key.identity),
            key.map(|key| &key.key),
            key.map(|key| key.fingerprint.cast_signed()),
        ))?;
    Ok(change_bytes([before.map_or(0, str::len), after.map_or(0, str::len), names.len()]))
}
