//! Indexes of attributes, which nodes make when they need them.
//!
//! An index is a sorted set of [members](super::encoding::member). It begins empty: from then on
//! all writes keep it up to date. The node then adds the records that exist, each unless it has
//! changed since it was read. Several nodes may do so at the same time.

use backwire_records::change::{Id, Resource};
use backwire_records::criteria::HasAttributes;

use super::connection::Commands;
use super::encoding;
use super::known::Known;
use super::reply::Reply;
use super::script::{self, Call};
use super::stored::StoredRecord;
use crate::Error;

/// The maximum number of records that are added in one step.
const MAX_RECORDS: usize = 500;

/// The maximum bytes of these records.
const MAX_BYTES: usize = 1 << 20;

/// Makes an index, unless it is known to have all records.
pub(super) async fn ensure(
    commands: &Commands,
    known: &Known,
    resource: &Resource,
    attribute: &str,
) -> Result<(), Error> {
    let epoch = commands.connection().await?.epoch;
    if known.of(resource, epoch).has_index(attribute) {
        return Ok(());
    }
    let step =
        |step: &str| Call::new(&script::INDEX).with(step).with(resource.as_str()).with(attribute);
    let (begun, _) = commands.run(&step("begin")).await?;
    if begun != redis::Value::Int(1) {
        let mut next = Some(b"-".to_vec());
        while let Some(low) = next {
            let (records, more) = page(commands, resource, &low).await?;
            let mut adding = step("add").with(records.len());
            for (id, stored) in records {
                let record = stored.parse()?.unwrap_or_default();
                let member = encoding::member(record.attribute(attribute), &id);
                adding.add(encoding::id(&id)).add(stored.changed).add(member);
            }
            commands.run(&adding).await?;
            next = more;
        }
        commands.run(&step("finish")).await?;
    }
    known.forget_indexes(resource);
    Ok(())
}

/// Some records, and where the next ones begin.
type Page = (Vec<(Id, StoredRecord)>, Option<Vec<u8>>);

/// Reads some records, beginning with this id.
async fn page(commands: &Commands, resource: &Resource, low: &[u8]) -> Result<Page, Error> {
    let call = Call::new(&script::PAGE)
        .with(resource.as_str())
        .with("")
        .with(MAX_RECORDS)
        .with(MAX_BYTES)
        .with(0)
        .with(1)
        .with("")
        .with(low)
        .with("+");
    let mut page = Reply::list(commands.run(&call).await?.0)?;
    for _ in ["head", "version", "cascades", "range"] {
        page.value()?;
    }
    let (more, mut records) = (page.bytes()?, Vec::new());
    for record in page.next_list()? {
        let mut record = Reply::list(record)?;
        let id = encoding::decode_id(&record.bytes()?)?;
        records.push((id, StoredRecord::read(record.bytes()?)?));
    }
    let next = (!more.is_empty()).then(|| [b"[", &more[..]].concat());
    Ok((records, next))
}
