//! Reads of single records and of logs.

use std::sync::Arc;

use backwire_records::change::{Attributes, Id, Position, Resource, Room};
use backwire_records::json_size::JsonSize;

use super::connection::Commands;
use super::encoding;
use super::known::{Known, KnownResource};
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::{LogEntry, StoredRecord};
use crate::{AnswerMemory, ChangesSince, Error, ReadOptions, Snapshot};

/// The maximum bytes of the changes that are read at a time. They are all in memory at once. A
/// client that missed more reads the records instead.
const MAX_SINCE_BYTES: usize = 16 << 20;

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

/// The log of a resource, as far as it was read.
struct LogPart {
    head: Position,
    floor: u64,
    /// The first offset after each epoch that was asked for.
    ends: Vec<Option<u64>>,
    is_too_much: bool,
    entries: Reply,
}

impl LogPart {
    async fn read(
        commands: &Commands,
        resource: &Resource,
        id: Option<&Id>,
        positions: &[Position],
        max_bytes: usize,
    ) -> Result<Self, Error> {
        let after = positions.first().map_or(0, |position| position.offset);
        let mut call = Call::new(&script::SINCE)
            .with(resource.as_str())
            .with(id.map(encoding::id).unwrap_or_default())
            .with(after)
            .with(max_bytes)
            .with(positions.len());
        for position in positions {
            call.add(position.epoch);
        }
        let (reply, epoch) = commands.run(&call).await?;
        let mut reply = Reply::list(reply)?;
        let head = Position { epoch: epoch.epoch, offset: reply.number()? };
        let floor = reply.number()?;
        let (mut ends, mut list) = (Vec::new(), reply.next_list()?);
        for _ in positions {
            ends.push(list.text()?.parse().ok());
        }
        let is_too_much = reply.number::<u8>()? == 1;
        Ok(Self { head, floor, ends, is_too_much, entries: reply.next_list()? })
    }

    /// Whether the log has everything after each of the positions. A position is valid if no later
    /// epoch has committed a change at its offset or before.
    fn reaches(&self, positions: &[Position]) -> Vec<bool> {
        let reaches = |(Position { offset, .. }, end): (&Position, &Option<u64>)| {
            (self.floor..=self.head.offset).contains(offset) && end.is_none_or(|end| *offset < end)
        };
        positions.iter().zip(&self.ends).map(reaches).collect()
    }
}

/// Returns the changes of a room after a position.
pub(super) async fn since(
    commands: &Commands,
    room: &Room,
    position: Position,
    options: &ReadOptions,
) -> Result<ChangesSince, Error> {
    let (resource, positions) = (room.resource(), [position]);
    // Any change has more than one byte.
    let max_bytes = if options.records == 0 { 1 } else { MAX_SINCE_BYTES };
    let part = LogPart::read(commands, resource, room.id(), &positions, max_bytes).await?;
    if part.is_too_much || part.reaches(&positions) != [true] {
        return Ok(ChangesSince::OutOfReach);
    }
    let mut changes = Vec::new();
    for entry in part.entries {
        let entry = LogEntry::read(Reply::list(entry)?)?;
        let has_room = options.check_records(changes.len() + 1).is_ok();
        if !has_room || options.memory.add(entry.parsed_bytes()).is_err() {
            return Ok(ChangesSince::OutOfReach);
        }
        changes.push(Arc::new(entry.decode(resource, part.head.epoch)?));
    }
    changes.sort_by_key(|change| change.position.offset);
    Ok(ChangesSince::Changes { changes, head: part.head })
}

/// Whether the log of a resource has everything after each of these positions.
pub(super) async fn reaches(
    commands: &Commands,
    resource: &Resource,
    positions: &[Position],
) -> Result<Vec<bool>, Error> {
    let part = LogPart::read(commands, resource, None, positions, 0).await?;
    Ok(part.reaches(positions))
}
