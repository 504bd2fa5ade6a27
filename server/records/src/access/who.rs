//! Who somebody is to the rules.

use std::sync::Arc;

use crate::change::Id;

/// Who somebody has proved to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// The person; nobody in particular until they have signed in.
    pub person: Option<Id>,
    /// What they are besides: names of groups, of rooms they may enter.
    pub roles: Arc<[String]>,
}

impl Who {
    /// Whether they have signed in.
    pub fn is_signed_in(&self) -> bool {
        self.person.is_some()
    }

    /// Whether they have a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

/// Who somebody is, and until when that holds unless they come again.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The caller.
    pub who: Who,
    /// Unix milliseconds; 0 for nobody in particular.
    pub until: u64,
}

impl Known {
    /// Until it is gone: told by a site when it connected.
    pub const FOR_EVER: u64 = u64::MAX;
}
