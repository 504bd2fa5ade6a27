//! Who asks: from a session to [`Who`], and what ends when that changes.
//!
//! A connection is asked once and remembers. Whenever its session is told otherwise, or ends, it is
//! asked again, and leaves every room that it may no longer be in: our runtime then finds it has lost
//! its place and reads again, a stock client is told that the records are gone.

use std::sync::Arc;
use std::time::Duration;

use crate::access::{Act, Reach, Who};
use crate::change::{Change, Resource, Room};
use crate::clock::now;
use crate::context::Site;
use crate::dialect::{Dialect, runtime};
use crate::error::{Error, Result};
use crate::session;
use crate::socket::Client;

/// How often it is looked for sessions that have ended by themselves.
const ROUND: Duration = Duration::from_secs(60);

/// Who somebody is, and until when that holds unless they come again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) who: Who,
    /// Unix milliseconds; 0 for nobody in particular.
    pub(crate) until: u64,
}

impl Known {
    /// Until it is gone: told by a site when it connected.
    pub(crate) const FOR_EVER: u64 = u64::MAX;
}

/// Who is at the other end of a connection.
pub(crate) async fn of_client(site: &Site, client: &Client) -> Result<Who> {
    if let Some(known) = client.known()
        && (matches!(known.until, 0 | Known::FOR_EVER)
            || !site.sessions.is_to_be_renewed(known.until, now()))
    {
        return Ok(known.who);
    }
    let session = client.session(site.sessions.cookies());
    let known = session::known(site, &session).await?;
    client.know(known.clone());
    Ok(known.who)
}

/// What of a resource is left to a caller, who may or may not have signed in.
pub(crate) fn reach(site: &Site, of: &Resource, who: &Who, act: Act) -> Result<Reach> {
    let model = site.models.of(of).ok_or_else(|| Error::NoRoute(format!("/{of}")))?;
    match model.access.reach(who, act) {
        Reach::Nothing if who.is_signed_in() => Err(Error::Forbidden),
        Reach::Nothing => Err(Error::Unknown),
        reach => Ok(reach),
    }
}

/// Whether a connection of our runtime may be in a room.
pub(crate) async fn may_join(site: &Site, client: &Client, room: &Room) -> bool {
    let Some(model) = site.models.of(&room.resource) else { return false };
    if model.access.is_open() {
        return true;
    }
    let who = of_client(site, client).await;
    who.is_ok_and(|who| model.access.reach(&who, Act::Read).covers(room))
}

/// Asks the connections of a session again.
pub(crate) async fn changed(site: &Site, session: &str) {
    let cookies = site.sessions.cookies();
    for client in site.sockets.all() {
        if &*client.session(cookies) == session {
            ask_again(site, &client).await;
        }
    }
}

/// Asks those again whose session has ended since.
pub(crate) async fn watch(site: Arc<Site>) {
    loop {
        tokio::time::sleep(ROUND.min(site.sessions.age())).await;
        for client in site.sockets.all() {
            let is_over = |known: Known| known.until != 0 && known.until <= now();
            if client.known().is_some_and(is_over) {
                ask_again(&site, &client).await;
            }
        }
    }
}

/// Whoever can not be asked is nobody: what they may hear is found out when the store is back.
pub(crate) async fn ask_again(site: &Site, client: &Client) {
    client.forget();
    let who = of_client(site, client).await.unwrap_or_else(|error| {
        tracing::error!(%error, "can not tell who is at the other end of a connection");
        Who::default()
    });
    for room in client.followed() {
        if !may_follow(site, client, &who, &room).await {
            withdraw(client, &room);
        }
    }
}

/// Whether somebody may be in a room.
async fn may_follow(site: &Site, client: &Client, who: &Who, room: &Room) -> bool {
    let Ok(reach) = reach(site, &room.resource, who, Act::Read) else {
        return false;
    };
    match (&reach, &room.id, &room.scope) {
        // A stock client hears of its records there, and is led out when they are no longer its own.
        (Reach::Part(_), Some(id), None) if client.dialect().is_stock() => {
            let record = site.engine.find_one(&room.resource, id).await.ok();
            let record = record.and_then(|snapshot| snapshot.value);
            record.is_some_and(|record| reach.includes(&record))
        }
        _ => reach.covers(room),
    }
}

fn withdraw(client: &Client, room: &Room) {
    client.leave(room);
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
