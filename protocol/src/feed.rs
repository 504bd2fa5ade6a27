//! Rooms, and the positions of this client in their logs.
//!
//! Everything that reports a state of a record (a push, the answer to a read or to a write, a
//! resume) has a position. The client applies it by this position only, so the order of arrival
//! does not matter:
//!
//! - The answer to a read is a snapshot. It contains pushes at or below its position. Pushes that
//!   arrive while the read is in flight wait for it.
//! - A push whose `prev` is above the position of the room shows that changes are missing. The room
//!   is *lost*: the client resumes it, and pushes that arrive in the meantime wait.
//! - The echo of a write whose response is in flight is held until the response arrives, together
//!   with later changes of that record. Changes that the response covers are then dropped, because
//!   the app gets them with the response.
//! - A failover of the store may lose changes, and the next epoch has other changes at their
//!   offsets. So the feed keeps the highest position that the page has received of each resource in
//!   each epoch. A resume sends those that the log of the room is not known to have, and the server
//!   answers with a resync if its log lacks one of them.
//!
//! The position of a room moves only by pushes and reads of that room. The rooms of single records
//! are the exception: a change in the class room, or a read of the whole class, moves them too. A
//! read whose url does not name the resource may be answered after pushes that its snapshot does
//! not contain. Then the room goes back and these pushes are delivered again, because the snapshot
//! has set the page back as well.
//!
//! Invariant: apart from that, a change is delivered at most once, and never below a state that the
//! app has received.

mod room;

use crate::delivery::Delivery;
use crate::mark::mark;
use crate::names::{NameMap, Queue};
use crate::outbox::Outbox;
use crate::output::Output;
use crate::payload::Payload;
use crate::planted;
use crate::room_name::{is_inside, is_instance, record_of, resource_of};
use crate::wire::{
    MAX_POSITIONS_AHEAD, Position, Push, ReceivedAnswer, ReceivedChange, ReceivedPush, ResumeEntry,
};
use room::{MissingChanges, Received, Room, State, is_behind};

/// The maximum number of pushes that wait for one room. Dropped pushes are detected as missing and
/// resumed.
const MAX_WAITING: usize = 1_000;

/// All rooms of one client.
#[derive(Debug)]
pub(crate) struct Feed<P> {
    rooms: NameMap<Room<P>>,
    /// The special state of some records, by their instance room. Most records have none.
    records: NameMap<Record<P>>,
    /// Rooms to resume, without duplicates.
    lost: Vec<String>,
    /// Deliveries and rooms to read again.
    outputs: Queue<Output<P>>,
    /// The number of changes that have arrived since [`take_arrived`](Self::take_arrived), with
    /// those that are held.
    arrived: usize,
    /// The page has received answers without a link since the last resume. They may be beyond the
    /// positions of the rooms.
    pub(crate) has_answers_without_link: bool,
    /// The highest position that the page has received of each resource, in each epoch. A room
    /// whose position is below lost changes cannot notice the loss itself, but the page may show
    /// those changes from another room or from the answer to a write.
    received: Vec<Received>,
    /// The number of times that `received` has changed.
    receipts: u32,
}

#[derive(Debug)]
struct Record<P> {
    /// The offset of a write whose response the app has received, while the class room is behind
    /// it. Otherwise 0.
    ahead: u64,
    /// Changes that wait for the response to a write, with the room in which they arrived.
    held: Vec<(String, ReceivedChange<P>)>,
}

impl<P: Payload> Feed<P> {
    pub(crate) fn new() -> Self {
        Self {
            rooms: NameMap::new(),
            records: NameMap::new(),
            lost: Vec::new(),
            outputs: Queue::new(),
            arrived: 0,
            has_answers_without_link: false,
            received: Vec::new(),
            receipts: 0,
        }
    }

    /// Returns how many changes have arrived since the last call.
    pub(crate) fn take_arrived(&mut self) -> usize {
        core::mem::take(&mut self.arrived)
    }

    /// Handles a push. A push in an unknown room belongs to a read in flight, or is ignored.
    pub(crate) fn pushed(&mut self, push: ReceivedPush<P>, outbox: &Outbox<P>) {
        let name = push.room.clone();
        if self.rooms.get(&name).is_none() && !outbox.is_reading() {
            return;
        }
        let room = self.rooms.get_or_insert(&name, Room::unknown);
        if room.waiting.len() == MAX_WAITING {
            room.waiting.clear();
        }
        room.waiting.push(push);
        self.settle(&name, outbox);
    }

