//! Join, then read.
//!
//! A read over a socket subscribes: the connection joins the room, and then the records are read.
//! Whatever is committed after the read is pushed to a room the connection is already in, so there
//! is no gap between the two; what is committed between joining and reading is heard of twice,
//! which is harmless: pushes have positions.

use std::sync::Arc;

use crate::change::{Attributes, Change, Id, Position, Resource, Room};
use crate::context::Context;
use crate::criteria::{Criteria, Scope};
use crate::dialect::Dialect;
use crate::engine::{Engine, Since, Snapshot};
use crate::error::Result;
use crate::socket::Client;

/// The room that a read with these criteria joins, if it joins one. Stock clients follow the resource:
/// there, criteria never filtered what is heard.
fn room(cx: &Context, resource: &Resource, criteria: &Criteria) -> Option<Room> {
    let client = cx.client()?;
    match client.dialect().is_stock() {
        true => Some(Room::class(resource.clone())),
        false => Room::scoped(resource.clone(), &Scope::of(criteria))
            .filter(|room| client.may_join(room)),
    }
}

/// The records that the criteria pick, and the room that was joined.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    criteria: &Criteria,
) -> Result<(Snapshot<Vec<Arc<Attributes>>>, Option<Room>)> {
    let read = || async { Ok(cx.engine().find(resource, criteria).await?) };
    let room = room(cx, resource, criteria);
    let snapshot = match cx.client().zip(room.clone()) {
        Some((client, room)) => join_and_read(cx, client, room, read).await?,
        None => read().await?,
    };
    Ok((snapshot, room))
}

/// Records that come along with others, as associations of theirs. A stock client hears of each from here on,
/// and of no others; our runtime, of those it reads for themselves.
pub(crate) async fn find_along(
    cx: &Context,
    resource: &Resource,
    criteria: &Criteria,
) -> Result<Snapshot<Vec<Arc<Attributes>>>> {
    let read = || async { Ok(cx.engine().find(resource, criteria).await?) };
    match cx.client().filter(|client| client.dialect().is_stock()) {
        Some(client) => {
            let class = Room::class(resource.clone());
            read_and_join_each(cx, client, &class, read).await
        }
        None => read().await,
    }
}

/// One record that is to be associated with another, or is to have others associated with it. A stock client
/// hears of it from here on.
pub(crate) async fn find_end(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Option<Arc<Attributes>>> {
    let follows = cx.client().is_some_and(|client| client.dialect().is_stock());
    match follows {
        true => Ok(find_one(cx, resource, id).await?.value),
        false => Ok(cx.engine().find_one(resource, id).await?.value),
    }
}

/// Records that are kept elsewhere; subscribes to the resource. What is published of them has its place
/// in the log, so it is there that the snapshot stands: at the latest where the log stood before.
pub(crate) async fn find_elsewhere<R>(
    cx: &Context,
    resource: &Resource,
    records: impl Fn() -> R + Sync,
) -> Result<Snapshot<Vec<Arc<Attributes>>>>
where
    R: Future<Output = Result<Vec<Attributes>>> + Send,
{
    let read = || async {
        let position = head(cx.engine(), resource).await?;
        let value = records().await?.into_iter().map(Arc::new).collect();
        Ok(Snapshot { value, position })
    };
    match cx.client() {
        Some(client) => join_and_read(cx, client, Room::class(resource.clone()), read).await,
        None => read().await,
    }
}

/// Where the log of a resource stands: whatever is read says so.
async fn head(engine: &dyn Engine, resource: &Resource) -> Result<Position> {
    Ok(engine.find_one(resource, &Id::Integer(0)).await?.position)
}

/// A stock client hears of updates in instance rooms, whose names are known only after the read. What
/// changed before it was in all of them is found by reading once more. New records need no third
/// read: who is in the class room is led into their rooms.
async fn join_and_read<R>(
    cx: &Context,
    client: &Client,
    room: Room,
    read: impl Fn() -> R,
) -> Result<Snapshot<Vec<Arc<Attributes>>>>
where
    R: Future<Output = Result<Snapshot<Vec<Arc<Attributes>>>>> + Send,
{
    client.join([room.clone()]);
    if client.dialect().is_stock() {
        return read_and_join_each(cx, client, &room, read).await;
    }
    read().await
}

async fn read_and_join_each<R>(
    cx: &Context,
    client: &Client,
    room: &Room,
    read: impl Fn() -> R,
) -> Result<Snapshot<Vec<Arc<Attributes>>>>
where
    R: Future<Output = Result<Snapshot<Vec<Arc<Attributes>>>>> + Send,
{
    let snapshot = read().await?;
    let key = &cx.model(&room.resource)?.key;
    let ids = snapshot.value.iter().filter_map(|record| Id::from_json(record.get(key)?));
    client.join(ids.map(|id| Room::instance(room.resource.clone(), id)));
    match has_moved(cx.engine(), room, snapshot.position).await? {
        true => read().await,
        false => Ok(snapshot),
    }
}

async fn has_moved(engine: &dyn Engine, room: &Room, position: Position) -> Result<bool> {
    let since = engine.since(room, position).await?;
    Ok(!matches!(since, Since::Changes { changes, .. } if changes.is_empty()))
}

/// One record; subscribes to it if the caller has a socket and there is such a record.
pub(crate) async fn find_one(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Snapshot<Option<Arc<Attributes>>>> {
    let read = async { Ok(cx.engine().find_one(resource, id).await?) };
    join_and_read_one(cx, resource, id, read).await
}

/// One record that is kept elsewhere; subscribes to it if there is such a record.
pub(crate) async fn find_one_elsewhere(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    record: impl Future<Output = Result<Option<Attributes>>> + Send,
) -> Result<Snapshot<Option<Arc<Attributes>>>> {
    let read = async {
        let position = head(cx.engine(), resource).await?;
        Ok(Snapshot { value: record.await?.map(Arc::new), position })
    };
    join_and_read_one(cx, resource, id, read).await
}

async fn join_and_read_one(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    read: impl Future<Output = Result<Snapshot<Option<Arc<Attributes>>>>> + Send,
) -> Result<Snapshot<Option<Arc<Attributes>>>> {
    let Some(client) = cx.client() else {
        return read.await;
    };
    let room = Room::instance(resource.clone(), id.clone());
    let is_new = client.join([room.clone()]);
    let snapshot = read.await?;
    // Our runtime may know the record from before and wait for it to come again; nobody else does.
    if snapshot.value.is_none() && (is_new || client.dialect() != Dialect::Runtime) {
        client.leave(&room);
    }
    Ok(snapshot)
}

/// What is answered to the author of a create or an update: the record. Whoever is led into the rooms
/// of records by what they do, in the dialects where that is so, is in the room from here on; what
/// others made of the record before that is in the answer.
pub(crate) async fn written(cx: &Context, change: &Change) -> Result<Option<Arc<Attributes>>> {
    let Some(client) = cx.client().filter(|client| follows_writes(client.dialect())) else {
        return Ok(change.after.clone());
    };
    let room = Room::instance(change.resource.clone(), change.id.clone());
    client.join([room.clone()]);
    if !has_moved(cx.engine(), &room, change.position).await? {
        return Ok(change.after.clone());
    }
    let now = cx.engine().find_one(&change.resource, &change.id).await?.value;
    if now.is_none() {
        client.leave(&room);
    }
    Ok(now.or_else(|| change.after.clone()))
}

/// Our runtime reads what it wants to follow; Sails began with this after 0.9.
fn follows_writes(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Sails | Dialect::Node)
}
