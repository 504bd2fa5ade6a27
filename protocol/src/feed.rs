//! Rooms, and how far in their logs this client is.
//!
//! Everything that tells of a record (a push, the answer to a read or to a write, a resume) carries
//! a position, and is applied by it and by nothing else, so the order of arrival does not matter:
//!
//! - a read's answer is a snapshot: pushes at or below its position are part of it, and pushes that
//!   arrive while it is on its way wait for it;
//! - a push whose `prev` lies above the room's position means that something was missed: the room
//!   is *lost*, the client asks to resume it, and what arrives meanwhile waits;
//! - the echo of a write that the app still waits for is held until the answer is there, together
//!   with whatever follows on that record. What the answer covers is then dropped, because the app
//!   gets it as the answer.
//!
//! The position of a room moves only by pushes and reads of that room. The rooms of single records
//! are the exception: a change in the class room, or a read of the whole class, moves them too. A
//! read whose url does not name the resource may be answered after pushes that its snapshot does
//! not contain. Then the room goes back and these pushes are delivered again, because the snapshot
//! has set the page back as well.
//!
//! Invariant: apart from that, a change is delivered at most once, and never below a state that the
//! app has received.

use crate::names::{Names, Queue};
use crate::outbox::Outbox;
use crate::output::Output;
use crate::payload::Payload;
use crate::push::{Change, Delivery, Position, Push};

/// More pushes than this do not wait for one room; what is dropped is found missing and resumed.
const MOST_WAITING: usize = 1_000;

/// All rooms of one client.
#[derive(Debug)]
pub(crate) struct Feed<P> {
    rooms: Names<Room<P>>,
    /// The special state of some records, by their instance room. Most records have none.
    records: Names<Record<P>>,
    /// Each once.
    lost: Vec<String>,
    /// Deliveries and rooms to read again.
    news: Queue<Output<P>>,
    /// The page has received answers without a link since the last resume. They may be beyond the
    /// positions of the rooms.
    pub(crate) is_ahead: bool,
}

#[derive(Debug)]
struct Room<P> {
    /// `None` while the read that will tell is on its way.
    place: Option<Position>,
    state: State,
    /// Resumes that are sent and not answered. Only the last response has the missed changes.
    resumes: u32,
    waiting: Vec<Push<P>>,
}

#[derive(Debug)]
struct Record<P> {
    /// The app knows it as of here, by a write's answer, though its class room is not there yet.
    ahead: u64,
    /// Changes that wait for the answer to a write, with the room they came in.
    held: Vec<(String, Change<P>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    /// Pushes wait for the answer to a resume.
    Resuming,
    /// Pushes wait until the room has been read again.
    Stale,
}

impl<P: Payload> Feed<P> {
    pub(crate) fn new() -> Self {
        Self {
            rooms: Names::new(),
            records: Names::new(),
            lost: Vec::new(),
            news: Queue::new(),
            is_ahead: false,
        }
    }

    /// A push arrived. One for a room nobody knows belongs to a read on its way, or to nobody.
    pub(crate) fn pushed(&mut self, push: Push<P>, outbox: &Outbox<P>) {
        let name = push.room.clone();
        if self.rooms.get(&name).is_none() && !outbox.is_reading() {
            return;
        }
        let room = self.rooms.get_or_insert(&name, Room::unknown);
        if room.waiting.len() == MOST_WAITING {
            room.waiting.clear();
        }
        room.waiting.push(push);
        self.settle(&name, outbox);
    }

    /// A read was answered: `room` stands at `position` now.
    pub(crate) fn was_read(&mut self, name: &str, position: Position, outbox: &Outbox<P>) {
        let room = self.rooms.get_or_insert(name, Room::unknown);
        let before = room.place.replace(position).unwrap_or(position);
        // This snapshot may lack the changes that a resume in flight requests.
        if room.state == State::Stale {
            room.state = State::Live;
        }
        let is_same_log = before.epoch == position.epoch;
        if is_behind(position, before) {
            self.lose(name);
        }
        self.snapshot_covers(name, position, is_same_log);
        self.settle_all(outbox);
    }

    /// A write of this client was answered: the app knows the record as of `position`.
    pub(crate) fn was_written(&mut self, record: &str, position: Position) {
        let is_behind = |room: &Room<P>| room.place.is_some_and(|place| is_behind(place, position));
        if self.rooms.get(resource_of(record)).is_some_and(is_behind) {
            let known = self.records.get_or_insert(record, Record::plain);
            // A repeated write gets its first response, whose position may be an old one.
            known.ahead = known.ahead.max(position.offset);
        }
        if let Some(room) = self.rooms.get_mut(record).filter(|room| is_behind(room)) {
            room.place = Some(position);
        }
        if let Some(record) = self.records.get_mut(record) {
            record.forget_held(position.offset);
        }
    }