    /// Handles the answer to a read, which sets the position of its room.
    pub(crate) fn was_read(&mut self, name: &str, position: Position, outbox: &Outbox<P>) {
        let room = self.rooms.get_or_insert(name, Room::unknown);
        let before = room.position.replace(position).unwrap_or(position);
        // This snapshot may lack the changes that a resume in flight requests.
        if room.state == State::Stale {
            room.state = State::Live;
        }
        let is_same_log = before.epoch == position.epoch;
        if is_behind(position, before) {
            self.mark_lost(name);
        }
        self.was_received(name, position);
        self.snapshot_covers(name, position, is_same_log);
        self.settle_all(outbox);
    }

    /// Handles the response to a write: the app has the record as of `position`.
    pub(crate) fn was_written(&mut self, record: &str, position: Position) {
        let is_behind =
            |room: &Room<P>| room.position.is_some_and(|place| is_behind(place, position));
        self.was_received(record, position);
        if self.rooms.get(resource_of(record)).is_some_and(is_behind) {
            let known = self.records.get_or_insert(record, Record::plain);
            known.ahead = known.ahead.max(position.offset);
        }
        if let Some(room) = self.rooms.get_mut(record).filter(|room| is_behind(room)) {
            room.position = Some(position);
        }
        if planted::has("answer-moves-class-room")
            && let Some(room) =
                self.rooms.get_mut(resource_of(record)).filter(|room| is_behind(room))
        {
            room.position = Some(position);
        }
        if let Some(record) = self.records.get_mut(record) {
            record.forget_held(position.offset);
        }
    }

    /// Handles the answer for one room of a resume.
    pub(crate) fn resumed(&mut self, answer: &P, outbox: &Outbox<P>) -> Option<()> {
        let answer = ReceivedAnswer(answer);
        let name = answer.room()?;
        let Some(room) = self.rooms.get_mut(&name).filter(|room| room.resumes > 0) else {
            return Some(());
        };
        room.resumes -= 1;
        if room.resumes > 0 || room.state != State::Resuming {
            return Some(());
        }
        let place = room.position.as_mut()?;
        // After a restart the log goes on from this position. It may lack what the page has
        // received beyond it, if a backup was restored.
        let is_same_log = |epoch: &u64| place.epoch == *epoch || !self.has_answers_without_link;
        let Some(epoch) = answer.epoch().filter(is_same_log) else {
            // No later resume must find this position valid.
            place.epoch = 0;
            room.state = State::Stale;
            if !planted::has("lost-room-not-read-again") {
                self.outputs.push(Output::Refresh(name));
            }
            return Some(());
        };
        place.epoch = epoch;
        room.checked = room.checked.max(room.asked);
        let head = answer.head()?;
        let mut changes = answer.changes()?;
        if planted::has("resumed-changes-not-applied") {
            changes.clear();
        }
        room.state = State::Live;
        self.apply(Push { room: name.clone(), epoch, prev: 0, changes }, outbox);
        self.move_to(&name, Position { epoch, offset: head });
        self.settle(&name, outbox);
        Some(())
    }

    /// Continues with everything that waited for a request that is now finished.
    pub(crate) fn settle_all(&mut self, outbox: &Outbox<P>) {
        if !outbox.is_reading() {
            self.forget_unread();
        }
        for name in self.rooms.names() {
            self.settle(&name, outbox);
        }
        for record in self.records.names() {
            self.deliver_held(&record, outbox);
        }
    }

    /// Handles the end of the connection. The resume returns all waiting pushes. Stale rooms are
    /// resumed too: only the response to the resume makes sure that they are read again, because
    /// the read in flight may fail or be answered over HTTP.
    pub(crate) fn interrupted(&mut self) {
        self.lost.clear();
        self.forget_unread();
        for (_, room) in self.rooms.iter_mut() {
            room.waiting.clear();
            room.state = State::Live;
            room.resumes = 0;
        }
        for name in self.rooms.names() {
            if !planted::has("rooms-not-resumed-after-reconnect") {
                self.mark_lost(&name);
            }
        }
    }

