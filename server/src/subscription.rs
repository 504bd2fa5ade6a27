//! Join, then read.
//!
//! Invariant: a read over a socket subscribes. The connection joins the room, and then the records are
//! read. Whatever is committed after the read is pushed to a room the connection is already in, so there
//! is no gap between the two; what is committed between joining and reading is heard of twice,
//! which is harmless: pushes have positions.
//!
//! `members` does the same of a many-to-many; `read` is the result.

pub(crate) mod members;
mod read;

use std::collections::HashSet;
use std::sync::Arc;

use backwire_engine::{Engine, ReadOptions, Record, Since, Snapshot};
use backwire_records::access::{Act, Reach};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room};
use backwire_records::criteria::{Criteria, Filter, Language, Projection, QuerySummary, Scope};

use crate::caller;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::socket::Client;

pub(crate) use read::Read;
use read::{stored, summary};

/// Whether a client may be in a room as well. If not, it has reached a limit.
pub(crate) fn may_join(shared: &Shared, client: &Client, room: &Room) -> bool {
    let outcome = client.may_join(room);
    if let Err(limit) = outcome {
        shared.limits.reached(limit, client.address());
    }
    outcome.is_ok()
}

/// The room that a read with these criteria joins, if it joins one.
fn room(
    may_join: impl Fn(&Room) -> bool,
    client: &Client,
    resource: &Resource,
    criteria: &Criteria,
) -> Option<Room> {
    let scope = match client.dialect() {
        Dialect::Runtime => Scope::of(criteria),
        // What a stock client hears of has no order and no end.
        dialect => Scope::Whole(match dialect.language() {
            Language::Current => criteria.within.clone().and(criteria.filter.clone()),
            // There, criteria never filtered what is heard.
            Language::Sails09 => criteria.within.clone(),
        }),
    };
    let room = Room::scoped(resource.clone(), &scope).filter(|room| may_join(room));
    let may_hear_all = client.dialect().is_stock() && criteria.within == Filter::default();
    room.or_else(|| may_hear_all.then(|| Room::class(resource.clone())))
}

/// The records that the criteria pick from what is left to the caller, and the room that was joined.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
) -> Result<Read<Vec<Record>>> {
    let reach = cx.reach(resource, Act::Read).await?;
    let mut criteria = Criteria { within: reach.filter(), ..criteria };
    let was_joined = criteria.most.is_some() && is_in_room_of(cx, resource, &criteria);
    let read = async |criteria: &Criteria| {
        let find = || async { Ok(cx.engine().find_for(resource, criteria, cx.reads()).await?) };
        join_read_and_hold(cx, resource, &reach, criteria, find).await
    };
    let (mut snapshot, mut room) = read(&criteria).await?;
    // Pushes do not show the records behind the server's own limit, so such an answer is a part.
    if let Some(cut) = criteria.cut_at(snapshot.value.len()).filter(|_| !is_stock(cx)) {
        criteria = cut;
        // Over HTTP nobody follows the answer, which has the same records.
        if let Some(client) = cx.client() {
            room.iter().filter(|_| !was_joined).for_each(|room| client.leave(room));
            (snapshot, room) = read(&criteria).await?;
        }
    }
    let query = summary(cx, resource, &criteria, &Scope::of(&criteria));
    Ok(Read { snapshot, room, query })
}

/// Whether the caller is already in the room of these criteria.
fn is_in_room_of(cx: &Context, resource: &Resource, criteria: &Criteria) -> bool {
    let room_of = |client| {
        Some((client, room(|room| client.may_join(room).is_ok(), client, resource, criteria)?))
    };
    cx.client().and_then(room_of).is_some_and(|(client, room)| client.is_in(&room))
}

fn is_stock(cx: &Context) -> bool {
    cx.client().is_some_and(|client| client.dialect().is_stock())
}

