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
