//! The acts that access rules are about.

/// An act on the records of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Read records and hear of their changes.
    Read,
    /// Add a record.
    Create,
    /// Set attributes of a record.
    Update,
    /// Remove a record.
    Destroy,
}
