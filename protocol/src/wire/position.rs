//! Positions in logs.

use core::fmt;
use core::str::FromStr;

use crate::json;

/// A place in a resource's log. Written `epoch:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The log. The server draws an epoch at each start, below 2⁴⁸ so that it is exact in
    /// JavaScript.
    pub epoch: u64,
    /// The change in the log. The first change of a resource has offset 1.
    pub offset: u64,
}

impl Position {
    /// A position that no log has, because no log has this epoch.
    pub const NOWHERE: Self = Self { epoch: 0, offset: 0 };

    /// Reads `epoch:offset`.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, rest) = json::read_number(text.as_bytes())?;
        let [b':', rest @ ..] = rest else { return None };
        let (offset, rest) = json::read_number(rest)?;
        rest.is_empty().then_some(Self { epoch, offset })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or("a position is epoch:offset, two whole numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_survives_a_round_trip_through_its_text() {
        let position = Position { epoch: 182_736_455, offset: u64::MAX };
        assert_eq!(position.to_string(), "182736455:18446744073709551615");
        assert_eq!(position.to_string().parse(), Ok(position));
    }

    #[test]
    fn anything_but_two_whole_numbers_is_no_position() {
        for text in ["", ":", "1", "1:", ":1", "1:2:3", "1:2 ", "+1:2", "-1:2", "1:1e3"] {
            assert_eq!(Position::parse(text), None, "{text}");
        }
    }
}
