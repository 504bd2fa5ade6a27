//! Pushes: the changes of one room, and events for the user.

use super::verb::ChangeVerb;
use crate::payload::Payload;

/// The arguments of the event [`PUSH`](super::event::PUSH): changes in one room, in commit order.
/// Without changes it only announces the position of the room.
#[derive(Debug, Clone)]
pub struct Push<R, C> {
    /// The room, such as `todo` or `todo/7`. Empty for [events for the user](UserEvent).
    pub room: R,
    /// The epoch of the log.
    pub epoch: u64,
    /// The offset of the room's change before the first of these.
    pub prev: u64,
    /// The changes: a list of [`ChangeEntry`].
    pub changes: C,
}

/// A change in a push or in the answer to a resume.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeEntry<I, D> {
    /// The offset of the change in the log.
    pub offset: u64,
    /// The kind of the change.
    pub verb: ChangeVerb,
    /// The id of the record.
    pub id: I,
    /// The whole record of a create, the attributes that an update has changed, or `null`.
    pub data: D,
    /// The [mark](crate::mark()) of the write's key, or 0.
    pub mark: u64,
}

/// An event for the user, which stands in a push in the place of a change.
#[derive(Debug, Clone)]
pub struct UserEvent<I, D> {
    /// The id of the event, or `null` if it was not queued.
    pub id: I,
    /// `[event, ...args]`, or an empty list if events were lost.
    pub content: D,
}

/// A change as the client core needs it. The core does not read the record.
#[derive(Debug, Clone)]
pub struct ReceivedChange<P> {
    /// The offset of the change in the log.
    pub offset: u64,
    /// The mark of the write's key, or 0.
    pub mark: u64,
    /// The id of the record.
    pub id: P,
    /// The [`ChangeEntry`], in the form for the app.
    pub raw: P,
}

/// A push as the client core needs it.
pub type ReceivedPush<P> = Push<String, Vec<ReceivedChange<P>>>;

/// The places of the fields in a [`ChangeEntry`].
mod place {
    pub(super) const OFFSET: u32 = 0;
    pub(super) const VERB: u32 = 1;
    pub(super) const ID: u32 = 2;
    pub(super) const DATA: u32 = 3;
    pub(super) const MARK: u32 = 4;
}

impl<R, C> Push<R, C> {
    /// Returns the arguments of the event, in their order.
    pub fn into_arguments(self) -> (R, u64, u64, C) {
        (self.room, self.epoch, self.prev, self.changes)
    }
}

impl<C> Push<&'static str, C> {
    /// Returns a push of [events for the user](UserEvent).
    pub const fn to_user(events: C) -> Self {
        Self { room: "", epoch: 0, prev: 0, changes: events }
    }
}

impl<P: Payload> ReceivedPush<P> {
    /// Reads the event and its arguments: `["push", room, epoch, prev, changes]`.
    pub fn read(event: &P) -> Option<Self> {
        Some(Self {
            room: event.item(1)?.text()?,
            epoch: event.item(2)?.number()?,
            prev: event.item(3)?.number()?,
            changes: ReceivedChange::read_all(&event.item(4)?)?,
        })
    }
}

impl<P: Payload> ChangeEntry<P, P> {
    /// Reads one of the changes of a [`Delivery`](crate::Delivery).
    pub fn read(raw: &P) -> Option<Self> {
        let verb = u32::try_from(raw.item(place::VERB)?.number()?).ok()?;
        Some(Self {
            offset: raw.item(place::OFFSET)?.number()?,
            verb: ChangeVerb::from_number(verb)?,
            id: raw.item(place::ID)?,
            data: raw.item(place::DATA)?,
            mark: raw.item(place::MARK)?.number()?,
        })
    }
}

impl<P: Payload> ReceivedChange<P> {
    pub(super) fn read_all(changes: &P) -> Option<Vec<Self>> {
        let mut read = Vec::new();
        while let Some(change) = changes.item(read.len() as u32) {
            read.push(Self::read(change)?);
        }
        Some(read)
    }

    fn read(raw: P) -> Option<Self> {
        Some(Self {
            offset: raw.item(place::OFFSET)?.number()?,
            id: raw.item(place::ID)?,
            mark: raw.item(place::MARK)?.number()?,
            raw,
        })
    }
}

#[cfg(feature = "serde")]
mod encode {
    use serde::{Serialize, Serializer};

    use super::{ChangeEntry, Push, UserEvent};

    /// Socket.IO makes each item of a tuple an argument of the event.
    impl<R: Serialize, C: Serialize> Serialize for Push<R, C> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self { room, epoch, prev, changes } = self;
            Push { room, epoch: *epoch, prev: *prev, changes }
                .into_arguments()
                .serialize(serializer)
        }
    }

    impl<I: Serialize, D: Serialize> Serialize for ChangeEntry<I, D> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self { offset, verb, id, data, mark } = self;
            (offset, verb, id, data, mark).serialize(serializer)
        }
    }

    impl<I: Serialize, D: Serialize> Serialize for UserEvent<I, D> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            (0, 0, &self.id, &self.content, 0).serialize(serializer)
        }
    }
}