/// What is read for somebody with this reach, and the room that was joined.
async fn join_read_and_hold<R>(
    cx: &Context,
    resource: &Resource,
    reach: &Reach,
    criteria: &Criteria,
    read: impl Fn() -> R,
) -> Result<(Snapshot<Vec<Record>>, Option<Room>)>
where
    R: Future<Output = Result<Snapshot<Vec<Record>>>> + Send,
{
    let room_of = |client| {
        Some((
            client,
            room(|room| may_join(cx.shared(), client, room), client, resource, criteria)?,
        ))
    };
    let Some((client, room)) = cx.client().and_then(room_of) else {
        return Ok((read().await?, None));
    };
    let snapshot = join_and_read(cx, client, room.clone(), read).await?;
    hold(cx, client, resource, reach).await?;
    Ok((snapshot, Some(room)))
}

/// What was left to the caller when they joined has to be so still: had it been taken from them before
/// they had joined, nobody would have led them out.
async fn hold(cx: &Context, client: &Client, of: &Resource, reach: &Reach) -> Result<()> {
    let now = cx.reach(of, Act::Read).await;
    if now.as_ref().is_ok_and(|now| now == reach) {
        return Ok(());
    }
    caller::ask_again(cx.shared(), client).await;
    now.and(Err(Error::Forbidden))
}

/// Records that come along with others, as associations of theirs. A stock client hears of each from here on,
/// and of no others; our runtime, of those it reads for themselves.
pub(crate) async fn find_along(
    cx: &Context,
    resource: &Resource,
    criteria: &Criteria,
    options: &ReadOptions,
) -> Result<Snapshot<Vec<Record>>> {
    // Whoever may not read them reads what they are associated with all the same, and finds none.
    let reach = cx.reach(resource, Act::Read).await.unwrap_or(Reach::Nothing);
    let criteria = &Criteria { within: reach.filter(), ..criteria.clone() };
    let read = || async { Ok(cx.engine().find_for(resource, criteria, options).await?) };
    let Some(client) = cx.client().filter(|client| client.dialect().is_stock()) else {
        return read().await;
    };
    let rooms = |id| {
        rooms_of_one(|room| may_join(cx.shared(), client, room), client, resource, &id, &reach)
            .unwrap_or_default()
    };
    let snapshot =
        read_and_join_each(cx, client, &Room::class(resource.clone()), rooms, read).await?;
    if reach != Reach::Nothing {
        hold(cx, client, resource, &reach).await?;
    }
    Ok(snapshot)
}

/// Records that hold the id of another, as the criteria say. Our runtime follows them like whatever else criteria
/// pick; for everyone else they come along.
pub(crate) async fn find_holding(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
) -> Result<Read<Vec<Record>>> {
    if !is_stock(cx) && cx.reach(resource, Act::Read).await.is_ok() {
        return find(cx, resource, criteria).await;
    }
    let query = summary(cx, resource, &criteria, &Scope::of(&criteria));
    let snapshot = find_along(cx, resource, &criteria, cx.reads()).await?;
    Ok(Read { snapshot, room: None, query })
}

