//! The search for a free id, when a client has given a record the last id that is counted.

use std::ops::RangeInclusive;

use backwire_records::change::{Id, Resource};
use redis::cmd;

use super::connection::Commands;
use super::encoding;
use crate::Error;
use crate::counters::{Counters, first_free};

/// The maximum number of ids in one reply.
const MAX_IDS: usize = 1000;

/// Returns the first id that is not in use after the counter has passed the counted ids.
pub(super) async fn free_id(
    commands: &Commands,
    resource: &Resource,
    next: i64,
) -> Result<Option<i64>, Error> {
    for range in Counters::uncounted(next) {
        if let Some(free) = first_free_in(commands, resource, range).await? {
            return Ok(Some(free));
        }
    }
    Ok(None)
}

async fn first_free_in(
    commands: &Commands,
    resource: &Resource,
    mut range: RangeInclusive<i64>,
) -> Result<Option<i64>, Error> {
    loop {
        let ids = ids(commands, resource, &range).await?;
        let count = ids.len();
        let free = first_free(&range, ids.iter().copied().map(Ok::<_, Error>))?;
        match (free, ids.last()) {
            // All of them are in use without a gap, and there are more.
            (Some(free), Some(last)) if free == last + 1 && count == MAX_IDS => {
                range = free..=*range.end();
            }
            (free, _) => return Ok(free),
        }
    }
}

async fn ids(
    commands: &Commands,
    resource: &Resource,
    range: &RangeInclusive<i64>,
) -> Result<Vec<i64>, Error> {
    let bound = |id: i64| [b"[", &encoding::id(&Id::Integer(id))[..]].concat();
    let mut command = cmd("ZRANGEBYLEX");
    command.arg(format!("{}:ids:{resource}", commands.link.prefix));
    command.arg(bound(*range.start())).arg(bound(*range.end()));
    command.arg("LIMIT").arg(0).arg(MAX_IDS);
    let mut ids = Vec::new();
    for id in commands.query::<Vec<Vec<u8>>>([command]).await?.concat() {
        if let Id::Integer(id) = encoding::decode_id(&id)? {
            ids.push(id);
        }
    }
    Ok(ids)
}
