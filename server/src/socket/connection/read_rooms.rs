//! The rooms that a client joins to read their records.

use std::mem::{replace, take};
use std::sync::Arc;

use backwire_environment::HashSet;
use backwire_records::change::Room;
use parking_lot::Mutex;

use super::Client;
use crate::rooms;

impl Client {
    /// Joins rooms before their records are read. The client stays in them if the read is
    /// [kept](ReadRooms::keep), or if it was in them before.
    pub(crate) fn join_to_read(&self, rooms: impl IntoIterator<Item = Room>) -> ReadRooms {
        let mut joined = ReadRooms { client: self.clone(), new: Vec::new() };
        joined.join(rooms);
        joined
    }
}

/// Rooms that a client has joined for a read which is not over yet.
///
/// A client does not follow what it has not read: it would miss the changes that are pushed in such
/// a room only. So when the value is dropped, the client leaves the rooms again, except those that
/// it was in before, and those for which another read is in progress or was kept.
#[must_use = "the client leaves the rooms when this is dropped"]
pub(crate) struct ReadRooms {
    client: Client,
    /// The rooms that the client is in for reads only, each with a value that all these reads
    /// share.
    new: Vec<(Room, Arc<()>)>,
}

impl ReadRooms {
    /// Joins more rooms.
    pub(crate) fn join(&mut self, rooms: impl IntoIterator<Item = Room>) {
        let rooms: Vec<_> = rooms.into_iter().collect();
        let client = &self.client;
        let mut memberships = client.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else { return };
        let is_stock = client.dialect().is_stock();
        // The memberships do not have each room that a stock client is in.
        let joined = if is_stock { client.socket.rooms() } else { Vec::new() };
        let joined: HashSet<&str> = joined.iter().map(|name| &**name).collect();
        for room in &rooms {
            let name = rooms::name(client.dialect(), room);
            let is_joined =
                if is_stock { joined.contains(&*name) } else { memberships.contains(room) };
            if let Some(reads) = memberships.join_to_read(name, is_joined) {
                self.new.push((room.clone(), reads));
            }
        }
        client.add_memberships(memberships, rooms);
    }

    /// Leaves rooms again that the client was not in before.
    pub(crate) fn leave(&mut self, rooms: impl Fn(&Room) -> bool) {
        let left = self.new.extract_if(.., |(room, _)| rooms(room)).collect();
        drop(Self { client: self.client.clone(), new: left });
    }

    /// Ends the read. The client stays in the rooms.
    pub(crate) fn keep(mut self) {
        let mut memberships = self.client.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else { return };
        for (room, reads) in take(&mut self.new) {
            memberships.keep_read(&rooms::name(self.client.dialect(), &room), &reads);
        }
    }
}

impl Drop for ReadRooms {
    fn drop(&mut self) {
        let mut memberships = self.client.connection.memberships.lock();
        let Some(memberships) = memberships.as_mut() else { return };
        for (room, reads) in take(&mut self.new) {
            let name = rooms::name(self.client.dialect(), &room);
            if memberships.end_read(&name, reads) {
                self.client.leave_within(memberships, &room);
            }
        }
    }
}

/// The rooms that a client has joined for the reads of one request. The request may still fail
/// after a read, and then the client does not follow what it has read: an error is no answer.
#[derive(Clone, Default)]
pub(crate) struct RequestRooms(Arc<Mutex<State>>);

enum State {
    Unanswered(Vec<ReadRooms>),
    Answered,
}

impl Default for State {
    fn default() -> Self {
        Self::Unanswered(Vec::new())
    }
}

impl RequestRooms {
    /// Keeps a read if the request is answered without an error.
    pub(crate) fn add(&self, rooms: ReadRooms) {
        match &mut *self.0.lock() {
            State::Unanswered(all) => all.push(rooms),
            State::Answered => rooms.keep(),
        }
    }

    /// Has the client leave the rooms again, because the answer is an error.
    pub(crate) fn leave(&self) {
        drop(take(&mut *self.0.lock()));
    }

    /// Ends the request, which is answered.
    pub(crate) fn keep(&self) {
        if let State::Unanswered(all) = replace(&mut *self.0.lock(), State::Answered) {
            all.into_iter().for_each(ReadRooms::keep);
        }
    }
}
