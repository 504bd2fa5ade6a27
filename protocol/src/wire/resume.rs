//! Resumes: the positions of a client, and what it has missed since.

use super::position::Position;
use super::push::ReceivedChange;
use crate::json;
use crate::payload::Payload;

/// The maximum number of positions in a resume entry beyond that of the room: one for each epoch. A
/// client that has more sends [`Position::NOWHERE`], and so reads the room again.
pub const MAX_POSITIONS_AHEAD: usize = 4;

/// A room that a client resumes: `[room, epoch, offset, highest]`, or
/// `[room, epoch, offset, highest, epoch, highest, …]` if the client has received something in
/// other epochs, too.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumeEntry<R> {
    /// The name of the room.
    pub room: R,
    /// The client has received everything up to here.
    pub position: Position,
    /// The highest position of each epoch that the client has received beyond `position`, in
    /// another room or with the answer to a write. If the log does not have one of them, it is not
    /// the log that the client knows.
    pub ahead: Vec<Position>,
}

/// The answer for one room: `[room, epoch, head, changes]` or `[room, null]`.
#[derive(Debug, Clone)]
pub struct ResumeAnswer<R, C> {
    /// The name of the room.
    pub room: R,
    /// The changes that the client has missed, or `None` if the log no longer has them, or is
    /// another log. Then the client reads the room again.
    pub missed: Option<Missed<C>>,
}

/// The changes that a client has missed in a room.
#[derive(Debug, Clone)]
pub struct Missed<C> {
    /// The end of the log, in the present epoch.
    pub head: Position,
    /// The changes in commit order: a list of [`ChangeEntry`](super::ChangeEntry).
    pub changes: C,
}

/// A [`ResumeAnswer`] that has arrived. Its fields are read when they are needed, because some
/// answers come too late and some have only a room.
#[derive(Debug)]
pub struct ReceivedAnswer<'a, P>(pub &'a P);

impl ResumeEntry<String> {
    /// Appends the entry as JSON.
    pub(crate) fn push_to(&self, out: &mut String) {
        out.push('[');
        json::push_string(out, &self.room);
        let Self { position, ahead, .. } = self;
        // Iterators would make the module larger.
        let mut highest = position.offset;
        let mut numbers = vec![position.epoch, position.offset, highest];
        for ahead in ahead {
            if ahead.epoch == position.epoch {
                highest = ahead.offset;
            } else {
                numbers.push(ahead.epoch);
                numbers.push(ahead.offset);
            }
        }
        numbers[2] = highest;
        for number in numbers {
            out.push(',');
            json::push_number(out, number);
        }
        out.push(']');
    }
}

impl<R, C> ResumeAnswer<R, C> {
    /// Returns the answer with the changes that a client has missed.
    pub const fn missed(room: R, head: Position, changes: C) -> Self {
        Self { room, missed: Some(Missed { head, changes }) }
    }
}

impl<R> ResumeAnswer<R, ()> {
    /// Returns the answer for a room that the client has to read again.
    pub const fn resync(room: R) -> Self {
        Self { room, missed: None }
    }
}

impl<P: Payload> ReceivedAnswer<'_, P> {
    /// Returns the name of the room.
    pub fn room(&self) -> Option<String> {
        self.0.item(0)?.text()
    }

    /// Returns the epoch of the head, or `None` if the client has to read the room again.
    pub fn epoch(&self) -> Option<u64> {
        self.0.item(1)?.number()
    }

    /// Returns the offset of the head.
    pub fn head(&self) -> Option<u64> {
        self.0.item(2)?.number()
    }

    /// Returns the changes that the client has missed.
    pub fn changes(&self) -> Option<Vec<ReceivedChange<P>>> {
        ReceivedChange::read_all(&self.0.item(3)?)
    }
}

#[cfg(feature = "serde")]
mod server {
    use core::fmt;
    use core::marker::PhantomData;

    use serde::de::{self, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{MAX_POSITIONS_AHEAD, Missed, Position, ResumeAnswer, ResumeEntry};

    impl<R: Serialize, C: Serialize> Serialize for ResumeAnswer<R, C> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match &self.missed {
                Some(Missed { head, changes }) => {
                    (&self.room, head.epoch, head.offset, changes).serialize(serializer)
                }
                None => (&self.room, ()).serialize(serializer),
            }
        }
    }

    impl<'de, R: Deserialize<'de>> Deserialize<'de> for ResumeEntry<R> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(EntryVisitor(PhantomData))
        }
    }

    struct EntryVisitor<R>(PhantomData<R>);

    impl<'de, R: Deserialize<'de>> Visitor<'de> for EntryVisitor<R> {
        type Value = ResumeEntry<R>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[room, epoch, offset], and optionally highest, and pairs of an epoch and its highest offset")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let short = |count| de::Error::invalid_length(count, &self);
            let room = list.next_element()?.ok_or_else(|| short(0))?;
            let epoch = list.next_element()?.ok_or_else(|| short(1))?;
            let offset = list.next_element()?.ok_or_else(|| short(2))?;
            let position = Position { epoch, offset };
            let highest = list.next_element()?.unwrap_or(offset);
            let mut ahead = Vec::new();
            if highest > offset {
                ahead.push(Position { epoch, offset: highest });
            }
            while let Some(epoch) = list.next_element()? {
                let offset = list.next_element()?.ok_or_else(|| short(5))?;
                ahead.push(Position { epoch, offset });
                if ahead.len() > MAX_POSITIONS_AHEAD {
                    return Err(short(4 + 2 * ahead.len()));
                }
            }
            Ok(ResumeEntry { room, position, ahead })
        }
    }
}