    /// Returns the next room to resume.
    pub(crate) fn next_lost(&mut self) -> Option<ResumeEntry<String>> {
        while !self.lost.is_empty() {
            let name = self.lost.remove(0);
            if let Some(room) = self.rooms.get_mut(&name)
                && let Some(position) = room.position
            {
                room.resumes += 1;
                room.asked = self.receipts;
                let (resource, mut ahead) = (mark(resource_of(&name)), Vec::new());
                for received in &self.received {
                    if room.covers(received, resource) {
                        continue;
                    }
                    if ahead.len() == MAX_POSITIONS_AHEAD {
                        // No log has this position.
                        ahead.clear();
                        ahead.push(Position::NOWHERE);
                        break;
                    }
                    ahead.push(received.position);
                }
                return Some(ResumeEntry { room: name, position, ahead });
            }
        }
        None
    }

    /// Removes rooms without an answered read.
    fn forget_unread(&mut self) {
        self.rooms.retain(|_, room| room.position.is_some());
    }

    /// Returns the next output for the app.
    pub(crate) fn next_output(&mut self) -> Option<Output<P>> {
        self.outputs.pop()
    }

    /// Unsubscribes from a room.
    pub(crate) fn unsubscribe(&mut self, name: &str) {
        let place = self.rooms.get(name).and_then(|room| room.position);
        self.rooms.remove(name);
        if let Some(at) = self.lost.iter().position(|lost| lost == name) {
            self.lost.remove(at);
        }
        if !is_instance(name) {
            self.forget_class(name);
        } else if let Some(place) = place {
            // The class room may be behind this position.
            self.was_written(name, place);
        }
    }

    /// Resumes the rooms of records after their class room is left. The server sends their changes
    /// in these rooms from now on. Changes that are in flight in the class room are missed.
    fn forget_class(&mut self, name: &str) {
        self.forget_ahead(name, u64::MAX);
        for record in self.rooms.names() {
            if is_inside(&record, name) {
                self.mark_lost(&record);
            }
        }
    }

    /// Returns whether the app is subscribed to a room.
    pub(crate) fn is_subscribed(&self, name: &str) -> bool {
        self.rooms.get(name).is_some_and(|room| room.position.is_some())
    }

