//! Which resources somebody at this node follows. Changes of the others are not decoded.

use std::fmt;
use std::sync::OnceLock;

use backwire_records::change::Resource;

use crate::Interest;

/// The resources that are followed: all of them until the server has said which.
#[derive(Default)]
pub(super) struct Interests(OnceLock<Interest>);

impl Interests {
    /// Sets the function once.
    pub(super) fn set(&self, interest: Interest) {
        // A server has one, and sets it when it starts.
        let _ = self.0.set(interest);
    }

    pub(super) fn include(&self, resource: &Resource) -> bool {
        self.0.get().is_none_or(|interest| interest(resource))
    }
}

impl fmt::Debug for Interests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interests").finish_non_exhaustive()
    }
}
