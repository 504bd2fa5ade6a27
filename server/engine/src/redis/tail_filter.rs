//! The resources whose changes this node needs. Changes of the others are not decoded.

use std::fmt;
use std::sync::OnceLock;

use backwire_records::change::Resource;

use crate::ResourceFilter;

/// The filter of the tail. Until the server has set one, it includes all resources.
#[derive(Default)]
pub(super) struct TailFilter(OnceLock<ResourceFilter>);

impl TailFilter {
    /// Sets the function once.
    pub(super) fn set(&self, filter: ResourceFilter) {
        // A server has one, and sets it when it starts.
        let _ = self.0.set(filter);
    }

    pub(super) fn includes(&self, resource: &Resource) -> bool {
        self.0.get().is_none_or(|filter| filter(resource))
    }
}

impl fmt::Debug for TailFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailFilter").finish_non_exhaustive()
    }
}
