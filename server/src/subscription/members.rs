//! Reads and follows the members of a many-to-many association.
//!
//! No attribute of a record shows which pairs it is in. So the members of a collection are read
//! first, and the client follows a filter of their ids. The name of its room has the collection and
//! the position of the log of the pairs. Changes of the members are pushed there as in the room of
//! any filter. When there are other pairs, the room is invalidated: a resume of it finds them in
//! that log, and the client reads again and follows another room.
//!
//! The name of an invalidated room is never used again, so no client comes back to one.

use std::collections::BTreeSet;

use backwire_engine::{ChangesSince, Record};
use backwire_records::change::{Id, Resource, Room};
use backwire_records::criteria::{Collection, Criteria, Scope};

use super::read::{Read, summary};
use super::{find_associated, is_stock};
use crate::caller;
use crate::context::Context;
use crate::dialect::{Dialect, runtime};
use crate::error::{Error, Result};
use crate::socket::Client;
use crate::socket::adapter::socket::Arguments;

/// The maximum distance in the log of the pairs to an earlier read whose room a new read may join.
const MAX_SHARED_DISTANCE: u64 = 100;

/// Returns those of the members of a collection, which have these ids, that the criteria pick. Our
/// runtime follows them; other callers read them as associated records.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
    ids: &BTreeSet<Id>,
    of: Collection,
) -> Result<Read<Vec<Record>>> {
    // As in a read of a resource, an answer that the server's own limit may have shortened is a
    // part.
    let cut = criteria.limited_if_truncated(ids.len()).filter(|_| !is_stock(cx));
    let criteria = cut.unwrap_or(criteria);
    let key = criteria.key.clone();
    let picked = criteria.clone().and_attribute_in(&key, ids);
    let scope = scope(resource, [&picked, &criteria], &of);
    let query = summary(cx, resource, &criteria, scope.as_ref().unwrap_or(&Scope::of(&picked)));
    let Some((client, of, room)) = room(cx, resource, scope, of).await? else {
        let snapshot = find_associated(cx, resource, &picked, cx.reads()).await?;
        return Ok(Read { snapshot, room: None, query });
    };
    let joined = client.join_to_read([room.clone()]);
    let snapshot = find_associated(cx, resource, &picked, cx.reads()).await?;
    // Changes of the pairs before the room was joined were not sent to this client.
    if members_changed(cx, &of).await? {
        let push = runtime::invalidation(&room);
        client.send_or_disconnect(runtime::EVENT, Arguments::Push(&push));
    }
    if !caller::may_join(cx.shared(), client, &room).await {
        caller::recheck_rooms(cx.shared(), client).await;
        return Err(Error::Forbidden);
    }
    cx.keep_if_answered(joined);
    Ok(Read { snapshot, room: Some(room), query })
}

/// Returns the scope that is followed: a filter by the ids of the members, or a part if there are
/// too many ids. Then any changed record may be a member.
fn scope(resource: &Resource, criteria: [&Criteria; 2], of: &Collection) -> Option<Scope> {
    let [picked, criteria] = criteria;
    let scopes = [Scope::of(picked), Scope::part_of(criteria)];
    scopes.into_iter().find(|scope| members_room(resource, of, scope).is_some())
}

fn members_room(resource: &Resource, of: &Collection, scope: &Scope) -> Option<Room> {
    let members = Scope::Members(of.clone(), Box::new(scope.clone()));
    Room::scoped(resource.clone(), members)
}

/// Returns the room to join, if there is one for the caller.
async fn room<'a>(
    cx: &'a Context,
    resource: &Resource,
    scope: Option<Scope>,
    of: Collection,
) -> Result<Option<(&'a Client, Collection, Room)>> {
    let Some(client) = cx.client().filter(|client| client.dialect() == Dialect::Runtime) else {
        return Ok(None);
    };
    let Some(scope) = scope else { return Ok(None) };
    let of = shared_collection(cx, resource, &of, &scope).await?;
    let Some(room) = members_room(resource, &of, &scope) else { return Ok(None) };
    let is_open = super::may_join(cx.shared(), client, &room)
        && caller::may_join(cx.shared(), client, &room).await;
    Ok(is_open.then_some((client, of, room)))
}

/// Returns the collection as others have read it, if it still has the same members. Then all
/// clients are in one room, and each change is checked once for all of them.
async fn shared_collection(
    cx: &Context,
    resource: &Resource,
    of: &Collection,
    scope: &Scope,
) -> Result<Collection> {
    let rooms = cx.shared().sockets.member_rooms(Dialect::Runtime, resource, &of.of);
    let others = rooms.iter().filter_map(|room| match room.scope()? {
        Scope::Members(other, theirs) => (**theirs == *scope).then_some(other),
        _ => None,
    });
    let is_near = |other: &&Collection| {
        let [mine, theirs] = [of, *other].map(Collection::position);
        mine.epoch == theirs.epoch
            && mine.offset.saturating_sub(theirs.offset) <= MAX_SHARED_DISTANCE
    };
    match others.filter(is_near).min_by_key(|other| other.position().offset) {
        Some(other) if !members_changed(cx, other).await? => Ok(other.clone()),
        _ => Ok(of.clone()),
    }
}

/// Whether records have entered or left a collection since its pairs were read. If there is no
/// memory to find out, they may have.
async fn members_changed(cx: &Context, of: &Collection) -> Result<bool> {
    let associations = cx.associations();
    let Some(join) = associations.join_of(of) else { return Ok(true) };
    let client = cx.reads().client;
    let memory = cx.shared().shared_logs.memory(client);
    let options = memory.read_options();
    let since = cx.engine().changes_since_for(&Room::class(join), of.position(), &options).await?;
    if let Some(limit) = memory.refused() {
        cx.shared().limits.reached(limit, client);
    }
    Ok(match since {
        ChangesSince::Changes { changes, .. } => {
            let all = changes.iter().flat_map(|change| associations.memberships(change));
            all.into_iter().any(|it| it.collection() == of.of)
        }
        ChangesSince::OutOfReach => true,
    })
}
