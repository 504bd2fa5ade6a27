//! Join, then read.
//!
//! Invariant: a read over a socket subscribes. The connection joins the room, and then the records
//! are read. A change that is committed after the read is pushed to a room the connection is
//! already in, so there is no gap between the two. A change that is committed between joining and
//! reading is received twice, which is harmless: pushes have positions.
//!
//! A request that fails does not subscribe, and neither does a read that finds no record.
//!
//! `members` does the same for a many-to-many association, and `association_end` for the records
//! that associations belong to; `read` has the result.

pub(crate) mod association_end;
pub(crate) mod members;
mod read;
pub(crate) mod rooms;

use std::sync::Arc;

use backwire_engine::{ChangesSince, ReadOptions, Record, Snapshot};
use backwire_environment::HashSet;
use backwire_protocol::planted;
use backwire_records::access::{AccessScope, Operation};
use backwire_records::change::{Attributes, Change, Id, Position, Resource, Room};
use backwire_records::criteria::{Criteria, Filter, Projection, QuerySummary, Scope};

use crate::caller;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::socket::{Client, ReadRooms};

pub(crate) use read::Read;
use read::{stored, summary};
use rooms::rooms_of_record;

/// Whether a client may join one more room. If not, the limit that it has reached is counted.
pub(crate) fn may_join(shared: &Shared, client: &Client, room: &Room) -> bool {
    let outcome = client.may_join(room);
    if let Err(limit) = outcome {
        shared.limits.reached(limit, client.address());
    }
    outcome.is_ok()
}

/// Returns the room that a read with these criteria joins, if it joins one.
fn room(
    may_join: impl Fn(&Room) -> bool,
    client: &Client,
    resource: &Resource,
    criteria: &Criteria,
) -> Option<Room> {
    let scope = match client.dialect() {
        Dialect::Runtime => Scope::of(criteria).narrowed(&criteria.within),
        // The changes that a stock client receives have no order and no end.
        Dialect::Node => Scope::Whole(criteria.within.clone().and(criteria.filter.clone())),
        // In Sails, criteria do not filter the changes that a client receives.
        Dialect::Sails | Dialect::Sails09 => Scope::Whole(criteria.within.clone()),
    };
    let room = Room::scoped(resource.clone(), scope).filter(|room| may_join(room));
    let may_follow_all = client.dialect().is_stock() && criteria.within == Filter::default();
    room.or_else(|| may_follow_all.then(|| Room::class(resource.clone())))
}

/// A room that a client has joined for a read, with the rooms of records that it has joined as
/// well. If this is dropped, the client leaves them, except those that it was in before.
struct Joined {
    room: Room,
    rooms: ReadRooms,
}

impl Joined {
    fn keep_if_answered(self, cx: &Context) -> Room {
        cx.keep_if_answered(self.rooms);
        self.room
    }
}

/// Returns the records that the criteria pick from those that the caller may read, and the joined
/// room.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
) -> Result<Read<Vec<Record>>> {
    find_and_keep(cx, resource, criteria, |_| true).await
}

/// The same; the client stays in a room that it has joined for this read only if these records say
/// so.
async fn find_and_keep(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
    is_kept: impl Fn(&[Record]) -> bool + Sync,
) -> Result<Read<Vec<Record>>> {
    let access_scope = cx.access_scope(resource, Operation::Read).await?;
    let mut criteria = Criteria { within: access_scope.filter(), ..criteria };
    let read = async |criteria: &Criteria| {
        let find = || async { Ok(cx.engine().find_for(resource, criteria, cx.reads()).await?) };
        join_read_and_check(cx, resource, &access_scope, criteria, find).await
    };
    let (mut snapshot, mut joined) = read(&criteria).await?;
    // Pushes do not show the records behind the server's own limit, so such an answer is a part.
    if let Some(cut) = criteria.limited_if_truncated(snapshot.value.len()).filter(|_| !is_stock(cx))
    {
        criteria = cut;
        // Over HTTP no client follows the answer, which has the same records.
        if cx.client().is_some() {
            drop(joined);
            (snapshot, joined) = read(&criteria).await?;
        }
    }
    let query = summary(cx, resource, &criteria, &Scope::of(&criteria));
    let is_kept = is_kept(&snapshot.value);
    let room = joined.filter(|_| is_kept).map(|joined| joined.keep_if_answered(cx));
    Ok(Read { snapshot, room, query })
}

