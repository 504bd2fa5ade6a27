//! Reads of parts of a list.

use backwire_records::change::{Id, Resource};
use redis::{Cmd, Value, cmd};

use super::connection::Commands;
use super::deadline::ReadClock;
use super::encoding;
use super::handshake::Epoch;
use super::known::{Known, Versioned};
use super::plan::{Plan, Range};
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::{StoredRecord, unreadable};
use crate::Error;
use crate::cascades::ResourceCascades;

/// The maximum bytes of the records in one part, beside the last one.
const MAX_BYTES: usize = 1 << 20;

/// The maximum number of changes that are read again.
const MAX_CHANGES: usize = 500;

/// The source of parts: the records of a resource.
pub(super) struct Parts<'a> {
    pub(super) commands: &'a Commands,
    pub(super) known: &'a Known,
    pub(super) resource: &'a Resource,
    pub(super) clock: ReadClock<'a>,
}

/// A version of all records: as long as it is the same, only the log tells what has changed.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) cascades: Versioned<ResourceCascades>,
    pub(super) epoch: Epoch,
}

/// A part of the records.
pub(super) struct Part {
    pub(super) head: u64,
    pub(super) version: Version,
    pub(super) records: Vec<(Id, StoredRecord)>,
}

/// Records that have changed, as they are now.
pub(super) struct Changed {
    pub(super) head: u64,
    pub(super) records: Vec<(Id, Option<StoredRecord>)>,
}

impl Version {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.cascades.version == other.cascades.version && self.epoch == other.epoch
    }
}

impl Parts<'_> {
    /// Reads at most `max` of the records of a plan, and removes them from it.
    pub(super) async fn next(&self, plan: &mut Plan, max: usize) -> Result<Part, Error> {
        let epoch = self.clock.within(self.commands.connection()).await?.epoch;
        let used = self.known.of(self.resource, epoch);
        let mut call = Call::new(&script::PAGE)
            .with(self.resource.as_str())
            .with(used.cascades_version())
            .with(max)
            .with(MAX_BYTES)
            .with(u8::from(plan.is_reverse))
            .with(plan.ranges.len());
        for Range { attribute, low, high } in &plan.ranges {
            call.add(attribute).add(&low[..]).add(&high[..]);
        }
        let (reply, epoch) = self.clock.within(self.commands.run(&call)).await?;
        let mut part = Reply::list(reply)?;
        let head = part.number()?;
        let cascades = self.known.read_cascades(self.resource, epoch, &used, &mut part)?;
        let cascades = cascades.ok_or_else(|| unreadable("cascades are missing"))?;
        let (range, member) = (part.value()?, part.bytes()?);
        match range {
            Value::Int(range) => {
                plan.continue_at(usize::try_from(range).unwrap_or_default(), &member)
            }
            _ => plan.ranges.clear(),
        }
        let mut records = Vec::new();
        for record in part.next_list()? {
            let mut record = Reply::list(record)?;
            let id = encoding::decode_id(&record.bytes()?)?;
            records.push((id, StoredRecord::read(record.bytes()?)?));
        }
        Ok(Part { head, version: Version { cascades, epoch }, records })
    }

    /// Reads the records that have changed since an offset; `None` if they are too many, or the
    /// version is another one.
    pub(super) async fn changed(
        &self,
        since: u64,
        version: &Version,
    ) -> Result<Option<Changed>, Error> {
        let call = Call::new(&script::CHANGED)
            .with(self.resource.as_str())
            .with(since)
            .with(&version.cascades.version)
            .with(MAX_CHANGES);
        let (reply, epoch) = self.clock.within(self.commands.run(&call)).await?;
        if reply == Value::Nil || epoch != version.epoch {
            return Ok(None);
        }
        let mut reply = Reply::list(reply)?;
        let (head, mut records) = (reply.number()?, Vec::new());
        for record in reply.next_list()? {
            let mut record = Reply::list(record)?;
            let id = encoding::decode_id(&record.bytes()?)?;
            records.push((id, record.optional_bytes()?.map(StoredRecord::read).transpose()?));
        }
        Ok(Some(Changed { head, records }))
    }

    /// Counts the records of each plan.
    pub(super) async fn count(&self, plans: &[Plan]) -> Result<Vec<usize>, Error> {
        let commands = plans.iter().flat_map(|plan| &plan.ranges).map(|it| self.count_command(it));
        let mut counts =
            self.clock.within(self.commands.query::<usize>(commands)).await?.into_iter();
        let of_plan = |plan: &Plan| counts.by_ref().take(plan.ranges.len()).sum();
        Ok(plans.iter().map(of_plan).collect())
    }

    fn count_command(&self, Range { attribute, low, high }: &Range) -> Cmd {
        let (prefix, resource) = (&self.commands.link.prefix, self.resource);
        let mut count = cmd("ZLEXCOUNT");
        count.arg(match attribute.is_empty() {
            true => format!("{prefix}:ids:{resource}"),
            false => format!("{prefix}:index:{resource}:{attribute}"),
        });
        count.arg(&low[..]).arg(&high[..]);
        count
    }
}
