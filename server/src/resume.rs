//! Resume: sends a client everything that it missed, in one answer.
//!
//! Each room is joined first and read second, like any read that subscribes. The answer for a room
//! is *resync*, which makes the client read it again, if the log does not reach back far enough, if
//! the engine fails, or if the room has more than the caller may know by now. It is also *resync*
//! when the answer is large enough, when there is no memory for more changes, and when filters
//! would have to check too much. So the work and the memory for one short event are limited.
//!
//! In reading order: `answers` builds the answers, `log` reads the changes for them, `log_memory`
//! bounds their memory, `shared_logs` shares these between clients that come back at the same
//! time, and `kept_ranges` keeps small ones for those that come later. `slots` bounds how many
//! resumes of one address others wait for.

mod answers;
mod counts;
mod entry;
mod kept_ranges;
mod log;
mod log_memory;
mod range;
mod shared_logs;
mod slots;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use backwire_environment::HashMap;
use backwire_protocol::planted;
use backwire_protocol::wire::ResumeAnswer;
use backwire_records::change::Room;
use serde_json::value::{RawValue, to_raw_value};
use tokio::task::consume_budget;

use crate::answer_claim::AnswerClaim;
use crate::caller;
use crate::dialect::runtime;
use crate::error::Result;
use crate::incoming::{self, BAD_RESUME, ClientPosition};
use crate::settings::Limit;
use crate::shared::Shared;
use crate::socket::Client;
use crate::subscription;
use answers::{Budget, answers};
use entry::{Entry, JoinedRoom};

pub(crate) use counts::ResumeCounts;
pub(crate) use shared_logs::SharedLogs;

/// Answers `[[room, epoch, offset, highest, …], …]`. After `max_bytes` bytes, or when no memory is
/// left, all further rooms are *resync*. If there are more rooms than a connection may be in, all
/// are.
pub(crate) async fn resume(
    shared: &Shared,
    client: &Client,
    rooms: Vec<(&RawValue, ClientPosition)>,
    max_bytes: usize,
    memory: &AnswerClaim,
) -> Result<Box<RawValue>> {
    shared.shared_logs.counts().begin_resume();
    if rooms.len() > shared.max_rooms {
        shared.limits.reached(Limit::RoomsPerConnection, client.address());
        let answers: Vec<_> = rooms.iter().map(|(name, _)| ResumeAnswer::resync(name)).collect();
        return Ok(to_raw_value(&answers).expect("a list of JSON is JSON"));
    }
    let named = |(name, seen)| Some((incoming::string(name)?, seen));
    let rooms: Vec<_> = rooms.into_iter().map(named).collect::<Option<_>>().ok_or(BAD_RESUME)?;
    let joined = join_each(shared, client, &rooms).await;
    let entry = |(name, seen): &(Cow<'_, str>, ClientPosition)| Entry {
        joined: joined.get(&**name).cloned().flatten(),
        name: name.clone().into_owned(),
        seen: seen.clone(),
    };
    let entries: Vec<_> = rooms.iter().map(entry).collect();
    let mut budget = Budget::new(max_bytes, shared.resume_work, memory);
    let is_connected = || client.is_connected();
    let changes = shared.shared_logs.memory(client.address());
    let mut answers = answers(shared, &entries, (&mut budget, &changes), is_connected).await;
    if let Some(limit) = changes.refused() {
        shared.limits.reached(limit, client.address());
    }
    if budget.is_exhausted() {
        shared.limits.reached(Limit::ResumeWork, client.address());
    }
    // If the rights of the client were checked meanwhile, that may have been before it had joined.
    let kept = retain_permitted(shared, client, &joined).await;
    for (entry, answer) in entries.iter().zip(&mut answers) {
        if !kept.contains_key(&*entry.name) {
            *answer = runtime::resync(&entry.name);
        }
    }
    Ok(to_raw_value(&answers).expect("a list of JSON is JSON"))
}

/// Joins each room once, however often it is named. `None` is a room that may not be joined.
async fn join_each<'a>(
    shared: &Shared,
    client: &Client,
    rooms: &'a [(Cow<'_, str>, ClientPosition)],
) -> HashMap<&'a str, Option<Arc<JoinedRoom>>> {
    let mut joined = HashMap::default();
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

async fn join(shared: &Shared, client: &Client, name: &str) -> Option<JoinedRoom> {
    let room = Room::parse(name).filter(|room| subscription::may_join(shared, client, room))?;
    if !planted::has("resume-without-access-check")
        && !caller::may_join(shared, client, &room).await
    {
        return None;
    }
    if !planted::has("resume-without-join") {
        client.join([room.clone()]);
    }
    let is_hiding = shared.models.hide_records_of(room.resource());
    Some(JoinedRoom { room, is_hiding })
}

/// Returns the rooms in which the client still may be. It leaves the others.
async fn retain_permitted<'a>(
    shared: &Shared,
    client: &Client,
    joined: &HashMap<&'a str, Option<Arc<JoinedRoom>>>,
) -> HashMap<&'a str, Arc<JoinedRoom>> {
    let mut kept = HashMap::default();
    for (name, joined) in joined {
        let Some(joined) = joined else { continue };
        if planted::has("resume-without-access-check")
            || caller::may_join(shared, client, &joined.room).await
        {
            kept.insert(*name, Arc::clone(joined));
        } else {
            client.leave(&joined.room);
        }
        consume_budget().await;
    }
    kept
}
