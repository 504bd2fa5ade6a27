//! Everything missed, in one answer.
//!
//! Each room is joined first and read second, like any read that subscribes. If the log cannot tell
//! any more, or the engine cannot right now, or the room tells of more than the caller may know by now, the
//! answer for that room is *resync*: read it again. So it is when there is enough in the answer or no memory for more, and when what
//! filters would have to look at is too much: what one short event asks for has an end.
//!
//! In reading order: `answers` has what is answered, `log` what it is read from, `shared_logs` how several
//! clients that come back at a time share that.

mod answers;
mod log;
mod shared_logs;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use backwire_records::change::Room;
use backwire_records::criteria::Scope;
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::consume_budget;

use crate::answer_claim::AnswerClaim;
use crate::caller;
use crate::dialect::runtime;
use crate::error::Result;
use crate::incoming::{self, BAD_RESUME, Seen};
use crate::settings::Limit;
use crate::shared::Shared;
use crate::socket::Client;
use crate::subscription;
use answers::{Budget, Entry, answers};

pub(crate) use shared_logs::SharedLogs;

/// A room that a client has joined to be told what it missed there.
#[derive(Debug)]
struct Joined {
    room: Room,
    scope: Option<Scope>,
    /// Whether there may be records that its followers must not hear of.
    is_hiding: bool,
}

/// Answers `[[room, epoch, offset, highest], …]`. When there are `enough` bytes, or no memory is left, no more is
/// told. Of more rooms than a connection may be in, nothing is.
pub(crate) async fn resume(
    shared: &Shared,
    client: &Client,
    rooms: Vec<(&RawValue, Seen)>,
    enough: usize,
    memory: &AnswerClaim,
) -> Result<Box<RawValue>> {
    if rooms.len() > shared.max_rooms {
        shared.limits.reached(Limit::RoomsPerConnection, client.address());
        let answers: Vec<_> = rooms.iter().map(|(name, _)| (name, ())).collect();
        return Ok(to_raw_value(&answers).expect("a list of JSON is JSON"));
    }
    let named = |(name, seen)| Some((incoming::string(name)?, seen));
    let rooms: Vec<_> = rooms.into_iter().map(named).collect::<Option<_>>().ok_or(BAD_RESUME)?;
    let joined = join_each(shared, client, &rooms).await;
    let entry = |(name, seen): &(Cow<'_, str>, Seen)| Entry {
        joined: joined.get(&**name).cloned().flatten(),
        name: name.clone().into_owned(),
        seen: *seen,
    };
    let entries: Vec<_> = rooms.iter().map(entry).collect();
    let mut budget = Budget::new(enough, shared.resume_work, memory);
    let is_connected = || client.is_connected();
    let mut answers = answers(shared, &entries, &mut budget, is_connected).await;
    if budget.is_exhausted() {
        shared.limits.reached(Limit::ResumeWork, client.address());
    }
    // Whoever was asked to leave meanwhile may have been so before they had joined.
    let kept = hold_each(shared, client, &joined).await;
    for (entry, answer) in entries.iter().zip(&mut answers) {
        if !kept.contains_key(&*entry.name) {
            *answer = runtime::resync(&entry.name);
        }
    }
    Ok(to_raw_value(&answers).expect("a list of JSON is JSON"))
}

/// Joins each room once, however often it is named. `None` for one that may not be joined.
async fn join_each<'a>(
    shared: &Shared,
    client: &Client,
    rooms: &'a [(Cow<'_, str>, Seen)],
) -> HashMap<&'a str, Option<Arc<Joined>>> {
    let mut joined = HashMap::new();
    for (name, _) in rooms {
        if !client.is_connected() {
            break;
        }
        if !joined.contains_key(&**name) {
            joined.insert(&**name, join(shared, client, name).await.map(Arc::new));
        }
        consume_budget().await;
    }
    joined
}

async fn join(shared: &Shared, client: &Client, name: &str) -> Option<Joined> {
    let room = Room::parse(name).filter(|room| subscription::may_join(shared, client, room))?;
    if !caller::may_join(shared, client, &room).await {
        return None;
    }
    client.join([room.clone()]);
    let is_hiding = shared.models.hide_records_of(&room.resource);
    Some(Joined { scope: room.scope(), room, is_hiding })
}

/// The rooms in which the client still may be. It leaves the others.
async fn hold_each<'a>(
    shared: &Shared,
    client: &Client,
    joined: &HashMap<&'a str, Option<Arc<Joined>>>,
) -> HashMap<&'a str, Arc<Joined>> {
    let mut kept = HashMap::new();
    for (name, joined) in joined {
        let Some(joined) = joined else { continue };
        if caller::may_join(shared, client, &joined.room).await {
            kept.insert(*name, Arc::clone(joined));
        } else {
            client.leave(&joined.room);
        }
        consume_budget().await;
    }
    kept
}
