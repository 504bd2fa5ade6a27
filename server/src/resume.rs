//! Everything missed, in one answer.
//!
//! Each room is joined first and read second, like any read that subscribes. If the log can not tell
//! any more, or the engine can not right now, or the room tells of more than the caller may know by now, the
//! answer for that room is *resync*: read it again. So it is when there is enough in the answer: what one short
//! event asks for has an end.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use crate::caller;
use crate::change::{Position, Room};
use crate::criteria::{Collection, Scope};
use crate::dialect::runtime;
use crate::engine::{self, Since};
use crate::incoming::Seen;
use crate::shared::Shared;
use crate::socket::Client;
use crate::subscription::members;

/// Answers `[[room, epoch, offset, highest], …]`. When there are `enough` bytes, no more is told.
pub(crate) async fn resume(
    shared: &Shared,
    client: &Client,
    rooms: Vec<(Cow<'_, str>, Seen)>,
    enough: usize,
) -> Box<RawValue> {
    let (mut answers, mut told) = (Vec::new(), 0);
    for (room, seen) in rooms {
        let from = Some(seen).filter(|_| told < enough);
        let answer = missed(shared, client, &room, from).await;
        told += answer.get().len();
        answers.push(answer);
    }
    to_raw_value(&answers).expect("a list of JSON is JSON")
}

/// Joins a room, and tells what happened there from a position on.
async fn missed(shared: &Shared, client: &Client, name: &str, from: Option<Seen>) -> Box<RawValue> {
    let Some(room) = Room::parse(name).filter(|room| client.may_join(room)) else {
        return runtime::resync(name);
    };
    if !caller::may_join(shared, client, &room).await {
        return runtime::resync(name);
    }
    client.join([room.clone()]);
    let since = match from {
        Some(seen) => since(shared, &room, seen).await,
        None => Ok(Since::OutOfReach),
    };
    // Whoever was asked to leave meanwhile may have been so before they had joined.
    if !caller::may_join(shared, client, &room).await {
        client.leave(&room);
        return runtime::resync(name);
    }
    let scope = room.scope();
    if let Some(of) = scope.as_ref().and_then(Scope::collection)
        && !is_still(shared, of).await
    {
        return runtime::resync(name);
    }
    match since {
        Ok(Since::Changes { changes, head }) => match scope {
            Some(scope) => {
                let is_hiding = shared.models.hide_records_of(&room.resource);
                let followed = runtime::Followed { scope: &scope, is_hiding };
                runtime::scoped_missed(name, followed, head, &changes)
            }
            None => runtime::missed(name, head, &changes),
        },
        Ok(Since::OutOfReach) => runtime::resync(name),
        Err(error) => {
            tracing::error!(%error, "can not tell what was missed");
            runtime::resync(name)
        }
    }
}

/// The changes after a position. They are out of reach if the log is not the one that had what the
/// client has received beyond the position.
async fn since(shared: &Shared, room: &Room, seen: Seen) -> Result<Since, engine::Error> {
    let Seen { position, highest } = seen;
    if highest > position.offset {
        let beyond = Position { offset: highest, ..position };
        if let Since::OutOfReach = shared.engine.since(room, beyond).await? {
            return Ok(Since::OutOfReach);
        }
    }
    shared.engine.since(room, position).await
}

/// Whether a collection has the members it had.
async fn is_still(shared: &Shared, of: &Collection) -> bool {
    members::have_changed(shared, of).await.is_ok_and(|changed| !changed)
}