/// One record that is to be associated with another, or is to have others associated with it. A stock client
/// hears of it from here on.
pub(crate) async fn find_end(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Option<Arc<Attributes>>> {
    if cx.client().is_some_and(|client| client.dialect().is_stock()) {
        return Ok(find_one(cx, resource, id).await?.snapshot.value);
    }
    let reach = cx.reach(resource, Act::Read).await?;
    let record = cx.engine().find_one(resource, id).await?.value;
    Ok(record.filter(|record| reach.includes(record)))
}

/// Records that are kept elsewhere; subscribes to the resource. What is published of them has its place
/// in the log, so it is there that the snapshot stands: at the latest where the log stood before.
pub(crate) async fn find_elsewhere<R>(
    cx: &Context,
    resource: &Resource,
    records: impl Fn() -> R + Sync,
) -> Result<Read<Vec<Record>>>
where
    R: Future<Output = Result<Vec<Attributes>>> + Send,
{
    let reach = cx.reach(resource, Act::Read).await?;
    let key = cx.model(resource)?.key.as_str().into();
    let criteria = Criteria { key, within: reach.filter(), ..Criteria::default() };
    let read = || async {
        let position = head(cx.engine(), resource).await?;
        let records = records().await?.into_iter().filter(|record| criteria.matches(record));
        let value = records.map(|record| Arc::new(record).into()).collect();
        Ok(Snapshot { value, position })
    };
    let (snapshot, room) = join_read_and_hold(cx, resource, &reach, &criteria, read).await?;
    let query = QuerySummary::of(&criteria, &Scope::of(&criteria));
    Ok(Read { snapshot, room, query })
}

/// Where the log of a resource stands: whatever is read says so.
pub(crate) async fn head(engine: &dyn Engine, resource: &Resource) -> Result<Position> {
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
) -> Result<Snapshot<Vec<Record>>>
where
    R: Future<Output = Result<Snapshot<Vec<Record>>>> + Send,
{
    let was_joined = client.dialect().is_stock() && client.hears(&room);
    client.join([room.clone()]);
    if client.dialect().is_stock() {
        let instance = |id| vec![Room::instance(room.resource.clone(), id)];
        let snapshot = read_and_join_each(cx, client, &room, instance, read).await;
        // An error is no answer, so its reader hears of nothing new.
        if snapshot.is_err() && !was_joined {
            client.leave(&room);
        }
        return snapshot;
    }
    read().await
}

async fn read_and_join_each<R>(
    cx: &Context,
    client: &Client,
    room: &Room,
    rooms_of: impl Fn(Id) -> Vec<Room>,
    read: impl Fn() -> R,
) -> Result<Snapshot<Vec<Record>>>
where
    R: Future<Output = Result<Snapshot<Vec<Record>>>> + Send,
{
    let snapshot = read().await?;
    let key = &cx.model(&room.resource)?.key;
    let rooms = |records: &[Record]| -> Vec<_> {
        let ids = records.iter().filter_map(|record| record.id(key));
        ids.flat_map(&rooms_of).collect()
    };
    let joined = rooms(&snapshot.value);
    if let Err(limit) = client.may_join_records(&joined) {
        return Err(Error::TooManyRooms { which: limit, limit: client.limit(limit) });
    }
    client.join(joined.clone());
    if !has_moved(cx.engine(), room, snapshot.position).await? {
        return Ok(snapshot);
    }
    let again = read().await?;
    // What is not among them any more may have left before its room was joined.
    let kept: HashSet<_> = rooms(&again.value).into_iter().collect();
    joined.iter().filter(|room| !kept.contains(room)).for_each(|room| client.leave(room));
    Ok(again)
}

async fn has_moved(engine: &dyn Engine, room: &Room, position: Position) -> Result<bool> {
    let since = engine.since(room, position).await?;
    Ok(!matches!(since, Since::Changes { changes, .. } if changes.is_empty()))
}

/// One record, if it is among those that are left to the caller, and the room that was joined.
pub(crate) async fn find_one(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Read<Option<Arc<Attributes>>>> {
    let read = async { Ok(cx.engine().find_one_for(resource, id, cx.reads()).await?) };
    let (snapshot, room) = join_and_read_one(cx, resource, id, read).await?;
    let query = stored(cx, resource, QuerySummary::of_one(&cx.model(resource)?.key));
    Ok(Read { snapshot, room, query })
}

/// One record, or the part of it that the criteria show, which pick no other. Our runtime follows such a part
/// as it does that of a list; everyone else follows the record.
pub(crate) async fn find_in_part(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    criteria: Criteria,
) -> Result<Read<Option<Record>>> {
    let is_whole = criteria.projection == Projection::Whole && criteria.populate.is_empty();
    if is_whole || is_stock(cx) {
        let read = find_one(cx, resource, id).await?;
        let show = |record| Record::from(criteria.projection.of(record));
        return Ok(read.map(|record| record.map(show)));
    }
    let read = find(cx, resource, criteria).await?.map(|mut records| records.pop());
    if let (None, Some(client), Some(room)) = (&read.snapshot.value, cx.client(), &read.room) {
        client.leave(room);
    }
    Ok(read)
}

/// One record that is kept elsewhere; subscribes to it if there is such a record.
pub(crate) async fn find_one_elsewhere(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    record: impl Future<Output = Result<Option<Attributes>>> + Send,
) -> Result<Read<Option<Arc<Attributes>>>> {
    let read = async {
        let position = head(cx.engine(), resource).await?;
        Ok(Snapshot { value: record.await?.map(Arc::new), position })
    };
    let (snapshot, room) = join_and_read_one(cx, resource, id, read).await?;
    let query = QuerySummary::of_one(&cx.model(resource)?.key);
    Ok(Read { snapshot, room, query })
}

async fn join_and_read_one(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    read: impl Future<Output = Result<Snapshot<Option<Arc<Attributes>>>>> + Send,
) -> Result<(Snapshot<Option<Arc<Attributes>>>, Option<Room>)> {
    let reach = cx.reach(resource, Act::Read).await?;
    let read = async {
        let Snapshot { value, position } = read.await?;
        let value = value.filter(|record| reach.includes(record));
        Ok::<_, Error>(Snapshot { value, position })
    };
    let Some(client) = cx.client() else {
        return Ok((read.await?, None));
    };
    let Some(rooms) =
        rooms_of_one(|room| may_join(cx.shared(), client, room), client, resource, id, &reach)
    else {
        return Ok((read.await?, None));
    };
    let is_new = client.join(rooms.clone());
    let snapshot = read.await?;
    hold(cx, client, resource, &reach).await?;
    // Our runtime may know the record from before and wait for it to come again; nobody else does.
    if snapshot.value.is_none() && (is_new || client.dialect() != Dialect::Runtime) {
        rooms.iter().for_each(|room| client.leave(room));
    }
    Ok((snapshot, rooms.into_iter().next()))
}

/// Where a record is followed by itself. Who may see it only as it is now is in a room that it can leave. A
/// stock client is in the room of the record in any case, and goes on being so when a list that it follows
/// has the record no more, if it is in that other room as well.
pub(crate) fn rooms_of_one(
    may_join: impl Fn(&Room) -> bool,
    client: &Client,
    resource: &Resource,
    id: &Id,
    reach: &Reach,
) -> Option<Vec<Room>> {
    let instance = Room::instance(resource.clone(), id.clone());
    let is_stock = client.dialect().is_stock();
    if *reach == Reach::Whole && !is_stock {
        return may_join(&instance).then(|| vec![instance]);
    }
    let scoped = Room::scoped(resource.clone(), &Scope::One(id.clone(), reach.filter()));
    let scoped = scoped.filter(|room| may_join(room))?;
    Some(if is_stock { vec![scoped, instance] } else { vec![scoped] })
}

/// What is answered to the author of a create or an update: the record. Whoever is led into the rooms
/// of records by what they do, in the dialects where that is so, is in the room from here on; what
/// others made of the record before that is in the answer.
pub(crate) async fn written(cx: &Context, change: &Change) -> Result<Option<Arc<Attributes>>> {
    let Some(client) = cx.client().filter(|client| follows_writes(client.dialect())) else {
        return Ok(change.after.clone());
    };
    let Change { resource, id, after, .. } = change;
    // Who may write a record may not always read it.
    let reach = cx.reach(resource, Act::Read).await.unwrap_or(Reach::Nothing);
    let may_follow = after.as_ref().is_some_and(|after| reach.includes(after));
    let rooms =
        rooms_of_one(|room| may_join(cx.shared(), client, room), client, resource, id, &reach)
            .filter(|_| may_follow);
    let Some(rooms) = rooms else { return Ok(after.clone()) };
    client.join(rooms.clone());
    hold(cx, client, resource, &reach).await?;
    if !has_moved(cx.engine(), &Room::instance(resource.clone(), id.clone()), change.position)
        .await?
    {
        return Ok(after.clone());
    }
    let now = cx.engine().find_one(resource, id).await?.value;
    let now = now.filter(|now| reach.includes(now));
    if now.is_none() {
        rooms.iter().for_each(|room| client.leave(room));
    }
    Ok(now.or_else(|| after.clone()))
}

/// Our runtime reads what it wants to follow; Sails began with this after 0.9.
fn follows_writes(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Sails | Dialect::Node)
}
