//! Everything missed, in one answer.
//!
//! Each room is joined first and read second, like any read that subscribes. If the log can not tell
//! any more, or the engine can not right now, the answer for that room is *resync*: read it again.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use crate::change::{Position, Room};
use crate::dialect::runtime;
use crate::engine::{Engine, Since};
use crate::socket::Client;

/// Answers `[[room, epoch, offset], …]`.
pub(crate) async fn resume(
    engine: &dyn Engine,
    client: &Client,
    rooms: Vec<(Cow<'_, str>, Position)>,
) -> Box<RawValue> {
    let mut answers = Vec::with_capacity(rooms.len());
    for (room, position) in rooms {
        answers.push(missed(engine, client, &room, position).await);
    }
    to_raw_value(&answers).expect("a list of JSON is JSON")
}

async fn missed(
    engine: &dyn Engine,
    client: &Client,
    name: &str,
    position: Position,
) -> Box<RawValue> {
    let Some(room) = Room::parse(name).filter(|room| client.may_join(room)) else {
        return runtime::resync(name);
    };
    client.join([room.clone()]);
    match engine.since(&room, position).await {
        Ok(Since::Changes { changes, head }) => match room.scope() {
            Some(scope) => runtime::scoped_missed(name, &scope, head, &changes),
            None => runtime::missed(name, head, &changes),
        },
        Ok(Since::OutOfReach) => runtime::resync(name),
        Err(error) => {
            tracing::error!(%error, "can not tell what was missed");
            runtime::resync(name)
        }
    }
}
