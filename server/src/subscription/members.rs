//! Following the members of a many-to-many.
//!
//! Nothing of a record tells which pairs it is in. So who is in a collection is found first, and what is followed
//! then is the filter of their ids, in a room whose name says whose collection it is and where the log of the pairs
//! stood. What happens to the members is heard of there as in the room of any filter. When there are other pairs
//! the room is lost: a resume of it finds them in that log, and to read again is to follow another room.
//!
//! No name is ever that of a room that was lost, so nobody comes back to one.

use std::collections::BTreeSet;

use backwire_engine::{Record, Since};
use backwire_records::change::{Id, Resource, Room};
use backwire_records::criteria::{Collection, Criteria, Scope};

use super::read::{Read, summary};
use super::{find_along, is_stock};
use crate::caller;
use crate::context::Context;
use crate::dialect::{Dialect, runtime};
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::socket::Client;

/// How far back in the log of the pairs it is looked for changes, to follow what others follow already.
const NEAR: u64 = 100;

/// Of the members of a collection, which have these ids, those that the criteria pick. Our runtime follows them;
/// for everyone else they come along.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    criteria: Criteria,
    ids: &BTreeSet<Id>,
    of: Collection,
) -> Result<Read<Vec<Record>>> {
    // As in a read of a resource, an answer that the server's own limit may have shortened is a
    // part.
    let cut = criteria.cut_at(ids.len()).filter(|_| !is_stock(cx));
    let criteria = cut.unwrap_or(criteria);
    let key = criteria.key.clone();
    let picked = criteria.clone().and_holding(&key, ids);
    let scope = scope(resource, [&picked, &criteria], &of);
    let query = summary(cx, resource, &criteria, scope.as_ref().unwrap_or(&Scope::of(&picked)));
    let Some((client, of, room)) = room(cx, resource, scope, of).await? else {
        let snapshot = find_along(cx, resource, &picked, cx.reads()).await?;
        return Ok(Read { snapshot, room: None, query });
    };
    client.join([room.clone()]);
    let snapshot = find_along(cx, resource, &picked, cx.reads()).await?;
    // What was paired before the room was joined was told to nobody there.
    if have_changed(cx.shared(), &of).await? {
        client.tell(runtime::EVENT, &runtime::lost(&room));
    }
    if !caller::may_join(cx.shared(), client, &room).await {
        caller::ask_again(cx.shared(), client).await;
        return Err(Error::Forbidden);
    }
    Ok(Read { snapshot, room: Some(room), query })
}

/// The scope of the members that is followed: a filter by their ids, or a part if there are too
/// many ids. Then any changed record may be a member.
fn scope(resource: &Resource, criteria: [&Criteria; 2], of: &Collection) -> Option<Scope> {
    let [picked, criteria] = criteria;
    let scopes = [Scope::of(picked), Scope::part_of(criteria)];
    scopes.into_iter().find(|scope| members_room(resource, of, scope).is_some())
}

fn members_room(resource: &Resource, of: &Collection, scope: &Scope) -> Option<Room> {
    let members = Scope::Members(of.clone(), Box::new(scope.clone()));
    Room::scoped(resource.clone(), &members)
}

/// The room to join, if there is one for the caller.
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
    let of = as_others(cx.shared(), resource, &of, &scope).await?;
    let Some(room) = members_room(resource, &of, &scope) else { return Ok(None) };
    let is_open = super::may_join(cx.shared(), client, &room)
        && caller::may_join(cx.shared(), client, &room).await;
    Ok(is_open.then_some((client, of, room)))
}

/// The collection as others have read it, if it has the same members still: then all are in one room, and each
/// change is looked at once for all of them.
async fn as_others(
    shared: &Shared,
    resource: &Resource,
    of: &Collection,
    scope: &Scope,
) -> Result<Collection> {
    let names = shared.sockets.of_members(Dialect::Runtime, resource, &of.of);
    let others = names.iter().filter_map(|name| match Room::parse(name)?.scope()? {
        Scope::Members(other, theirs) => (*theirs == *scope).then_some(other),
        _ => None,
    });
    let is_near = |other: &Collection| {
        let [mine, theirs] = [of, other].map(Collection::position);
        mine.epoch == theirs.epoch && mine.offset.saturating_sub(theirs.offset) <= NEAR
    };
    match others.filter(is_near).min_by_key(|other| other.position().offset) {
        Some(other) if !have_changed(shared, &other).await? => Ok(other),
        _ => Ok(of.clone()),
    }
}

/// Whether any have entered or left a collection since its pairs were read.
pub(crate) async fn have_changed(shared: &Shared, of: &Collection) -> Result<bool> {
    let associations = shared.models.associations();
    let Some(join) = associations.join_of(of) else { return Ok(true) };
    Ok(match shared.engine.since(&Room::class(join), of.position()).await? {
        Since::Changes { changes, .. } => {
            let all = changes.iter().flat_map(|change| associations.memberships(change));
            all.into_iter().any(|it| it.collection() == of.of)
        }
        Since::OutOfReach => true,
    })
}
