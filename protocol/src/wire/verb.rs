//! The kinds of changes.

/// The kind of change of a record, from the point of view of one room. The server derives it from
/// what was stored and from the scope of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ChangeVerb {
    /// The record was created, or it matches the filter now.
    Created = 1,
    /// Some of its attributes have changed.
    Updated = 2,
    /// The record no longer exists.
    Destroyed = 3,
    /// The record no longer matches the filter.
    Left = 4,
}

impl ChangeVerb {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Created, Self::Updated, Self::Destroyed, Self::Left];

    /// Returns the number that stands for it on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the verb with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        const CREATED: u32 = ChangeVerb::Created as u32;
        const UPDATED: u32 = ChangeVerb::Updated as u32;
        const DESTROYED: u32 = ChangeVerb::Destroyed as u32;
        const LEFT: u32 = ChangeVerb::Left as u32;
        match number {
            CREATED => Some(Self::Created),
            UPDATED => Some(Self::Updated),
            DESTROYED => Some(Self::Destroyed),
            LEFT => Some(Self::Left),
            _ => None,
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ChangeVerb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_its_own_number() {
        let numbers = ChangeVerb::ALL.map(|verb| u32::from(verb.number()));
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(numbers.map(ChangeVerb::from_number), ChangeVerb::ALL.map(Some));
        assert_eq!([0, 5].map(ChangeVerb::from_number), [None, None]);
    }
}
