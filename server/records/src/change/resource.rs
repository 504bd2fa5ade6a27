//! The name of a resource.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A resource's name in lower case: `[a-z][a-z0-9_-]*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Resource(Arc<str>);

/// Names of routes that the server has or may get. A resource cannot have them.
const RESERVED: [&str; 12] = [
    "socket.io",
    "backwire.js",
    "send",
    "publish",
    "revoke",
    "resume",
    "health",
    "healthz",
    "ready",
    "metrics",
    "admin",
    "__getcookie",
];

/// Names that are resources only if they are declared. Otherwise the server may use them for routes
/// later.
const RESERVED_UNLESS_DECLARED: [&str; 3] = ["status", "sites", "docs"];

impl Resource {
    /// Returns the resource with this name in lower case, or `None` if the name is not valid.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on_well =
            bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        let is_free = !RESERVED.contains(&name.as_str());
        (starts_well && goes_on_well && is_free && name.len() <= 64).then(|| Self(name.into()))
    }

    /// Returns a resource that no path leads to. Its name has a dot, which the names of other
    /// resources cannot have.
    pub fn internal(name: &str) -> Self {
        Self(name.into())
    }

    /// Whether the resource exists only if it is declared.
    pub fn has_to_be_declared(&self) -> bool {
        RESERVED_UNLESS_DECLARED.contains(&self.as_str())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
