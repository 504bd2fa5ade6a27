//! What a server says of a room, read from the wire.

use crate::json;
use crate::payload::Payload;

/// A place in a resource's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which log.
    pub epoch: u64,
    /// Which change of it.
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

/// What happened in one room, as it came.
#[derive(Debug)]
pub(crate) struct Push<P> {
    pub(crate) room: String,
    pub(crate) epoch: u64,
    /// The room's change before the first of these.
    pub(crate) prev: u64,
    pub(crate) changes: Vec<Change<P>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Change<P> {
    pub(crate) offset: u64,
    pub(crate) mark: u64,
    pub(crate) id: P,
    /// `[offset, verb, id, data, mark]`, as the app gets it.
    pub(crate) whole: P,
}

/// News for the app: changes of one room in commit order.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<P> {
    /// `todo` or `todo/7`; empty for what was sent to the person who uses the app.
    pub room: String,
    /// `[offset, verb, id, data, mark]` each; of what was sent to a person, the id and
    /// `[event, ...args]` as the data.
    pub changes: Vec<P>,
}

impl<P: Payload> Push<P> {
    /// What the app gets of it as it is.
    pub(crate) fn into_delivery(self) -> Delivery<P> {
        let mut delivery = Delivery { room: self.room, changes: Vec::new() };
        for change in self.changes {
            delivery.changes.push(change.whole);
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

    fn read(whole: P) -> Option<Self> {
        Some(Self {
            offset: whole.item(0)?.number()?,
            id: whole.item(2)?,
            mark: whole.item(4)?.number()?,
            whole,
        })
    }
}
