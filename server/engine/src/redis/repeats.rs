//! Answers to repeated writes, and lookups of their keys.

use backwire_records::change::Change;
use backwire_records::write::Write;
use redis::{Value, cmd};

use super::connection::Commands;
use super::encoding;
use super::known::{Known, KnownResource};
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::{self, LogEntry, StoredRecord};
use crate::ledger::{self, KeyHash, Written};
use crate::{CommitOutcome, Error, KeyLookup, LedgerEntry, Window};

/// The data for the answer to a repeated write.
struct Remembered {
    logged: Option<Change>,
    /// The rest of the reply: the head and the record.
    rest: Reply,
    epoch: super::handshake::Epoch,
    used: KnownResource,
}

/// Returns the answer to a repeat of a write.
pub(super) async fn answer(
    commands: &Commands,
    known: &Known,
    written: Written,
    write: &Write,
) -> Result<CommitOutcome, Error> {
    let Remembered { logged, mut rest, epoch, used } =
        read(commands, Some(known), &written).await?;
    if let Some(change) = logged {
        return Ok(CommitOutcome::repeated(ledger::stored(&change)));
    }
    let head = backwire_records::change::Position { epoch: epoch.epoch, offset: rest.number()? };
    let cascades = known.read_cascades(&written.resource, epoch, &used, &mut rest)?;
    let known = KnownResource { indexes: None, cascades };
    let stored = rest.optional_bytes()?.map(StoredRecord::read).transpose()?;
    let changed = stored.as_ref().map_or(0, |stored| stored.changed);
    let record = stored.map(|stored| stored.parse()).transpose()?.flatten();
    let record = record.and_then(|record| known.dangling(&record, changed).resolve(record));
    Ok(CommitOutcome::repeated(written.answer(write, record, head)))
}

/// Looks a key up.
pub(super) async fn lookup(
    commands: &Commands,
    window: &Window,
    lookup: &KeyLookup,
) -> Result<Option<LedgerEntry>, Error> {
    let mut command = cmd("HGET");
    command.arg(format!("{}:ledger", commands.link.prefix));
    command.arg(KeyHash::from(&lookup.key).as_bytes());
    let entry = commands.query::<Value>([command]).await?.pop();
    let Some(Value::BulkString(entry)) = entry else { return Ok(None) };
    let entry = stored::ledger_entry(&entry)?;
    if entry.outcome.at < window.ledger_cutoff(lookup.at) {
        return Ok(None);
    }
    let written = entry.answer(&lookup.key)?;
    let Remembered { logged, epoch, .. } = read(commands, None, &written).await?;
    let logged = logged.map(|change| ledger::stored(&change));
    Ok(Some(LedgerEntry::new(written, epoch.epoch, logged)))
}

async fn read(
    commands: &Commands,
    known: Option<&Known>,
    written: &Written,
) -> Result<Remembered, Error> {
    let epoch = commands.connection().await?.epoch;
    let used = known.map(|known| known.of(&written.resource, epoch)).unwrap_or_default();
    let call = Call::new(&script::REPEAT)
        .with(written.resource.as_str())
        .with(encoding::id(&written.id))
        .with(if written.was_logged() { written.offset.to_string() } else { String::new() })
        .with(used.cascades_version());
    let (reply, epoch) = commands.run(&call).await?;
    let mut rest = Reply::list(reply)?;
    let entry = rest.optional_list()?.map(LogEntry::read).transpose()?;
    let logged = entry.map(|entry| entry.decode(&written.resource, epoch.epoch)).transpose()?;
    Ok(Remembered { logged, rest, epoch, used })
}