    /// An answer to a resume: `[room, epoch, head, changes]` or `[room, null]`.
    pub(crate) fn resumed(&mut self, answer: &P, outbox: &Outbox<P>) -> Option<()> {
        let name = answer.item(0)?.text()?;
        let Some(room) = self.rooms.get_mut(&name).filter(|room| room.resumes > 0) else {
            return Some(());
        };
        room.resumes -= 1;
        if room.resumes > 0 || room.state != State::Resuming {
            return Some(());
        }
        let epoch = answer.item(1).and_then(|epoch| epoch.number());
        let place = room.place.as_mut()?;
        // After a restart the log goes on from this position. It may lack what the page has
        // received beyond it, if a backup was restored.
        let Some(epoch) = epoch.filter(|epoch| place.epoch == *epoch || !self.is_ahead) else {
            // So that no later resume finds this position valid.
            place.epoch = 0;
            room.state = State::Stale;
            self.news.push(Output::Refresh(name));
            return Some(());
        };
        place.epoch = epoch;
        let head = answer.item(2)?.number()?;
        let changes = Change::read_all(&answer.item(3)?)?;
        room.state = State::Live;
        self.apply(Push { room: name.clone(), epoch, prev: 0, changes }, outbox);
        self.move_to(&name, head);
        self.settle(&name, outbox);
        Some(())
    }

    /// Something that others waited for has been answered or given up.
    pub(crate) fn settle_all(&mut self, outbox: &Outbox<P>) {
        if !outbox.is_reading() {
            self.forget_unread();
        }
        for name in self.rooms.names() {
            self.settle(&name, outbox);
        }
        for record in self.records.names() {
            self.release(&record, outbox);
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
            self.lose(&name);
        }
    }

    /// A room to resume, with the numbers to resume from: the epoch and offset of its position, and
    /// the highest offset of its resource that the page has received.
    pub(crate) fn next_lost(&mut self) -> Option<(String, [u64; 3])> {
        while !self.lost.is_empty() {
            let name = self.lost.remove(0);
            if let Some(room) = self.rooms.get_mut(&name)
                && let Some(place) = room.place
            {
                room.resumes += 1;
                let inside = self.records.iter_mut().filter(|(record, _)| is_inside(record, &name));
                let seen = inside.fold(place.offset, |seen, (_, known)| seen.max(known.ahead));
                return Some((name, [place.epoch, place.offset, seen]));
            }
        }
        None
    }

    /// Rooms that no answer has led to.
    fn forget_unread(&mut self) {
        self.rooms.retain(|_, room| room.place.is_some());
    }

    /// News for the app.
    pub(crate) fn next_news(&mut self) -> Option<Output<P>> {
        self.news.pop()
    }

