//! Positions in the log of a resource, of which a failover may begin another line.

use std::fmt;

/// A position in the log of a resource. Lines are numbered in the order in which they began: each
/// begins with the first changes of the one before, and lacks the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub line: usize,
    pub offset: u64,
}

impl LogPosition {
    /// Returns a place in the only line.
    pub fn at(offset: u64) -> Self {
        Self { line: 0, offset }
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}", self.offset),
            line => write!(formatter, "{} of line {line}", self.offset),
        }
    }
}
