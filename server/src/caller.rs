//! The identity of a caller: reads the [`Principal`] of a session, and ends subscriptions when it
//! changes.
//!
//! The server reads the identity of a connection once and keeps it. When the session changes or
//! ends, the server reads it again and removes the connection from every room that it may no longer
//! be in. Our runtime then notices that it has lost its position and reads again. A stock client
//! receives events as if the records were destroyed.

use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{SessionEdit, StoredSession};
use backwire_environment::HashSet;
use backwire_records::access::{AccessScope, ExpiringPrincipal, Operation, Principal};
use backwire_records::change::{Change, Id, Resource, Room};
use backwire_records::criteria::{Collection, CollectionKey, Scope};
use serde_json::Value;

use crate::dialect::{Dialect, runtime};
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::socket::Client;
use crate::socket::adapter::socket::Arguments;

/// The keys of the identity in a session. Handlers do not use such keys for values of their own.
pub(crate) use backwire_engine::PERSON_KEY;
pub(crate) const ROLES: &str = "backwire.roles";

/// How often the server looks for sessions that have expired.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Returns the identity of a connection.
pub(crate) async fn of_client(shared: &Shared, client: &Client) -> Result<Principal> {
    let session = client.session(shared.sessions.cookies());
    loop {
        let (known, generation) = client.principal();
        if let Some(known) = known
            && (matches!(known.until, 0 | ExpiringPrincipal::NEVER)
                || !shared.sessions.needs_renewal(known.until, shared.environment.unix_millis()))
        {
            return Ok(known.principal);
        }
        let known = of_session(shared, &session).await?;
        // An identity that was read before a sign-out, for example, is outdated.
        if client.set_principal(&known, generation) {
            return Ok(known.principal);
        }
    }
}

/// Returns the identity of a session. This counts as a use of the session.
pub(crate) async fn of_session(shared: &Shared, id: &Arc<str>) -> Result<ExpiringPrincipal> {
    let (now, sessions) = (shared.environment.unix_millis(), shared.engine.sessions());
    let Some(StoredSession { values, mut until }) = sessions.load(id, now).await? else {
        return Ok(ExpiringPrincipal::default());
    };
    let Some(person) = values.get(PERSON_KEY).and_then(Id::from_json) else {
        return Ok(ExpiringPrincipal::default());
    };
    if shared.sessions.needs_renewal(until, now) {
        until = shared.sessions.expiry(now);
        sessions
            .edit(SessionEdit { id: id.clone(), at: now, until, ..SessionEdit::default() })
            .await?;
    }
    let roles = values.get(ROLES).and_then(Value::as_array).into_iter().flatten();
    let roles = roles.filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(ExpiringPrincipal { principal: Principal { person: Some(person), roles }, until })
}

/// Returns which records of a resource a caller may access, whether they have signed in or not. No
/// access is an error.
pub(crate) fn access_scope(
    shared: &Shared,
    of: &Resource,
    principal: &Principal,
    operation: Operation,
) -> Result<AccessScope> {
    let access = &shared.model(of)?.access;
    match access.scope_of(principal, operation) {
        AccessScope::Nothing
            if principal.is_signed_in() || !access.is_granted_to_anyone(operation) =>
        {
            Err(Error::Forbidden)
        }
        AccessScope::Nothing => Err(Error::Unauthenticated),
        access_scope => Ok(access_scope),
    }
}

/// Whether a connection of our runtime may be in a room.
pub(crate) async fn may_join(shared: &Shared, client: &Client, room: &Room) -> bool {
    let Some(model) = shared.models.of(room.resource()) else { return false };
    let collection = room.scope().and_then(Scope::collection);
    if model.access.is_open() && collection.is_none() {
        return true;
    }
    let principal = of_client(shared, client).await;
    principal.is_ok_and(|principal| {
        model.access.scope_of(&principal, Operation::Read).covers(room)
            && collection
                .is_none_or(|of| may_follow_members(shared, &principal, room.resource(), of))
    })
}

/// Whether a caller may know which records of this resource enter or leave a collection. They may
/// not if there are callers who may see only a part of these records, or of the records that have
/// the collections.
fn may_follow_members(
    shared: &Shared,
    principal: &Principal,
    members: &Resource,
    of: &Collection,
) -> bool {
    let CollectionKey { resource, attribute, .. } = &of.of;
    let Some(resource) = Resource::parse(resource) else { return false };
    let association = shared.models.associations().named(&resource, attribute);
    let is_whole = |of: &Resource| {
        !shared.models.hide_records_of(of)
            && access_scope(shared, of, principal, Operation::Read)
                .is_ok_and(|access_scope| access_scope == AccessScope::Whole)
    };
    association.is_some_and(|(_, it)| it.target == *members)
        && is_whole(&resource)
        && is_whole(members)
}