    /// The app no longer listens.
    pub(crate) fn forget(&mut self, name: &str) {
        let place = self.rooms.get(name).and_then(|room| room.place);
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
                self.lose(&record);
            }
        }
    }

    /// Whether the app listens.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.rooms.get(name).is_some_and(|room| room.place.is_some())
    }

    /// Applies what waits for a room, if nothing stands against it any more.
    fn settle(&mut self, name: &str, outbox: &Outbox<P>) {
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        let is_ready = room.place.is_some() && room.state == State::Live;
        if !is_ready || outbox.is_reading_of(resource_of(name)) {
            return;
        }
        while let Some(push) = self.rooms.get_mut(name).and_then(Room::next_waiting) {
            match push {
                Ok(push) => self.apply(push, outbox),
                Err(Gap) => return self.lose(name),
            }
        }
    }

    fn lose(&mut self, name: &str) {
        let Some(room) = self.rooms.get_mut(name).filter(|room| room.place.is_some()) else {
            return;
        };
        if room.state != State::Stale {
            room.state = State::Resuming;
            if !self.lost.iter().any(|lost| lost == name) {
                self.lost.push(name.into());
            }
        }
    }

    fn apply(&mut self, push: Push<P>, outbox: &Outbox<P>) {
        for change in push.changes {
            if self.move_to(&push.room, change.offset) {
                self.offer(&push.room, change, outbox);
            }
        }
        // Positions that the class room has reached are no longer needed.
        if let Some(place) = self.rooms.get(&push.room).and_then(|room| room.place) {
            self.forget_ahead(&push.room, place.offset);
        }
    }

    /// Moves a room forward; false if it is there already.
    fn move_to(&mut self, name: &str, offset: u64) -> bool {
        let place = self.rooms.get_mut(name).and_then(|room| room.place.as_mut());
        let Some(place) = place.filter(|place| place.offset < offset) else {
            return false;
        };
        place.offset = offset;
        true
    }

    /// A change that is news for its room; perhaps the record is known beyond it, or has to wait.
    fn offer(&mut self, name: &str, change: Change<P>, outbox: &Outbox<P>) {
        let is_awaited = outbox.awaits(change.mark);
        // Naming the record costs, and mostly nobody needs its name.
        let is_plain = self.records.is_empty() && !self.has_instances(name);
        if is_plain && !is_awaited {
            return self.deliver(name, change);
        }
        let Some(record) = record_of(name, &change) else {
            return;
        };
        let known = self.records.get(&record);
        let is_known = known.is_some_and(|known| known.ahead >= change.offset);
        let is_waiting = known.is_some_and(|known| !known.held.is_empty());
        let is_copy = record != name
            && self.rooms.get(&record).is_some()
            && !self.move_to(&record, change.offset);
        if is_known || is_copy {
            return;
        }
        if is_awaited || is_waiting {
            let record = self.records.get_or_insert(&record, Record::plain);
            record.held.push((name.into(), change));
        } else {
            self.deliver(name, change);
        }
    }

    /// Whether instance rooms of this class room are listened to as well.
    fn has_instances(&self, class: &str) -> bool {
        let mut prefix = String::from(class);
        prefix.push('/');
        self.rooms.has_prefix(&prefix)
    }

    fn deliver(&mut self, name: &str, change: Change<P>) {
        match self.news.last_mut() {
            Some(Output::Deliver(last)) if last.room == name => last.changes.push(change.whole),
            _ => {
                let delivery = Delivery { room: name.into(), changes: vec![change.whole] };
                self.news.push(Output::Deliver(delivery));
            }
        }
    }

    /// Delivers what is held for a record, up to the next echo that has to wait.
    fn release(&mut self, name: &str, outbox: &Outbox<P>) {
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
            if room.place.is_some() && is_inside(record, name) {
                room.place = Some(position);
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

    /// Up to this offset a room tells of its records itself.
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

    /// Takes out what was held first, unless it is an echo that has to wait.
    fn next_held(&mut self, outbox: &Outbox<P>) -> Option<(String, Change<P>)> {
        let (_, change) = self.held.first()?;
        (!outbox.awaits(change.mark)).then(|| self.held.remove(0))
    }

    fn forget_held(&mut self, offset: u64) {
        while let Some(at) = self.held.iter().position(|(_, change)| change.offset <= offset) {
            self.held.remove(at);
        }
    }
}

impl<P> Room<P> {
    fn unknown() -> Self {
        Self { place: None, state: State::Live, resumes: 0, waiting: Vec::new() }
    }

    /// Takes out the first push that waits, unless something before it is missing.
    fn next_waiting(&mut self) -> Option<Result<Push<P>, Gap>> {
        let (place, push) = (self.place?, self.waiting.first()?);
        if place.epoch == push.epoch && push.prev > place.offset {
            return Some(Err(Gap));
        }
        // Of another log it says only that this is not ours, and that once.
        let push = self.waiting.remove(0);
        Some(if place.epoch == push.epoch { Ok(push) } else { Err(Gap) })
    }
}

/// Something was missed.
struct Gap;

/// Returns whether the first position comes before the second one, if both are of one log. The
/// epochs do not say so: they also differ if the server has restarted in between. If the log is
/// another one, the room is read again, and what was concluded from its former position is void.
fn is_behind(place: Position, other: Position) -> bool {
    place.offset < other.offset
}

/// Returns the resource of a room: `todo` for `todo/7`, `todo?…` and `todo`.
fn resource_of(room: &str) -> &str {
    let end = room.bytes().position(|byte| matches!(byte, b'/' | b'?'));
    end.and_then(|end| room.get(..end)).unwrap_or(room)
}

/// Returns whether this is the room of one record, such as `todo/7`.
fn is_instance(room: &str) -> bool {
    room.as_bytes().get(resource_of(room).len()) == Some(&b'/')
}

/// Returns whether two rooms are the same, or changes of the first one are also sent in the second
/// one: `todo/7` in `todo`, and in `todo?…` the names that [`record_of`] returns for it. An id and
/// a filter may contain slashes.
fn is_inside(record: &str, room: &str) -> bool {
    let rest = record.as_bytes().strip_prefix(room.as_bytes());
    matches!(rest, Some([])) || matches!(rest, Some([b'/', ..])) && !is_instance(room)
}

/// Returns the instance room of the record that a change is about. In the room of a filter, the
/// name of the filter stands before the id, because changes there are independent of other rooms.
fn record_of<P: Payload>(room: &str, change: &Change<P>) -> Option<String> {
    let mut record = String::from(room);
    if !is_instance(room) {
        record.push('/');
        record.push_str(&change.id.id()?);
    }
    Some(record)
}