fn is_stock(cx: &Context) -> bool {
    cx.client().is_some_and(|client| client.dialect().is_stock())
}

/// Joins the room, reads, and checks that the access of the caller is still the same. Returns what
/// was read, and the joined room.
async fn join_read_and_check<R>(
    cx: &Context,
    resource: &Resource,
    access_scope: &AccessScope,
    criteria: &Criteria,
    read: impl Fn() -> R,
) -> Result<(Snapshot<Vec<Record>>, Option<Joined>)>
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
    let (snapshot, joined) = join_and_read(cx, client, room, read).await?;
    check_access(cx, client, resource, access_scope).await?;
    Ok((snapshot, Some(joined)))
}

/// Checks that the caller still has the same access as when they joined. If the access was taken
/// away before they had joined, no check would have removed them from the room.
async fn check_access(
    cx: &Context,
    client: &Client,
    of: &Resource,
    access_scope: &AccessScope,
) -> Result<()> {
    let now = cx.access_scope(of, Operation::Read).await;
    if now.as_ref().is_ok_and(|now| now == access_scope) {
        return Ok(());
    }
    caller::recheck_rooms(cx.shared(), client).await;
    now.and(Err(Error::Forbidden))
}

/// Returns records that are associated with the records of an answer. A stock client is subscribed
/// to each of them, and to no others. Our runtime is subscribed only to records that it reads for
/// themselves.
pub(crate) async fn find_associated(
    cx: &Context,
    resource: &Resource,
    criteria: &Criteria,
    options: &ReadOptions,
) -> Result<Snapshot<Vec<Record>>> {
    // A caller that may not read these records may still read the records that they are associated
    // with, and gets none of these.
    let access_scope =
        cx.access_scope(resource, Operation::Read).await.unwrap_or(AccessScope::Nothing);
    let criteria = &Criteria { within: access_scope.filter(), ..criteria.clone() };
    let read = || async { Ok(cx.engine().find_for(resource, criteria, options).await?) };
    let Some(client) = cx.client().filter(|client| client.dialect().is_stock()) else {
        return read().await;
    };
    let rooms = |id| {
        rooms_of_record(
            |room| may_join(cx.shared(), client, room),
            client,
            resource,
            &id,
            &access_scope,
        )
        .unwrap_or_default()
    };
    let mut joined = client.join_to_read([]);
    let class = Room::class(resource.clone());
    let snapshot = read_and_join_each(cx, client, &class, rooms, read, &mut joined).await?;
    if access_scope != AccessScope::Nothing {
        check_access(cx, client, resource, &access_scope).await?;
    }
    cx.keep_if_answered(joined);
    Ok(snapshot)
}

/// Returns the same records as [`find_associated`], without a subscription.
pub(crate) async fn find_associated_without_subscription(
    cx: &Context,
    resource: &Resource,
    criteria: &Criteria,
    options: &ReadOptions,
) -> Result<Snapshot<Vec<Record>>> {
    let access_scope = cx.access_scope(resource, Operation::Read).await;
    let within = access_scope.unwrap_or(AccessScope::Nothing).filter();
    let criteria = Criteria { within, ..criteria.clone() };
    Ok(cx.engine().find_for(resource, &criteria, options).await?)
}

/// Returns records that hold the id of another record, as the criteria say. Our runtime follows
/// them like all other records that criteria pick; other callers read them as associated records.
pub(crate) async fn find_holding(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
) -> Result<Read<Vec<Record>>> {
    if !is_stock(cx) && cx.access_scope(resource, Operation::Read).await.is_ok() {
        return find(cx, resource, criteria).await;
    }
    let query = summary(cx, resource, &criteria, &Scope::of(&criteria));
    let snapshot = find_associated(cx, resource, &criteria, cx.reads()).await?;
    Ok(Read { snapshot, room: None, query })
}