/// Signs a person out of all their sessions. Returns how many there were.
pub(crate) async fn sign_out_everywhere(shared: &Shared, person: &Id) -> Result<usize> {
    let (at, sessions) = (shared.environment.unix_millis(), shared.engine.sessions());
    let all = sessions.find_by_value(PERSON_KEY, &person.to_json(), at).await?;
    for id in &all {
        let set = [PERSON_KEY, ROLES].map(|key| (key.to_owned(), None)).into();
        let until = shared.sessions.expiry(at);
        sessions
            .edit(SessionEdit { id: id.clone(), set, at, until, ..SessionEdit::default() })
            .await?;
        session_changed(shared, id).await;
    }
    Ok(all.len())
}

/// Checks the connections of a session again.
pub(crate) async fn session_changed(shared: &Shared, session: &str) {
    let cookies = shared.sessions.cookies();
    for client in shared.sockets.all() {
        if &*client.session(cookies) == session {
            recheck_rooms(shared, &client).await;
        }
    }
}

/// Checks all connections again: any session may have changed.
pub(crate) async fn recheck_all(shared: &Shared) {
    for client in shared.sockets.all() {
        if client.principal().0.is_some() {
            recheck_rooms(shared, &client).await;
        }
    }
}

/// Checks connections again whose session has expired.
pub(crate) async fn watch_sessions(shared: Arc<Shared>) {
    loop {
        let interval = SESSION_CHECK_INTERVAL.min(shared.sessions.age());
        shared.environment.sleep(interval).await;
        for client in shared.sockets.all() {
            let now = shared.environment.unix_millis();
            let has_expired = |known: ExpiringPrincipal| known.until != 0 && known.until <= now;
            if client.principal().0.is_some_and(has_expired) {
                recheck_rooms(&shared, &client).await;
            }
        }
    }
}

/// Removes a connection from the rooms that it may no longer be in. If its session cannot be read,
/// it counts as anonymous, and its rights are read again when the store is back.
pub(crate) async fn recheck_rooms(shared: &Shared, client: &Client) {
    client.forget_principal();
    let principal = of_client(shared, client).await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read the session of a connection; it counts as anonymous");
        Principal::default()
    });
    // Before the connection leaves the room of a part, a change may still add it to the room of a
    // record. So this repeats until there are no other rooms.
    let mut kept = HashSet::default();
    loop {
        let mut others = client.record_rooms();
        others.retain(|room| !kept.contains(room));
        // A closed connection leaves all of its rooms anyway.
        if others.is_empty() || !client.is_connected() {
            return;
        }
        for room in others {
            if may_follow(shared, client, &principal, &room).await {
                kept.insert(room);
            } else {
                remove_from_room(shared, client, &room).await;
            }
        }
    }
}

/// Whether a caller may be in a room.
async fn may_follow(shared: &Shared, client: &Client, principal: &Principal, room: &Room) -> bool {
    let Ok(access_scope) = access_scope(shared, room.resource(), principal, Operation::Read) else {
        return false;
    };
    match (&access_scope, room) {
        // A stock client receives the changes of its records in this room. It is removed when it
        // may no longer read the record.
        (AccessScope::Part(_), Room::Instance(_, id)) if client.dialect().is_stock() => {
            let record = shared.engine.find_one(room.resource(), id).await.ok();
            let record = record.and_then(|snapshot| snapshot.value);
            record.is_some_and(|record| access_scope.includes(&record))
        }
        _ => {
            let collection = room.scope().and_then(Scope::collection);
            access_scope.covers(room)
                && collection
                    .is_none_or(|of| may_follow_members(shared, principal, room.resource(), of))
        }
    }
}

async fn remove_from_room(shared: &Shared, client: &Client, room: &Room) {
    shared.sockets.remove_client(client, room).await;
    match (client.dialect(), room) {
        (Dialect::Runtime, _) => {
            let push = runtime::invalidation(room);
            client.send_or_disconnect(runtime::EVENT, Arguments::Push(&push));
        }
        (dialect, Room::Instance(resource, id)) => {
            if let Some((event, payload)) =
                dialect.change_event(&Change::synthetic_destroy(resource, id))
            {
                client.send_or_disconnect(&event, Arguments::One(&payload));
            }
        }
        _ => {}
    }
}
