//! What comes out of the push service: a row for each way of sending.

use std::fmt;

use super::{Kind, Round};
use crate::table::{median, micros};

/// All measurements.
#[derive(Default)]
pub(crate) struct Table {
    rounds: Vec<(Kind, Round)>,
}

/// How a row is read from what one peer did in one round.
type Read = fn(&Round) -> f64;

struct Row {
    name: &'static str,
    read: Read,
    digits: usize,
    /// Whether Backwire has something to compare.
    is_compared: bool,
}

const ROWS: [Row; 6] = [
    row("single POSTs: server CPU a message, µs", |round| micros(round.singles.cpu), 1),
    part("… of which Redis", |round| micros(round.singles.store_cpu)),
    row("… messages per second", |round| round.singles.rate, 0),
    row("100 in a POST: server CPU a message, µs", |round| micros(round.batched.cpu), 1),
    part("… of which Redis", |round| micros(round.batched.store_cpu)),
    row("… messages per second", |round| round.batched.rate, 0),
];

const fn row(name: &'static str, read: Read, digits: usize) -> Row {
    Row { name, read, digits, is_compared: true }
}

const fn part(name: &'static str, read: Read) -> Row {
    Row { name, read, digits: 1, is_compared: false }
}

impl Table {
    pub(crate) fn add(&mut self, kind: Kind, round: Round) {
        self.rounds.push((kind, round));
    }

    fn of(&self, kind: Kind, read: Read) -> Vec<f64> {
        let ours = self.rounds.iter().filter(|(whose, _)| *whose == kind);
        ours.map(|(_, round)| read(round)).collect()
    }

    /// Backwire's share of a peer's, round by round.
    fn ratio(&self, to: Kind, read: Read) -> f64 {
        let (ours, theirs) = (self.of(Kind::Backwire, read), self.of(to, read));
        median(ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = |kind: &Kind| self.rounds.iter().any(|(whose, _)| whose == kind);
        let kinds: Vec<_> = Kind::ALL.into_iter().filter(measured).collect();
        let peers = &kinds[1..];
        write!(f, "| push service |")?;
        for kind in &kinds {
            write!(f, " {} |", kind.name())?;
        }
        for peer in peers {
            write!(f, " ÷ {} |", peer.name())?;
        }
        writeln!(f, "\n|{}", " --- |".repeat(1 + kinds.len() + peers.len()))?;
        for Row { name, read, digits, is_compared } in ROWS {
            write!(f, "| {name} |")?;
            for kind in &kinds {
                write!(f, " {:.digits$} |", median(self.of(*kind, read)))?;
            }
            for peer in peers {
                match is_compared {
                    true => write!(f, " {:.2} |", self.ratio(*peer, read))?,
                    false => write!(f, " |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
