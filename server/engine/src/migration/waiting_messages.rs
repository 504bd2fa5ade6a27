//! The messages that wait in a SocketIO Web Service.

use std::collections::BTreeMap;

use backwire_records::messages::rules::Ttl;

/// Settings for reading the queues of a SocketIO Web Service, which do not contain them.
#[derive(Debug, Clone)]
pub struct WaitingMessages {
    /// The prefixes of the rooms of single persons, by site. Other rooms and sites have no queues.
    pub user_room_prefixes: BTreeMap<String, String>,
    /// How long messages without an end of their own are kept, from the migration on.
    pub ttl: Ttl,
}
