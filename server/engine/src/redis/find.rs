//! Reads of lists.
//!
//! A list is read in parts, so that Redis serves others in between. Then the records that have
//! changed since the first part are read again, together with the head: what was read is now the
//! snapshot at that head.

use std::collections::{BTreeMap, BTreeSet};

use backwire_records::change::{Id, Position, Resource};
use backwire_records::criteria::{Criteria, HasAttributes, Projection};
use backwire_records::dangling::Dangling;
use redis::{Cmd, cmd};
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::connection::Commands;
use super::deadline::ReadClock;
use super::encoding;
use super::handshake::Epoch;
use super::known::{Known, KnownResource, Versioned};
use super::plan::{self, Range};
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::{StoredRecord, attributes, unreadable};
use crate::cascades::ResourceCascades;
use crate::partial_record::PartialRecord;
use crate::{Error, ReadOptions, Record, Snapshot};

/// The maximum number of records in one part.
const MAX_RECORDS: usize = 500;

/// The maximum bytes of the records in one part, beside the last one.
const MAX_BYTES: usize = 1 << 20;

/// The maximum number of changes that are read again. If there are more, the read begins again.
const MAX_CHANGES: usize = 500;

/// A read of a list.
pub(super) struct ListRead<'a> {
    pub(super) commands: &'a Commands,
    pub(super) known: &'a Known,
    pub(super) resource: &'a Resource,
    pub(super) criteria: &'a Criteria,
    pub(super) options: &'a ReadOptions,
    pub(super) clock: ReadClock<'a>,
    /// The maximum number of records that are read without an index.
    pub(super) scan_limit: usize,
}

/// A record that matches.
struct Match<'n> {
    /// The attributes that it is sorted by.
    partial: PartialRecord<'n>,
    json: String,
    changed: u64,
}

impl HasAttributes for &Match<'_> {
    fn attribute(&self, name: &str) -> &Value {
        self.partial.attribute(name)
    }
}

/// A part of the records.
struct Part {
    head: u64,
    cascades: Versioned<ResourceCascades>,
    /// The ranges that are left.
    rest: Vec<Range>,
    records: Vec<(Id, StoredRecord)>,
    epoch: Epoch,
}

/// What was read so far.
struct Progress<'n> {
    matches: BTreeMap<Id, Match<'n>>,
    /// The bytes of the matches.
    bytes: usize,
    /// The number of records that were read.
    count: usize,
    /// The last id that was read, if records are read in the order of their ids.
    last: Option<Id>,
    is_complete: bool,
}

impl<'a> ListRead<'a> {
    /// Returns the records that the criteria pick.
    pub(super) async fn run(self) -> Result<Snapshot<Vec<Record>>, Error> {
        loop {
            self.clock.check()?;
            if let Some(snapshot) = self.attempt().await? {
                return Ok(snapshot);
            }
        }
    }

    /// Reads the list; `None` if too much has changed in the meantime.
    async fn attempt(&self) -> Result<Option<Snapshot<Vec<Record>>>, Error> {
        let epoch = self.clock.within(self.commands.connection()).await?.epoch;
        let mut known = self.known.of(self.resource, epoch);
        if known.indexes.is_none() && !self.criteria.is_everything() {
            known = self.read_known().await?;
        }
        let mut ranges = self.ranges(&known).await?;
        let is_by_id = ranges == plan::everything();
        let names: BTreeSet<_> = self.criteria.names();
        let mut progress = Progress::new();
        let mut first: Option<(u64, Versioned<ResourceCascades>, Epoch)> = None;
        let mut parts = 0;
        loop {
            while !self.is_enough(&progress, is_by_id) && !ranges.is_empty() {
                let part = self.read_part(&ranges).await?;
                parts += 1;
                let (_, cascades, epoch) =
                    first.get_or_insert_with(|| (part.head, part.cascades.clone(), part.epoch));
                if part.cascades.version != cascades.version || part.epoch != *epoch {
                    return Ok(None);
                }
                ranges = part.rest;
                progress.last = part.records.last().map(|(id, _)| id.clone()).or(progress.last);
                progress.is_complete = ranges.is_empty();
                progress.count += part.records.len();
                for (id, stored) in part.records {
                    let cascades = cascades.value.clone();
                    self.add(&mut progress, id, Some(stored), &cascades, &names)?;
                }
                self.check(&progress, is_by_id, &known)?;
            }
            let Some((head, cascades, epoch)) = &mut first else {
                let part = self.read_part(&[]).await?;
                let position = Position { epoch: part.epoch.epoch, offset: part.head };
                return Ok(Some(Snapshot { value: Vec::new(), position }));
            };
            let position = |offset| Position { epoch: epoch.epoch, offset };
            if parts == 1 {
                let value = self.answer(&progress, &cascades.value)?;
                return Ok(Some(Snapshot { value, position: position(*head) }));
            }
            let Some((later, records)) = self.changed(*head, &cascades.version, *epoch).await?
            else {
                return Ok(None);
            };
            for (id, stored) in records {
                let is_read = progress.is_complete
                    || !is_by_id
                    || progress.last.as_ref().is_some_and(|last| id <= *last);
                if is_read {
                    self.add(&mut progress, id, stored, &cascades.value.clone(), &names)?;
                }
            }
            *head = later;
            if ranges.is_empty() || self.is_enough(&progress, is_by_id) {
                let value = self.answer(&progress, &cascades.value)?;
                return Ok(Some(Snapshot { value, position: position(*head) }));
            }
        }
    }

