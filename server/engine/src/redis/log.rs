//! Reads of single records and of logs.

use std::sync::Arc;

use backwire_environment::HashMap;
use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::json_size::JsonSize;

use super::connection::Commands;
use super::encoding;
use super::known::{Known, KnownResource};
use super::log_ends::{LastChanges, LogEnd, LogEnds, SizedChange};
use super::reply::Reply;
use super::runtime::Moment;
use super::script::{self, Call};
use super::stored::{LogEntry, StoredRecord};
use crate::{AnswerMemory, ChangesSince, Error, ReadOptions, Snapshot};

/// The maximum bytes of the changes that one read returns. A client that missed more reads the
/// records instead.
const MAX_SINCE_BYTES: usize = 16 << 20;

/// The maximum bytes of the changes in one reply of Redis, unless a single one has more. A reply is
/// in memory before its changes are claimed.
const MAX_PAGE_BYTES: usize = 256 << 10;

/// Returns one record, if there is memory for it.
pub(super) async fn find_one(
    commands: &Commands,
    known: &Known,
    resource: &Resource,
    id: &Id,
    memory: &AnswerMemory,
) -> Result<Snapshot<Option<Arc<Attributes>>>, Error> {
    let epoch = commands.connection().await?.epoch;
    let used = known.of(resource, epoch);
    let call = Call::new(&script::RECORD)
        .with(resource.as_str())
        .with(encoding::id(id))
        .with(used.cascades_version());
    let (reply, epoch) = commands.run(&call).await?;
    let mut reply = Reply::list(reply)?;
    let position = Position { epoch: epoch.epoch, offset: reply.number()? };
    let cascades = known.read_cascades(resource, epoch, &used, &mut reply)?;
    let known = KnownResource { indexes: None, cascades };
    let stored = reply.optional_bytes()?.map(StoredRecord::read).transpose()?;
    let Some(stored) = stored else { return Ok(Snapshot { value: None, position }) };
    memory.add(stored.json.as_deref().map_or(0, |json| JsonSize::of(json).parsed_bytes()))?;
    let record = stored.parse()?;
    let value = record.and_then(|record| known.dangling(&record, stored.changed).resolve(record));
    Ok(Snapshot { value, position })
}

/// Returns the head of the log of a resource.
pub(super) async fn head(commands: &Commands, resource: &Resource) -> Result<Position, Error> {
    let call = Call::new(&script::RECORD).with(resource.as_str()).with("").with("0");
    let (reply, epoch) = commands.run(&call).await?;
    Ok(Position { epoch: epoch.epoch, offset: Reply::list(reply)?.number()? })
}

/// The part of a log to read.
struct LogQuery<'a> {
    resource: &'a Resource,
    /// The record, or `None` for all.
    id: Option<&'a Id>,
    /// The positions whose epochs are looked up. The changes are those after the first of them.
    positions: &'a [Position],
}

/// A page of the log of a resource.
struct LogPage {
    end: LogEnd,
    /// The offset at which the next page begins, if there is one.
    next: Option<u64>,
    entries: Reply,
}

impl LogQuery<'_> {
    /// Reads the page that begins at an offset, or the first one.
    async fn read(
        &self,
        commands: &Commands,
        from: Option<u64>,
        max_bytes: usize,
    ) -> Result<LogPage, Error> {
        let begin = Moment::now();
        let Self { resource, id, positions } = self;
        let after = positions.first().map_or(0, |position| position.offset);
        let mut call = Call::new(&script::SINCE)
            .with(resource.as_str())
            .with(id.map(encoding::id).unwrap_or_default())
            .with(after);
        call.add_optional(from).add(max_bytes).add(positions.len());
        for position in *positions {
            call.add(position.epoch);
        }
        let (reply, epoch) = commands.run(&call).await?;
        let mut reply = Reply::list(reply)?;
        let (head, floor) = (reply.number()?, reply.number()?);
        let (mut ends, mut list) = (HashMap::default(), reply.next_list()?);
        for position in *positions {
            ends.insert(position.epoch, list.text()?.parse().ok());
        }
        let next = reply.text()?.parse().ok();
        let end = LogEnd { read: begin, epoch, head, floor, ends, changes: None };
        Ok(LogPage { end, next, entries: reply.next_list()? })
    }
}

/// Returns the changes of a room after a position.
pub(super) async fn since(
    (commands, ends): (&Commands, &LogEnds),
    room: &Room,
    position: Position,
    options: &ReadOptions,
) -> Result<ChangesSince, Error> {
    let (resource, id) = (room.resource(), room.id());
    let epoch = commands.connection().await?.epoch;
    if let Some((changes, head)) = ends.changes((resource, id), epoch, position) {
        return Ok(claim_all(&changes, head, options));
    }
    let query = LogQuery { resource, id, positions: &[position] };
    let page_bytes = if options.records == 0 { 1 } else { MAX_PAGE_BYTES };
    let mut page = query.read(commands, None, page_bytes).await?;
    let (mut end, mut changes, mut bytes) = (page.end.clone(), Vec::new(), 0);
    let head = end.position();
    loop {
        let is_same_log = page.end.epoch == end.epoch && page.end.reaches(&position);
        if !is_same_log {
            return Ok(ChangesSince::OutOfReach);
        }
        for entry in page.entries {
            let entry = LogEntry::read(Reply::list(entry)?)?;
            if entry.offset > head.offset {
                break;
            }
            bytes += entry.stored_bytes()?;
            let parsed = entry.parsed_bytes();
            let fits = bytes <= MAX_SINCE_BYTES && options.check_records(changes.len() + 1).is_ok();
            if !fits || options.memory.add(parsed).is_err() {
                return Ok(ChangesSince::OutOfReach);
            }
            changes.push((Arc::new(entry.decode(resource, head.epoch)?), parsed));
        }
        match page.next.filter(|next| *next <= head.offset) {
            Some(next) => page = query.read(commands, Some(next), page_bytes).await?,
            None => break,
        }
    }
    changes.sort_by_key(|(change, _)| change.position.offset);
    let all = changes.iter().map(|(change, _)| Arc::clone(change)).collect();
    if id.is_none() {
        end.changes = Some(LastChanges { after: position.offset, changes: Arc::new(changes) });
    }
    ends.remember(resource, end);
    Ok(ChangesSince::Changes { changes: all, head })
}

/// Returns changes that are known, if the options allow them.
fn claim_all(changes: &[SizedChange], head: Position, options: &ReadOptions) -> ChangesSince {
    let claim = |(_, bytes): &SizedChange| options.memory.add(*bytes).is_ok();
    if options.check_records(changes.len()).is_err() || !changes.iter().all(claim) {
        return ChangesSince::OutOfReach;
    }
    let changes = changes.iter().map(|(change, _)| Arc::clone(change)).collect();
    ChangesSince::Changes { changes, head }
}

/// Whether the log of a resource has everything after each of these positions.
pub(super) async fn reaches(
    (commands, ends): (&Commands, &LogEnds),
    resource: &Resource,
    positions: &[Position],
) -> Result<Vec<bool>, Error> {
    let epoch = commands.connection().await?.epoch;
    if positions.iter().all(|position| ends.reaches(resource, epoch, position)) {
        return Ok(vec![true; positions.len()]);
    }
    let query = LogQuery { resource, id: None, positions };
    let end = query.read(commands, None, 0).await?.end;
    let reached = positions.iter().map(|position| end.reaches(position)).collect();
    ends.remember(resource, end);
    Ok(reached)
}
