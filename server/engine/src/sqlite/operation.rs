//! The operations of the writer, and their outcomes.

use backwire_records::write::Write;
use tokio::sync::oneshot;

use super::queues::{self, Step};
use crate::{Cascade, CommitOutcome, Error, KeyLookup, LedgerEntry, SessionEdit};

/// An operation of the writer.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Write(Box<Write>),
    /// Looks a key up in the ledger.
    Lookup(KeyLookup),
    /// Edits a session.
    Edit(SessionEdit),
    /// Checks whether a full disk has room again.
    Maintain,
    /// Removes a cascade that has ended.
    Finish(Cascade),
    /// Runs a step of the queues at a time.
    Step(Step, u64),
}

/// The outcome of a successful operation.
#[derive(Debug)]
pub(super) enum OperationOutcome {
    Write(CommitOutcome),
    Lookup(Option<Box<LedgerEntry>>),
    Edit,
    Finish,
    Maintain,
    Step(queues::StepOutcome),
}

/// An operation, and the channel for its result.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) operation: Operation,
    pub(super) answer: Answer,
}

/// The channel for the result of an operation.
pub(super) type Answer = oneshot::Sender<OperationResult>;
/// The outcome of an operation, or its error.
pub(super) type OperationResult = Result<OperationOutcome, Error>;
