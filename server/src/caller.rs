//! Who asks: from a session to [`Who`], and what ends when that changes.
//!
//! A connection is asked once and remembers. Whenever its session is told otherwise, or ends, it is
//! asked again, and leaves every room that it may no longer be in: our runtime then finds it has lost
//! its place and reads again, a stock client is told that the records are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{Edit, Held};
use backwire_records::access::{Act, Known, Reach, Who};
use backwire_records::change::{Change, Id, Resource, Room};
use backwire_records::criteria::Collection;
use serde_json::Value;

use crate::clock::now;
use crate::dialect::{Dialect, runtime};
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::socket::Client;

/// The keys under which a session says who somebody is: such as no handler takes for its own.
pub(crate) use backwire_engine::PERSON;
pub(crate) const ROLES: &str = "backwire.roles";

/// How often it is looked for sessions that have ended by themselves.
const ROUND: Duration = Duration::from_secs(60);

/// Who is at the other end of a connection.
pub(crate) async fn of_client(shared: &Shared, client: &Client) -> Result<Who> {
    let session = client.session(shared.sessions.cookies());
    loop {
        let (known, round) = client.known();
        if let Some(known) = known
            && (matches!(known.until, 0 | Known::FOR_EVER)
                || !shared.sessions.is_to_be_renewed(known.until, now()))
        {
            return Ok(known.who);
        }
        let known = self::known(shared, &session).await?;
        // What was read before somebody signed out, say, holds no longer.
        if client.know(&known, round) {
            return Ok(known.who);
        }
    }
}

/// Who has signed in, in a session. To ask is to use it.
pub(crate) async fn known(shared: &Shared, id: &Arc<str>) -> Result<Known> {
    let (now, sessions) = (now(), shared.engine.sessions());
    let Some(Held { values, mut until }) = sessions.load(id, now).await? else {
        return Ok(Known::default());
    };
    let Some(person) = values.get(PERSON).and_then(Id::from_json) else {
        return Ok(Known::default());
    };
    if shared.sessions.is_to_be_renewed(until, now) {
        until = shared.sessions.until(now);
        sessions.edit(Edit { id: id.clone(), at: now, until, ..Edit::default() }).await?;
    }
    let roles = values.get(ROLES).and_then(Value::as_array).into_iter().flatten();
    let roles = roles.filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Known { who: Who { person: Some(person), roles }, until })
}

/// What of a resource is left to a caller, who may or may not have signed in.
pub(crate) fn reach(shared: &Shared, of: &Resource, who: &Who, act: Act) -> Result<Reach> {
    let access = &shared.model(of)?.access;
    match access.reach(who, act) {
        Reach::Nothing if who.is_signed_in() || !access.is_for_anybody(act) => {
            Err(Error::Forbidden)
        }
        Reach::Nothing => Err(Error::Unknown),
        reach => Ok(reach),
    }
}

/// Whether a connection of our runtime may be in a room.
pub(crate) async fn may_join(shared: &Shared, client: &Client, room: &Room) -> bool {
    let Some(model) = shared.models.of(&room.resource) else { return false };
    let collection = room.scope().and_then(|scope| scope.collection().cloned());
    if model.access.is_open() && collection.is_none() {
        return true;
    }
    let who = of_client(shared, client).await;
    who.is_ok_and(|who| {
        model.access.reach(&who, Act::Read).covers(room)
            && collection.is_none_or(|of| may_know(shared, &who, &room.resource, &of))
    })
}

/// Whether somebody may know who enters or leaves a collection of records of this resource: not where some may see
/// only a part of them, or of those whose collections they are.
fn may_know(shared: &Shared, who: &Who, members: &Resource, of: &Collection) -> bool {
    let (resource, _, attribute) = &of.of;
    let Some(resource) = Resource::parse(resource) else { return false };
    let association = shared.models.associations().named(&resource, attribute);
    let is_whole = |of: &Resource| {
        !shared.models.hide_records_of(of)
            && reach(shared, of, who, Act::Read).is_ok_and(|reach| reach == Reach::Whole)
    };
    association.is_some_and(|(_, it)| it.target == *members)
        && is_whole(&resource)
        && is_whole(members)
}

/// Signs a person out of all their sessions. Returns how many there were.
pub(crate) async fn sign_out_everywhere(shared: &Shared, person: &Id) -> Result<usize> {
    let (at, sessions) = (now(), shared.engine.sessions());
    let all = sessions.holding(PERSON, &person.to_json(), at).await?;
    for id in &all {
        let set = [PERSON, ROLES].map(|key| (key.to_owned(), None)).into();
        let until = shared.sessions.until(at);
        sessions.edit(Edit { id: id.clone(), set, at, until, ..Edit::default() }).await?;
        changed(shared, id).await;
    }
    Ok(all.len())
}

/// Asks the connections of a session again.
pub(crate) async fn changed(shared: &Shared, session: &str) {
    let cookies = shared.sessions.cookies();
    for client in shared.sockets.all() {
        if &*client.session(cookies) == session {
            ask_again(shared, &client).await;
        }
    }
}

/// Asks those again whose session has ended since.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(ROUND.min(shared.sessions.age())).await;
        for client in shared.sockets.all() {
            let is_over = |known: Known| known.until != 0 && known.until <= now();
            if client.known().0.is_some_and(is_over) {
                ask_again(&shared, &client).await;
            }
        }
    }
}

/// Whoever cannot be asked is nobody: what they may hear is found out when the store is back.
pub(crate) async fn ask_again(shared: &Shared, client: &Client) {
    client.forget();
    let who = of_client(shared, client).await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot tell who is at the other end of a connection");
        Who::default()
    });
    // Before it is taken out of the room of a part, it may be led from there into that of a record once more.
    let mut kept = HashSet::new();
    loop {
        let mut others = client.followed();
        others.retain(|room| !kept.contains(room));
        // One that is gone leaves nothing, and is in nothing before long.
        if others.is_empty() || !client.is_connected() {
            return;
        }
        for room in others {
            if may_follow(shared, client, &who, &room).await {
                kept.insert(room);
            } else {
                withdraw(shared, client, &room).await;
            }
        }
    }
}

/// Whether somebody may be in a room.
async fn may_follow(shared: &Shared, client: &Client, who: &Who, room: &Room) -> bool {
    let Ok(reach) = reach(shared, &room.resource, who, Act::Read) else {
        return false;
    };
    match (&reach, &room.id, &room.scope) {
        // A stock client hears of its records there, and is led out when they are no longer its own.
        (Reach::Part(_), Some(id), None) if client.dialect().is_stock() => {
            let record = shared.engine.find_one(&room.resource, id).await.ok();
            let record = record.and_then(|snapshot| snapshot.value);
            record.is_some_and(|record| reach.includes(&record))
        }
        _ => {
            let collection = room.scope().and_then(|scope| scope.collection().cloned());
            reach.covers(room)
                && collection.is_none_or(|of| may_know(shared, who, &room.resource, &of))
        }
    }
}

async fn withdraw(shared: &Shared, client: &Client, room: &Room) {
    shared.sockets.take_out(client, room).await;
    match (client.dialect(), &room.id) {
        (Dialect::Runtime, _) => client.tell(runtime::EVENT, &runtime::lost(room)),
        (dialect, Some(id)) if room.scope.is_none() => {
            if let Some((event, news)) = dialect.news(&Change::gone(&room.resource, id)) {
                client.tell(&event, &news);
            }
        }
        _ => {}
    }
}