    /// Returns the ranges to read: those with the fewest records.
    async fn ranges(&self, known: &KnownResource) -> Result<Vec<Range>, Error> {
        let mut plans = plan::candidates(self.criteria, known);
        if plans.is_empty() {
            return Ok(plan::everything());
        }
        if plans.len() == 1 {
            return Ok(plans.swap_remove(0));
        }
        let counts = plans.iter().flatten().map(|range| self.count(range));
        let mut counts = self.clock.within(self.commands.query::<usize>(counts)).await?.into_iter();
        let sizes: Vec<usize> =
            plans.iter().map(|plan| counts.by_ref().take(plan.len()).sum()).collect();
        let best = (0..plans.len()).min_by_key(|number| sizes[*number]).unwrap_or_default();
        Ok(plans.swap_remove(best))
    }

    /// Returns the command that counts the records in a range.
    fn count(&self, Range { attribute, low, high }: &Range) -> Cmd {
        let (prefix, resource) = (&self.commands.link.prefix, self.resource);
        let mut count = cmd("ZLEXCOUNT");
        count
            .arg(match attribute.is_empty() {
                true => format!("{prefix}:ids:{resource}"),
                false => format!("{prefix}:index:{resource}:{attribute}"),
            })
            .arg(&low[..])
            .arg(&high[..]);
        count
    }

    async fn read_known(&self) -> Result<KnownResource, Error> {
        let reading = super::state::read_known(self.commands, self.known, self.resource);
        self.clock.within(reading).await
    }

    async fn read_part(&self, ranges: &[Range]) -> Result<Part, Error> {
        let epoch = self.clock.within(self.commands.connection()).await?.epoch;
        let used = self.known.of(self.resource, epoch);
        let max = match self.criteria.needed_records() {
            Some(needed) if self.criteria.is_everything() && self.criteria.sort.is_by_id() => {
                needed.clamp(1, MAX_RECORDS)
            }
            _ => MAX_RECORDS,
        };
        let mut call = Call::new(&script::PAGE)
            .with(self.resource.as_str())
            .with(used.cascades_version())
            .with(max)
            .with(MAX_BYTES)
            .with(ranges.len());
        for Range { attribute, low, high } in ranges {
            call.add(attribute).add(&low[..]).add(&high[..]);
        }
        let (reply, epoch) = self.clock.within(self.commands.run(&call)).await?;
        let mut part = Reply::list(reply)?;
        let head = part.number()?;
        let cascades = self.known.read_cascades(self.resource, epoch, &used, &mut part)?;
        let cascades = cascades.ok_or_else(|| Error::Unavailable("no cascades".to_owned()))?;
        let (range, member) = (part.value()?, part.bytes()?);
        let mut rest = Vec::new();
        if let redis::Value::Int(range) = range {
            let range = usize::try_from(range).unwrap_or_default().saturating_sub(1);
            rest.extend_from_slice(&ranges[range..]);
            rest[0].low = [b"[", &member[..]].concat();
        }
        let mut records = Vec::new();
        for record in part.next_list()? {
            let mut record = Reply::list(record)?;
            let id = encoding::decode_id(&record.bytes()?)?;
            records.push((id, StoredRecord::read(record.bytes()?)?));
        }
        Ok(Part { head, cascades, rest, records, epoch })
    }

    /// Reads the records that have changed since an offset; `None` if they are too many.
    async fn changed(
        &self,
        since: u64,
        cascades: &str,
        epoch: Epoch,
    ) -> Result<Option<(u64, Vec<(Id, Option<StoredRecord>)>)>, Error> {
        let call = Call::new(&script::CHANGED)
            .with(self.resource.as_str())
            .with(since)
            .with(cascades)
            .with(MAX_CHANGES);
        let (reply, now) = self.clock.within(self.commands.run(&call)).await?;
        if reply == redis::Value::Nil || now != epoch {
            return Ok(None);
        }
        let mut reply = Reply::list(reply)?;
        let (head, mut records) = (reply.number()?, Vec::new());
        for record in reply.next_list()? {
            let mut record = Reply::list(record)?;
            let id = encoding::decode_id(&record.bytes()?)?;
            records.push((id, record.optional_bytes()?.map(StoredRecord::read).transpose()?));
        }
        Ok(Some((head, records)))
    }

