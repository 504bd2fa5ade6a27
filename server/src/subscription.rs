//! Join, then read.
//!
//! A read over a socket subscribes: the connection joins the room, and then the records are read.
//! Whatever is committed after the read is pushed to a room the connection is already in, so there
//! is no gap between the two; what is committed between joining and reading is heard of twice,
//! which is harmless: pushes have positions.

use std::sync::Arc;

use crate::change::{Attributes, Id, Position, Resource, Room};
use crate::context::Context;
use crate::criteria::Criteria;
use crate::dialect::Dialect;
use crate::engine::{Engine, Since, Snapshot};
use crate::error::Result;
use crate::socket::Client;

/// Does a read with these criteria subscribe the caller to the resource?
///
/// A class room has news of all records, and our runtime would take those that were not asked for for
/// its own. Sails clients are used to it: there, criteria never filtered what is heard.
pub(crate) fn follows(cx: &Context, criteria: &Criteria) -> bool {
    cx.client().is_some_and(|client| match client.dialect() {
        Dialect::Runtime => criteria.is_everything(),
        Dialect::Sails | Dialect::Sails09 => true,
    })
}

/// The records that the criteria pick; subscribes to the resource if the caller follows it.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    criteria: &Criteria,
) -> Result<Snapshot<Vec<Arc<Attributes>>>> {
    let Some(client) = cx.client().filter(|_| follows(cx, criteria)) else {
        return Ok(cx.engine().find(resource, criteria).await?);
    };
    client.join([Room::class(resource.clone())]);
    let snapshot = cx.engine().find(resource, criteria).await?;
    match client.dialect() {
        Dialect::Runtime => Ok(snapshot),
        Dialect::Sails | Dialect::Sails09 => {
            join_each(cx.engine(), client, resource, criteria, snapshot).await
        }
    }
}

/// A Sails client hears of updates in instance rooms, whose names are known only after the read. What
/// changed before it was in all of them is found by reading once more. New records need no third
/// read: who is in the class room is led into their rooms.
async fn join_each(
    engine: &dyn Engine,
    client: &Client,
    resource: &Resource,
    criteria: &Criteria,
    snapshot: Snapshot<Vec<Arc<Attributes>>>,
) -> Result<Snapshot<Vec<Arc<Attributes>>>> {
    let ids = snapshot.value.iter().filter_map(|record| Id::from_json(record.get("id")?));
    client.join(ids.map(|id| Room::instance(resource.clone(), id)));
    match has_moved(engine, resource, snapshot.position).await? {
        true => Ok(engine.find(resource, criteria).await?),
        false => Ok(snapshot),
    }
}

async fn has_moved(engine: &dyn Engine, resource: &Resource, position: Position) -> Result<bool> {
    let since = engine.since(&Room::class(resource.clone()), position).await?;
    Ok(!matches!(since, Since::Changes { changes, .. } if changes.is_empty()))
}

/// One record; subscribes to it if the caller has a socket and there is such a record.
pub(crate) async fn find_one(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Snapshot<Option<Arc<Attributes>>>> {
    let room = Room::instance(resource.clone(), id.clone());
    let Some(client) = cx.client() else {
        return Ok(cx.engine().find_one(resource, id).await?);
    };
    let is_new = client.join([room.clone()]);
    let snapshot = cx.engine().find_one(resource, id).await?;
    // Our runtime may know the record from before and wait for it to come again; nobody else does.
    if snapshot.value.is_none() && (is_new || client.dialect() != Dialect::Runtime) {
        client.leave(&room);
    }
    Ok(snapshot)
}
