//! What the writer does, and what comes of it.

use std::net::IpAddr;

use backwire_records::write::Write;
use tokio::sync::oneshot;

use super::queues::{self, Step};
use crate::{Cascade, Committed, Edit, Error};

/// Something to store.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Write(Box<Write>),
    /// Of a session.
    Edit(Edit),
    /// The disk is full: looks whether it has room again.
    Maintain,
    /// A cascade has ended.
    Finish(Cascade),
    /// Of queues, and when.
    Step(Step, u64),
}

/// The result of a successful operation.
#[derive(Debug)]
pub(super) enum Done {
    Write(Committed),
    Edit,
    Finish,
    Maintain,
    Step(queues::Done),
}

/// Something to store, and where its outcome is waited for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) operation: Operation,
    pub(super) answer: Answer,
}

/// Where the outcome of an operation is waited for.
pub(super) type Answer = oneshot::Sender<Outcome>;
/// The result of an operation, or why it failed.
pub(super) type Outcome = Result<Done, Error>;

/// The owner of a queue of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Client(IpAddr),
    /// The server itself.
    Server,
    /// Work of the server that nobody waits for.
    Background,
}
