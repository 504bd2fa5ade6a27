//! Pushes of the server, decoded.

use crate::json;
use crate::payload::Payload;

/// A position in the log of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The epoch of the log.
    pub epoch: u64,
    /// The number of the change in the log.
    pub offset: u64,
}

impl Position {
    /// Reads `epoch:offset`.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, rest) = json::read_number(text.as_bytes())?;
        let [b':', rest @ ..] = rest else { return None };
        let (offset, rest) = json::read_number(rest)?;
        rest.is_empty().then_some(Self { epoch, offset })
    }
}

/// Changes in one room.
#[derive(Debug)]
pub(crate) struct Push<P> {
    pub(crate) room: String,
    pub(crate) epoch: u64,
    /// The offset of the room's change before the first of these.
    pub(crate) prev: u64,
    pub(crate) changes: Vec<Change<P>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Change<P> {
    pub(crate) offset: u64,
    pub(crate) mark: u64,
    pub(crate) id: P,
    /// `[offset, verb, id, data, mark]`, in the form for the app.
    pub(crate) raw: P,
}

/// Changes of one room for the app, in commit order.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<P> {
    /// The room, such as `todo` or `todo/7`. Empty for events for the user.
    pub room: String,
    /// Each change is `[offset, verb, id, data, mark]`. For an event for the user, it contains the
    /// id, and `[event, ...args]` as the data.
    pub changes: Vec<P>,
}

impl<P: Payload> Push<P> {
    /// Returns the changes in the form for the app.
    pub(crate) fn into_delivery(self) -> Delivery<P> {
        let mut delivery = Delivery { room: self.room, changes: Vec::new() };
        for change in self.changes {
            delivery.changes.push(change.raw);
        }
        delivery
    }

    /// Reads `["push", room, epoch, prev, changes]`.
    pub(crate) fn read(event: &P) -> Option<Self> {
        Some(Self {
            room: event.item(1)?.text()?,
            epoch: event.item(2)?.number()?,
            prev: event.item(3)?.number()?,
            changes: Change::read_all(&event.item(4)?)?,
        })
    }
}

impl<P: Payload> Change<P> {
    pub(crate) fn read_all(changes: &P) -> Option<Vec<Self>> {
        let mut read = Vec::new();
        while let Some(change) = changes.item(read.len() as u32) {
            read.push(Self::read(change)?);
        }
        Some(read)
    }

    fn read(raw: P) -> Option<Self> {
        Some(Self {
            offset: raw.item(0)?.number()?,
            id: raw.item(2)?,
            mark: raw.item(4)?.number()?,
            raw,
        })
    }
}
