//! The connections to sites, so that those of a person can be ended when their rights change.
//!
//! Invariant: a client that was let in before a revocation is ended by it or not let in: it is among the
//! connections when it is attended to, and looks for later revocations after that. So what its site's back
//! end has answered before the revocation lets nobody in after it.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use parking_lot::Mutex;

use super::guest::Guest;
use crate::sites::{Name, Site};
use crate::socket::site::Line;

/// Whose connections are ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// Those of a person: whose own room has this after its prefix.
    User(String),
    /// Those that came with this token.
    Session(String),
}

/// The connections to all sites.
#[derive(Clone, Default)]
pub(super) struct Connected(Arc<Mutex<HashMap<Name, OfSite>>>);

#[derive(Default)]
struct OfSite {
    /// Grows with each revocation.
    round: u64,
    connections: HashMap<u64, Connection>,
    last: u64,
}

struct Connection {
    site: Arc<Site>,
    rooms: Arc<[String]>,
    authorization: Option<HeaderValue>,
    line: Line,
}

/// A connection that is among them until this is dropped.
pub(super) struct Registered {
    connected: Connected,
    name: Name,
    number: u64,
}

impl Connected {
    /// How many revocations there have been at a site.
    pub(super) fn round(&self, name: &Name) -> u64 {
        self.0.lock().get(name).map_or(0, |site| site.round)
    }

    /// Adds a connection. `None` if anything was revoked since its client was let in.
    pub(super) fn add(&self, guest: &Guest, line: &Line) -> Option<Registered> {
        let mut all = self.0.lock();
        let site = all.entry(guest.name.clone()).or_default();
        if site.round != guest.round {
            return None;
        }
        site.last += 1;
        let connection = Connection {
            site: Arc::clone(&guest.site),
            rooms: Arc::clone(&guest.rooms),
            authorization: guest.authorization.clone(),
            line: line.clone(),
        };
        site.connections.insert(site.last, connection);
        let (connected, name) = (self.clone(), guest.name.clone());
        Some(Registered { connected, name, number: site.last })
    }

    /// The connections that a revocation ends. From now on those who are let in are asked again.
    pub(super) fn revoke(&self, name: &Name, revocation: &Revocation) -> Vec<Line> {
        let mut all = self.0.lock();
        let site = all.entry(name.clone()).or_default();
        site.round += 1;
        let mut connections: Vec<_> = site.connections.iter().collect();
        connections.retain(|(_, connection)| connection.is_of(revocation));
        connections.into_iter().map(|(_, connection)| connection.line.clone()).collect()
    }
}

impl Connection {
    fn is_of(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::User(user) => {
                let prefix = self.site.user_room_prefix.as_deref().unwrap_or_default();
                self.rooms.iter().any(|room| room.strip_prefix(prefix) == Some(user))
            }
            Revocation::Session(token) => {
                let header = self.site.auth_scheme.header(token);
                header.is_some() && header == self.authorization
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(site) = self.connected.0.lock().get_mut(&self.name) {
            site.connections.remove(&self.number);
        }
    }
}
