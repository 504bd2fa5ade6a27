//! A rule in Rust.

use std::fmt;
use std::sync::Arc;

use super::{Act, Reach, Who};

/// A rule in Rust: it can narrow what the other rules leave, for each caller and act.
#[derive(Clone)]
pub struct Policy(pub(super) Arc<Decide>);

type Decide = dyn Fn(&Who, Act) -> Reach + Send + Sync;

impl Policy {
    /// A policy that asks this.
    pub fn new(policy: impl Fn(&Who, Act) -> Reach + Send + Sync + 'static) -> Self {
        Self(Arc::new(policy))
    }
}

impl PartialEq for Policy {
    /// Whether it is the same function.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}
