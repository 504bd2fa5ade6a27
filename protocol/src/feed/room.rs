//! A room: the position of this client in it, and the pushes that wait.

use crate::planted;
use crate::wire::{Position, ReceivedPush};

/// The highest position that the page has received of a resource in an epoch.
#[derive(Debug)]
pub(super) struct Received {
    /// The hash of the name of the resource. If two resources had the same hash, their rooms would
    /// send more positions than is needed.
    pub(super) resource: u64,
    pub(super) position: Position,
    /// Positions that are received later have higher numbers.
    pub(super) number: u32,
}

#[derive(Debug)]
pub(super) struct Room<P> {
    /// `None` while the read that will set it is in flight.
    pub(super) position: Option<Position>,
    pub(super) state: State,
    /// The log of the room has every received position up to this [number](Received::number).
    pub(super) checked: u32,
    /// The number up to which the last resume asks for received positions. It becomes `checked` if
    /// the log has them.
    pub(super) asked: u32,
    /// Resumes that are sent and not answered. Only the last response has the missed changes.
    pub(super) resumes: u32,
    pub(super) waiting: Vec<ReceivedPush<P>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// Pushes wait for the answer to a resume.
    Resuming,
    /// Pushes wait until the room has been read again.
    Stale,
}

impl<P> Room<P> {
    pub(super) fn unknown() -> Self {
        Self {
            position: None,
            state: State::Live,
            checked: 0,
            asked: 0,
            resumes: 0,
            waiting: Vec::new(),
        }
    }

    /// Moves the room forward. Returns false if the room is not behind the position.
    pub(super) fn move_to(&mut self, position: Position) -> bool {
        let Some(place) = self.position.as_mut().filter(|place| is_behind(**place, position))
        else {
            return false;
        };
        *place = position;
        true
    }

    /// Returns whether a resume of this room, which is of the resource with this hash, need not
    /// send a received position: the room has reached it, the server has found it, or it is of
    /// another resource.
    pub(super) fn covers(&self, received: &Received, resource: u64) -> bool {
        let is_reached = |place: Position| {
            place.epoch == received.position.epoch && place.offset >= received.position.offset
        };
        self.position.is_none_or(is_reached)
            || received.number <= self.checked
            || received.resource != resource
    }

    /// Removes the first waiting push and returns it, unless changes before it are missing.
    pub(super) fn next_waiting(&mut self) -> Option<Result<ReceivedPush<P>, MissingChanges>> {
        let (place, push) = (self.position?, self.waiting.first()?);
        if place.epoch == push.epoch
            && push.prev > place.offset
            && !planted::has("missing-changes-before-push-ignored")
        {
            return Some(Err(MissingChanges));
        }
        // A push of another log only shows that the log is another one. It is reported once.
        let push = self.waiting.remove(0);
        let is_same_log = place.epoch == push.epoch || planted::has("epoch-of-push-ignored");
        Some(if is_same_log { Ok(push) } else { Err(MissingChanges) })
    }
}

/// Changes before a push are missing.
pub(super) struct MissingChanges;

/// Returns whether the first position comes before the second one, if both are of one log. The
/// epochs do not show that, because they also differ after a restart. If the log is another one,
/// the room is read again, and conclusions from its former position are void.
pub(super) fn is_behind(place: Position, other: Position) -> bool {
    place.offset < other.offset
}