    /// Adds a record, or replaces it by its later version.
    fn add<'n>(
        &self,
        progress: &mut Progress<'n>,
        id: Id,
        stored: Option<StoredRecord>,
        cascades: &ResourceCascades,
        names: &BTreeSet<&'n str>,
    ) -> Result<(), Error> {
        if let Some(former) = progress.matches.remove(&id) {
            progress.bytes -= former.json.len();
        }
        let Some(StoredRecord { changed, json: Some(json), .. }) = stored else { return Ok(()) };
        let dangling = dangling(&json, changed, cascades)?;
        let partial = PartialRecord::read(&json, names).map_err(unreadable)?;
        let Some(mut partial) = partial.resolve(&dangling) else { return Ok(()) };
        if self.criteria.matches(&partial) {
            partial.keep(&self.criteria.sort.names());
            progress.bytes += json.len();
            progress.matches.insert(id, Match { partial, json, changed });
        }
        Ok(())
    }

    /// Whether no more records are needed: those that were read are the first of all.
    fn is_enough(&self, progress: &Progress<'_>, is_by_id: bool) -> bool {
        let needed = self.criteria.needed_records().filter(|_| self.criteria.sort.is_by_id());
        progress.is_complete
            || is_by_id && needed.is_some_and(|needed| progress.matches.len() >= needed)
    }

    /// Ends a read that has become too large.
    fn check(
        &self,
        progress: &Progress<'_>,
        is_by_id: bool,
        known: &KnownResource,
    ) -> Result<(), Error> {
        self.clock.check()?;
        if is_by_id && progress.count > self.scan_limit && !progress.is_complete {
            return Err(self.too_much_to_scan(known));
        }
        if self.criteria.window().limit.is_none() {
            let count = progress.matches.len().saturating_sub(self.criteria.window().skip);
            self.options.check_records(count)?;
        }
        let ReadOptions { bytes, sort_bytes, .. } = self.options;
        match self.criteria.sort.is_by_id() {
            true if progress.bytes > *bytes.max(sort_bytes) => Err(Error::TooManyBytes(*bytes)),
            false if progress.bytes > *sort_bytes => Err(Error::TooMuchToSort(*sort_bytes)),
            _ => Ok(()),
        }
    }

    fn too_much_to_scan(&self, known: &KnownResource) -> Error {
        Error::TooMuchToScan {
            resource: self.resource.clone(),
            limit: self.scan_limit,
            attributes: plan::missing_indexes(self.criteria, known)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Returns the records of the answer.
    fn answer(
        &self,
        progress: &Progress<'_>,
        cascades: &ResourceCascades,
    ) -> Result<Vec<Record>, Error> {
        let chosen = self.criteria.arrange(progress.matches.values());
        self.options.check_records(chosen.len())?;
        let (mut records, mut bytes) = (Vec::new(), 0_usize);
        for Match { json, changed, .. } in chosen {
            let record = self.project(json, *changed, cascades)?;
            bytes = bytes.saturating_add(record.bytes());
            self.options.check_bytes(bytes)?;
            self.options.memory.add(record.bytes())?;
            records.push(record);
        }
        Ok(records)
    }

    /// Returns the part of a record that the answer contains.
    fn project(
        &self,
        json: &str,
        changed: u64,
        cascades: &ResourceCascades,
    ) -> Result<Record, Error> {
        let dangling = dangling(json, changed, cascades)?;
        if self.criteria.projection == Projection::Whole && dangling == Dangling::Nothing {
            return Record::of_json(json).map_err(unreadable);
        }
        let record = dangling.resolve(attributes(json)?).unwrap_or_default();
        let projected = to_raw_value(&self.criteria.projection.of(record)).map_err(unreadable)?;
        Ok(Record::Json(projected.into()))
    }
}

/// Returns the dangling references of a record.
fn dangling(json: &str, changed: u64, cascades: &ResourceCascades) -> Result<Dangling, Error> {
    if cascades.is_empty() {
        return Ok(Dangling::Nothing);
    }
    let partial = PartialRecord::read(json, &cascades.names().collect()).map_err(unreadable)?;
    Ok(cascades.dangling(&partial, changed))
}

impl Progress<'_> {
    fn new() -> Self {
        Self { matches: BTreeMap::new(), bytes: 0, count: 0, last: None, is_complete: false }
    }
}
