//! The memory that one answer may take.

use std::fmt;
use std::sync::Arc;

/// The memory for one answer. An engine claims the bytes of each record before it holds them, unless others share the
/// record. The default has no end.
#[derive(Debug, Clone, Default)]
pub struct AnswerMemory(Option<Arc<dyn ClaimMemory>>);

/// What gives memory to an answer.
pub trait ClaimMemory: fmt::Debug + Send + Sync {
    /// The records that are read have so many bytes more.
    fn add_read(&self, bytes: usize) -> Result<(), OutOfMemory>;

    /// The answer that is written has so many bytes.
    fn set_written(&self, bytes: usize) -> Result<(), OutOfMemory>;
}

impl AnswerMemory {
    /// Memory that is claimed here.
    pub fn new(claim: Arc<dyn ClaimMemory>) -> Self {
        Self(Some(claim))
    }

    /// Claims so many bytes more of records. It is an error if they are not left: the read ends.
    pub fn add(&self, bytes: usize) -> Result<(), OutOfMemory> {
        self.0.as_ref().map_or(Ok(()), |claim| claim.add_read(bytes))
    }

    /// Claims the bytes of the answer that is made of the records.
    pub fn set_written(&self, bytes: usize) -> Result<(), OutOfMemory> {
        self.0.as_ref().map_or(Ok(()), |claim| claim.set_written(bytes))
    }
}

/// There is no memory left for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no memory is free for this request now (total_unread_bytes): read the answers that wait, then try again"
)]
pub struct OutOfMemory {
    /// The bytes that all answers together may take.
    pub limit: usize,
}