    /// Applies the pushes that wait for a room, unless they must still wait.
    fn settle(&mut self, name: &str, outbox: &Outbox<P>) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let Some(place) = room.position.filter(|_| room.state == State::Live) else {
            return;
        };
        if outbox.is_reading_of(resource_of(name)) {
            return;
        }
        // If the page has received a change in another epoch, this log may not be the one that the
        // server has now. The room is resumed before its pushes are applied.
        let resource = mark(resource_of(name));
        let is_of_other_log =
            |it: &Received| it.position.epoch != place.epoch && !room.covers(it, resource);
        if self.received.iter().any(is_of_other_log) {
            return self.mark_lost(name);
        }
        while let Some(push) = self.rooms.get_mut(name).and_then(Room::next_waiting) {
            match push {
                Ok(push) => self.apply(push, outbox),
                Err(MissingChanges) => return self.mark_lost(name),
            }
        }
    }

    fn mark_lost(&mut self, name: &str) {
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.position.is_some()) else {
            return;
        };
        if room.state != State::Stale {
            room.state = State::Resuming;
            if !self.lost.iter().any(|lost| lost == name) {
                self.lost.push(name.into());
            }
        }
    }

    fn apply(&mut self, push: ReceivedPush<P>, outbox: &Outbox<P>) {
        for change in push.changes {
            let position = Position { epoch: push.epoch, offset: change.offset };
            if self.move_to(&push.room, position) {
                self.deliver_or_hold(&push.room, change, position, outbox);
            }
        }
        // Positions that the class room has reached are no longer needed.
        if let Some(place) = self.rooms.get(&push.room).and_then(|room| room.position) {
            self.forget_ahead(&push.room, place.offset);
        }
    }

    /// Moves a room forward. Returns false if the room is not behind the position.
    fn move_to(&mut self, name: &str, position: Position) -> bool {
        let is_behind = self.rooms.get_mut(name).is_some_and(|room| room.move_to(position));
        if is_behind {
            self.was_received(name, position);
        }
        is_behind
    }

    /// Delivers a change that is new in its room, holds it for a response, or drops it if the app
    /// has a later state of the record.
    fn deliver_or_hold(
        &mut self,
        name: &str,
        change: ReceivedChange<P>,
        position: Position,
        outbox: &Outbox<P>,
    ) {
        let is_awaited = outbox.awaits(change.mark) && !planted::has("echo-not-held");
        // The name of the record is expensive, and is rarely needed.
        let is_plain = self.records.is_empty() && !self.has_instances(name);
        if is_plain && !is_awaited {
            self.arrived += 1;
            return self.deliver(name, change);
        }
        let Some(record) = record_of(name, &change) else {
            return;
        };
        let known = self.records.get(&record);
        let is_known = known.is_some_and(|known| known.is_ahead_of(change.offset));
        let is_waiting = known.is_some_and(|known| !known.held.is_empty());
        let is_copy =
            record != name && self.rooms.get(&record).is_some() && !self.move_to(&record, position);
        if is_known || is_copy {
            return;
        }
        self.arrived += 1;
        if is_awaited || is_waiting {
            let record = self.records.get_or_insert(&record, Record::plain);
            record.held.push((name.into(), change));
        } else {
            self.deliver(name, change);
        }
    }

    /// Returns whether the app is subscribed to instance rooms of this class room too.
    fn has_instances(&self, class: &str) -> bool {
        let mut prefix = String::from(class);
        prefix.push('/');
        self.rooms.has_prefix(&prefix)
    }

    fn deliver(&mut self, name: &str, change: ReceivedChange<P>) {
        match self.outputs.last_mut() {
            Some(Output::Deliver(last)) if last.room == name => last.changes.push(change.raw),
            _ => {
                let delivery = Delivery { room: name.into(), changes: vec![change.raw] };
                self.outputs.push(Output::Deliver(delivery));
            }
        }
    }

    /// Delivers the held changes of a record, up to the next echo that must wait.
    fn deliver_held(&mut self, name: &str, outbox: &Outbox<P>) {
        if planted::has("held-changes-not-delivered") {
            return;
        }
        let next = |record: &mut Record<P>| record.next_held(outbox);
        while let Some((room, change)) = self.records.get_mut(name).and_then(next) {
            self.deliver(&room, change);
        }
        if self.records.get(name).is_some_and(Record::is_plain) {
            self.records.remove(name);
        }
    }

    /// Applies the position of a snapshot. A snapshot contains every change of every record in its
    /// room up to its position, and none after it, even if the page has received later ones. If the
    /// log is another one, offsets of the former log mean nothing any more.
    fn snapshot_covers(&mut self, name: &str, position: Position, is_same_log: bool) {
        for (record, room) in self.rooms.iter_mut() {
            if room.position.is_some() && is_inside(record, name) {
                room.position = Some(position);
                room.checked = self.receipts;
            }
        }
        let covered = if is_same_log { position.offset } else { u64::MAX };
        for (record, known) in self.records.iter_mut() {
            if is_inside(record, name) {
                known.forget_held(covered);
            }
        }
        // If a write was answered before a read whose snapshot does not contain it yet, the read
        // has set the page back, and the page needs the echo of the write.
        self.forget_ahead(name, u64::MAX);
    }

    /// Records a position that the page has received in a room, or with the answer to a write.
    fn was_received(&mut self, name: &str, position: Position) {
        self.receipts += 1;
        let (resource, number) = (mark(resource_of(name)), self.receipts);
        for it in &mut self.received {
            if it.resource == resource && it.position.epoch == position.epoch {
                it.position.offset = it.position.offset.max(position.offset);
                it.number = number;
                return;
            }
        }
        self.received.push(Received { resource, position, number });
    }

    /// Forgets the offsets of responses up to this offset, which the room has reached.
    fn forget_ahead(&mut self, name: &str, offset: u64) {
        for (record, known) in self.records.iter_mut() {
            if known.ahead <= offset && is_inside(record, name) {
                known.ahead = 0;
            }
        }
        self.records.retain(|_, record| !record.is_plain());
    }
}

impl<P: Payload> Record<P> {
    fn plain() -> Self {
        Self { ahead: 0, held: Vec::new() }
    }

    fn is_plain(&self) -> bool {
        self.ahead == 0 && self.held.is_empty()
    }

    /// Returns whether the app has this change of the record with the response to a write.
    fn is_ahead_of(&self, offset: u64) -> bool {
        self.ahead >= offset
    }

    /// Removes the first held change and returns it, unless it is an echo that must wait.
    fn next_held(&mut self, outbox: &Outbox<P>) -> Option<(String, ReceivedChange<P>)> {
        let (_, change) = self.held.first()?;
        (!outbox.awaits(change.mark)).then(|| self.held.remove(0))
    }

    fn forget_held(&mut self, offset: u64) {
        while let Some(at) = self.held.iter().position(|(_, change)| change.offset <= offset) {
            self.held.remove(at);
        }
    }
}
