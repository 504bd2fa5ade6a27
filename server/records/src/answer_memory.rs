//! The memory that one answer may take.

use std::fmt;
use std::sync::Arc;

/// The memory for one answer. An engine claims the bytes of each record before it holds them,
/// unless others share the record. The default is unlimited.
#[derive(Debug, Clone, Default)]
pub struct AnswerMemory(Option<Arc<dyn ClaimMemory>>);

/// A budget that an answer claims its memory from.
pub trait ClaimMemory: fmt::Debug + Send + Sync {
    /// Claims this many more bytes for the records that are read.
    fn add_read(&self, bytes: usize) -> Result<(), OutOfMemory>;

    /// Sets the bytes that are claimed for the text of the answer.
    fn set_written(&self, bytes: usize) -> Result<(), OutOfMemory>;
}

impl AnswerMemory {
    /// Returns memory that is claimed from this budget.
    pub fn new(claim: Arc<dyn ClaimMemory>) -> Self {
        Self(Some(claim))
    }

    /// Claims this many more bytes for records. An error ends the read.
    pub fn add(&self, bytes: usize) -> Result<(), OutOfMemory> {
        self.0.as_ref().map_or(Ok(()), |claim| claim.add_read(bytes))
    }

    /// Sets the bytes that are claimed for the text of the answer.
    pub fn set_written(&self, bytes: usize) -> Result<(), OutOfMemory> {
        self.0.as_ref().map_or(Ok(()), |claim| claim.set_written(bytes))
    }
}

/// The error of an answer that there is no memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no memory is free for this request now (total_unread_bytes): read the answers that wait, then try again"
)]
pub struct OutOfMemory {
    /// The maximum bytes of all answers together.
    pub limit: usize,
}
