//! The caller as the access rules see it.

use std::sync::Arc;

use crate::change::Id;

/// An authenticated caller, or an anonymous one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Principal {
    /// The person; `None` until they have signed in.
    pub person: Option<Id>,
    /// The roles of the person: names of groups, or of rooms that they may enter.
    pub roles: Arc<[String]>,
}

impl Principal {
    /// Whether the caller has signed in.
    pub fn is_signed_in(&self) -> bool {
        self.person.is_some()
    }

    /// Whether the caller has a role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

/// A principal, and the time until which it is valid unless it is renewed.
#[derive(Debug, Clone, Default)]
pub struct ExpiringPrincipal {
    /// The caller.
    pub principal: Principal,
    /// When it expires, in Unix milliseconds; 0 for an anonymous caller.
    pub until: u64,
}

impl ExpiringPrincipal {
    /// The value of `until` for a connection that a site has authenticated: it is valid as long as
    /// the connection exists.
    pub const NEVER: u64 = u64::MAX;
}
