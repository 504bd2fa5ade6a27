//! A rule in Rust.

use std::fmt;
use std::sync::Arc;

use super::{AccessScope, Operation, Principal};

/// A rule in Rust. For each caller and operation it can narrow the records that the other rules
/// allow.
#[derive(Clone)]
pub struct Policy(pub(super) Arc<Decide>);

type Decide = dyn Fn(&Principal, Operation) -> AccessScope + Send + Sync;

impl Policy {
    /// Returns a policy that calls this function.
    pub fn new(
        policy: impl Fn(&Principal, Operation) -> AccessScope + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(policy))
    }
}

impl PartialEq for Policy {
    /// Whether both are the same function.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}
