//! The connections to sites, so that those of a person can be ended when their rights change.
//!
//! Invariant: a client that was authenticated before a revocation is disconnected by it, or not
//! connected at all. The connection is added to the list before its session begins, and it is
//! refused if anything was revoked since its authentication. So an answer of the site's back end
//! from before a revocation admits no client after it.

use std::sync::Arc;

use backwire_environment::HashMap;
use backwire_protocol::planted;
use http::HeaderValue;
use parking_lot::Mutex;

use super::site_client::SiteClient;
use crate::announcements;
use crate::sites::{Name, Site};
use crate::socket::site_connection::SiteConnection;

/// Which connections are ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// The connections of a person: one of their rooms is the site's prefix followed by this text.
    User(String),
    /// The connections that were authenticated with this token.
    Session(String),
    /// The same with the [hash](announcements::hash_of) of their `Authorization` header.
    HashedSession(String),
}

/// The connections to all sites.
#[derive(Clone, Default)]
pub(super) struct SiteConnections(Arc<Mutex<HashMap<Name, ConnectionsOfSite>>>);

#[derive(Default)]
struct ConnectionsOfSite {
    /// How many revocations there were.
    revocations: u64,
    connections: HashMap<u64, Connection>,
    last_number: u64,
}

struct Connection {
    site: Arc<Site>,
    rooms: Arc<[String]>,
    authorization: Option<HeaderValue>,
    handle: SiteConnection,
}

/// Keeps a connection in the list until it is dropped.
pub(super) struct ConnectionRegistration {
    connections: SiteConnections,
    name: Name,
    number: u64,
}

impl SiteConnections {
    /// Returns how many revocations there have been at a site.
    pub(super) fn revocations(&self, name: &Name) -> u64 {
        self.0.lock().get(name).map_or(0, |site| site.revocations)
    }

    /// Adds a connection. Returns `None` if anything was revoked since its client was
    /// authenticated.
    pub(super) fn add(
        &self,
        site_client: &SiteClient,
        handle: &SiteConnection,
    ) -> Option<ConnectionRegistration> {
        let mut all = self.0.lock();
        let site = all.entry(site_client.name.clone()).or_default();
        if site.revocations != site_client.revocations {
            return None;
        }
        site.last_number += 1;
        let connection = Connection {
            site: Arc::clone(&site_client.site),
            rooms: Arc::clone(&site_client.rooms),
            authorization: site_client.authorization.clone(),
            handle: handle.clone(),
        };
        site.connections.insert(site.last_number, connection);
        let (connections, name) = (self.clone(), site_client.name.clone());
        Some(ConnectionRegistration { connections, name, number: site.last_number })
    }

    /// Returns the connections that a revocation ends. Clients whose authentication began before it
    /// are authenticated again.
    pub(super) fn revoke(&self, name: &Name, revocation: &Revocation) -> Vec<SiteConnection> {
        let mut all = self.0.lock();
        let site = all.entry(name.clone()).or_default();
        site.revocations += 1;
        let mut connections: Vec<_> = site.connections.iter().collect();
        connections.retain(|(_, connection)| connection.matches(revocation));
        if planted::has("revocation-ignored") {
            connections.clear();
        }
        connections.into_iter().map(|(_, connection)| connection.handle.clone()).collect()
    }
}

impl Connection {
    fn matches(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::User(user) => {
                let prefix = self.site.user_room_prefix.as_deref().unwrap_or_default();
                self.rooms.iter().any(|room| room.strip_prefix(prefix) == Some(user))
            }
            Revocation::HashedSession(hash) => {
                let header = self.authorization.as_ref();
                header.is_some_and(|it| announcements::hash_of(it.as_bytes()) == *hash)
            }
            Revocation::Session(token) => {
                let header = self.site.auth_scheme.header(token);
                header.is_some() && header == self.authorization
            }
        }
    }
}

impl Drop for ConnectionRegistration {
    fn drop(&mut self) {
        if let Some(site) = self.connections.0.lock().get_mut(&self.name) {
            site.connections.remove(&self.number);
        }
    }
}
