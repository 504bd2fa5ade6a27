//! The operations that access rules allow.

/// An operation on the records of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read records and follow their changes.
    Read,
    /// Add a record.
    Create,
    /// Set attributes of a record.
    Update,
    /// Remove a record.
    Destroy,
}