/// Returns one record, if the caller may read it.
pub(crate) async fn find_one_without_subscription(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Option<Arc<Attributes>>> {
    let access_scope = cx.access_scope(resource, Operation::Read).await?;
    let record = cx.engine().find_one(resource, id).await?.value;
    Ok(record.filter(|record| access_scope.includes(record)))
}

/// Returns records that are stored elsewhere, and subscribes to the resource. Changes that are
/// published of them have their place in the log, so the snapshot has a position in it: at the
/// latest where the log stood before the read.
pub(crate) async fn find_external<R>(
    cx: &Context,
    resource: &Resource,
    records: impl Fn() -> R + Sync,
) -> Result<Read<Vec<Record>>>
where
    R: Future<Output = Result<Vec<Attributes>>> + Send,
{
    let access_scope = cx.access_scope(resource, Operation::Read).await?;
    let key = cx.model(resource)?.key.as_str().into();
    let criteria = Criteria { key, within: access_scope.filter(), ..Criteria::default() };
    let read = || async {
        let position = cx.engine().head(resource).await?;
        let records = records().await?.into_iter().filter(|record| criteria.matches(record));
        let value = records.map(|record| Arc::new(record).into()).collect();
        Ok(Snapshot { value, position })
    };
    let (snapshot, joined) =
        join_read_and_check(cx, resource, &access_scope, &criteria, read).await?;
    let query = QuerySummary::of(&criteria, &Scope::of(&criteria));
    let room = joined.map(|joined| joined.keep_if_answered(cx));
    Ok(Read { snapshot, room, query })
}

/// A stock client receives updates in instance rooms, whose names are known only after the read. A
/// second read finds what changed before the client was in all of them. New records need no third
/// read: clients in the class room are added to their rooms.
async fn join_and_read<R>(
    cx: &Context,
    client: &Client,
    room: Room,
    read: impl Fn() -> R,
) -> Result<(Snapshot<Vec<Record>>, Joined)>
where
    R: Future<Output = Result<Snapshot<Vec<Record>>>> + Send,
{
    if planted::has("read-before-join") {
        let snapshot = read().await?;
        let rooms = client.join_to_read([room.clone()]);
        return Ok((snapshot, Joined { room, rooms }));
    }
    let mut rooms = client.join_to_read([room.clone()]);
    let snapshot = if client.dialect().is_stock() {
        let instance = |id| vec![Room::instance(room.resource().clone(), id)];
        read_and_join_each(cx, client, &room, instance, read, &mut rooms).await?
    } else {
        read().await?
    };
    Ok((snapshot, Joined { room, rooms }))
}

async fn read_and_join_each<R>(
    cx: &Context,
    client: &Client,
    room: &Room,
    rooms_of: impl Fn(Id) -> Vec<Room>,
    read: impl Fn() -> R,
    joined: &mut ReadRooms,
) -> Result<Snapshot<Vec<Record>>>
where
    R: Future<Output = Result<Snapshot<Vec<Record>>>> + Send,
{
    let snapshot = read().await?;
    let key = &cx.model(room.resource())?.key;
    let rooms = |records: &[Record]| -> Vec<_> {
        let ids = records.iter().filter_map(|record| record.id(key));
        ids.flat_map(&rooms_of).collect()
    };
    let records = rooms(&snapshot.value);
    if let Err(limit) = client.may_join_records(&records) {
        return Err(Error::TooManyRooms { which: limit, limit: client.limit(limit) });
    }
    joined.join(records.iter().cloned());
    if !has_changed(cx, room, snapshot.position).await? {
        return Ok(snapshot);
    }
    let again = read().await?;
    // A record that is missing now may have left before its room was joined.
    let kept: HashSet<_> = rooms(&again.value).into_iter().collect();
    let missing: HashSet<_> = records.into_iter().filter(|room| !kept.contains(room)).collect();
    joined.leave(|room| missing.contains(room));
    Ok(again)
}

/// Whether a room has changed since a position. No change is read for that.
async fn has_changed(cx: &Context, room: &Room, position: Position) -> Result<bool> {
    let options = ReadOptions { records: 0, client: cx.reads().client, ..ReadOptions::default() };
    let since = cx.engine().changes_since_for(room, position, &options).await?;
    Ok(!matches!(since, ChangesSince::Changes { changes, .. } if changes.is_empty()))
}

/// Returns one record, if the caller may read it, and the joined room.
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

/// Returns one record, or the part of it that the criteria show, which pick no other. Our runtime
/// follows such a part as it does that of a list; all other clients follow the record.
pub(crate) async fn find_one_with(
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
    let is_found = |records: &[Record]| !records.is_empty();
    let read = find_and_keep(cx, resource, criteria, is_found).await?;
    Ok(read.map(|mut records| records.pop()))
}

/// Returns one record that is stored elsewhere, and subscribes to it if there is such a record.
pub(crate) async fn find_one_external(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    record: impl Future<Output = Result<Option<Attributes>>> + Send,
) -> Result<Read<Option<Arc<Attributes>>>> {
    let read = async {
        let position = cx.engine().head(resource).await?;
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
    let access_scope = cx.access_scope(resource, Operation::Read).await?;
    let read = async {
        let Snapshot { value, position } = read.await?;
        let value = value.filter(|record| access_scope.includes(record));
        Ok::<_, Error>(Snapshot { value, position })
    };
    let Some(client) = cx.client() else {
        return Ok((read.await?, None));
    };
    let Some(rooms) = rooms_of_record(
        |room| may_join(cx.shared(), client, room),
        client,
        resource,
        id,
        &access_scope,
    ) else {
        return Ok((read.await?, None));
    };
    let joined = client.join_to_read(rooms.clone());
    let snapshot = read.await?;
    check_access(cx, client, resource, &access_scope).await?;
    if snapshot.value.is_some() {
        cx.keep_if_answered(joined);
    } else if client.dialect() != Dialect::Runtime {
        // Our runtime may know the record from before and wait for it to come again. Other clients
        // do not.
        rooms.iter().for_each(|room| client.leave(room));
    }
    Ok((snapshot, rooms.into_iter().next()))
}

/// Returns the record as the answer to a create or an update. In the dialects where a write
/// subscribes its author, the client joins the rooms of the record. The answer then has what others
/// changed before that.
pub(crate) async fn record_after_write(
    cx: &Context,
    change: &Change,
) -> Result<Option<Arc<Attributes>>> {
    let Some(client) = cx.client().filter(|client| follows_writes(client.dialect())) else {
        return Ok(change.after.clone());
    };
    let Change { resource, id, after, .. } = change;
    // A caller that may write a record may not always read it.
    let access_scope =
        cx.access_scope(resource, Operation::Read).await.unwrap_or(AccessScope::Nothing);
    let may_follow = after.as_ref().is_some_and(|after| access_scope.includes(after));
    let rooms = rooms_of_record(
        |room| may_join(cx.shared(), client, room),
        client,
        resource,
        id,
        &access_scope,
    )
    .filter(|_| may_follow);
    let Some(rooms) = rooms else { return Ok(after.clone()) };
    let joined = client.join_to_read(rooms.clone());
    check_access(cx, client, resource, &access_scope).await?;
    if !has_changed(cx, &Room::instance(resource.clone(), id.clone()), change.position).await? {
        cx.keep_if_answered(joined);
        return Ok(after.clone());
    }
    let now = cx.engine().find_one(resource, id).await?.value;
    let now = now.filter(|now| access_scope.includes(now));
    match now {
        Some(_) => cx.keep_if_answered(joined),
        None => rooms.iter().for_each(|room| client.leave(room)),
    }
    Ok(now.or_else(|| after.clone()))
}

/// Whether a write subscribes its author. Our runtime reads what it wants to follow; Sails began
/// with this after 0.9.
fn follows_writes(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::Sails | Dialect::Node)
}
