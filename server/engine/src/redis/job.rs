//! A write on its way through the writer.

use backwire_records::write::{Action, Write};

use super::delivery::Answer;
use super::group::Candidate;
use super::link::same_error;
use super::runtime::Moment;
use super::state::State;
use crate::{CommitOutcome, Error};

/// A write that is to be committed.
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) answer: Answer,
    pub(super) since: Moment,
    pub(super) conflicts: u32,
    /// Whether its state has to be read.
    pub(super) reads: bool,
    /// Whether it gets an id that no other node gets.
    pub(super) reserves: bool,
    /// The bytes that are claimed for the answer.
    pub(super) claimed: usize,
}

impl Job {
    pub(super) fn new(write: Write, answer: Answer, since: Moment) -> Self {
        Self { write, answer, since, conflicts: 0, reads: false, reserves: false, claimed: 0 }
    }

    /// Whether it makes the data smaller, and is done also if Redis has no memory left.
    pub(super) fn makes_room(&self) -> bool {
        matches!(self.write.action, Action::Destroy(_) | Action::Detach(_))
    }

    pub(super) fn candidate<'a>(
        &'a self,
        state: Option<&'a (State, Option<i64>)>,
    ) -> Candidate<'a> {
        Candidate {
            write: &self.write,
            state: state.map(|(state, _)| state),
            is_reserved: self.reserves && self.reads,
            free: state.and_then(|(_, free)| *free),
            claimed: self.claimed,
        }
    }

    pub(super) fn answer(self, outcome: Result<CommitOutcome, Error>) {
        // A caller that has gone away can get its outcome later by its key.
        let _ = self.answer.send(outcome);
    }

    pub(super) fn fail(self, error: &Error) {
        self.answer(Err(same_error(error)));
    }
}
