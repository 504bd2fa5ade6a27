//! The connected clients that messages of back ends are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backwire_environment::HashMap;
use backwire_records::messages::flake::Flake;
use backwire_records::messages::message::Message;
use parking_lot::Mutex;

use super::arrivals::{Arrival, Arrivals};

/// The recipients of messages, by site and room.
#[derive(Clone, Default)]
pub(super) struct Recipients(Arc<Mutex<BySiteAndRoom<Vec<Recipient>>>>);

type BySiteAndRoom<T> = HashMap<(Arc<str>, Arc<str>), T>;

/// The arrivals of one connection, which messages for it are put into.
#[derive(Clone)]
struct Recipient {
    number: u64,
    arrivals: Arrivals,
}

/// The registration of a recipient in its rooms. Dropping it removes the recipient from all of
/// them.
pub(super) struct RecipientRegistration {
    recipients: Recipients,
    site: Arc<str>,
    rooms: Vec<Arc<str>>,
    number: u64,
    pub(super) arrivals: Arrivals,
}

impl Recipients {
    /// Registers a recipient in rooms of a site. From now on, messages for these rooms arrive.
    pub(super) fn register(&self, site: Arc<str>, rooms: &[String]) -> RecipientRegistration {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let arrivals = Arrivals::default();
        let (recipients, recipient) =
            (self.clone(), Recipient { number, arrivals: arrivals.clone() });
        // The site's back end may have named a room twice.
        let rooms: BTreeSet<_> = rooms.iter().map(String::as_str).collect();
        let rooms: Vec<Arc<str>> = rooms.into_iter().map(Arc::from).collect();
        let mut by_room = self.0.lock();
        for room in &rooms {
            let at = (Arc::clone(&site), Arc::clone(room));
            by_room.entry(at).or_default().push(recipient.clone());
        }
        drop(by_room);
        RecipientRegistration { recipients, site, rooms, number, arrivals }
    }

    /// Has all recipients read their queues.
    pub(super) fn read_queues(&self) {
        for recipient in self.0.lock().values().flatten() {
            recipient.arrivals.read_queues();
        }
    }

    /// Delivers a message to each connection once, however many of its rooms it is for. A
    /// connection that gets it as a person, under this id, does not get it again as a member of
    /// another room.
    pub(super) fn deliver(
        &self,
        (site, persons, message): (&Arc<str>, &[Arc<str>], &Arc<Message>),
        id: Option<Flake>,
    ) {
        let mut found: BTreeMap<u64, (Recipient, Vec<Arc<str>>)> = BTreeMap::new();
        let persons: BTreeSet<_> = persons.iter().collect();
        let by_room = self.0.lock();
        for room in &message.rooms {
            let room: Arc<str> = room.as_str().into();
            for recipient in by_room.get(&(site.clone(), room.clone())).into_iter().flatten() {
                let entry = found.entry(recipient.number);
                let (_, own) = entry.or_insert_with(|| (recipient.clone(), Vec::new()));
                own.extend(persons.contains(&room).then(|| room.clone()));
            }
        }
        drop(by_room);
        for (recipient, persons) in found.into_values() {
            let id = id.filter(|_| !persons.is_empty());
            recipient.arrivals.put(Arrival { id, message: Arc::clone(message), persons });
        }
    }
}

impl Drop for RecipientRegistration {
    fn drop(&mut self) {
        let mut by_room = self.recipients.0.lock();
        for room in &self.rooms {
            let at = (Arc::clone(&self.site), Arc::clone(room));
            if let Some(others) = by_room.get_mut(&at) {
                others.retain(|recipient| recipient.number != self.number);
                if others.is_empty() {
                    by_room.remove(&at);
                }
            }
        }
    }
}
