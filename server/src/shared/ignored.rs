//! Parameters that were ignored: each is logged once for a resource.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::change::Resource;
use crate::lock::lock;

/// Names of resources are the callers' to choose where they need not be declared.
const MAX_ENTRIES: usize = 1_000;

/// What has been logged.
#[derive(Debug, Default)]
pub(crate) struct IgnoredParameters(Mutex<HashSet<(Resource, String)>>);

impl IgnoredParameters {
    /// Logs that a parameter of a read was ignored, unless that is known.
    pub(crate) fn log_once(&self, resource: &Resource, name: &str) {
        if self.is_new(resource, name) {
            tracing::info!(
                %resource,
                parameter = name,
                "a read has a parameter that is ignored; to filter by an attribute of this name, use where"
            );
        }
    }

    fn is_new(&self, resource: &Resource, name: &str) -> bool {
        let mut logged = lock(&self.0);
        logged.len() < MAX_ENTRIES && logged.insert((resource.clone(), name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_of_a_resource_is_logged_once_and_not_without_end() {
        let (ignored, resource) =
            (IgnoredParameters::default(), |name: &str| Resource::parse(name).unwrap());
        assert!(ignored.is_new(&resource("todo"), "q"));
        assert!(!ignored.is_new(&resource("todo"), "q"));
        assert!(ignored.is_new(&resource("cart"), "q"));
        let new = (0..2 * MAX_ENTRIES).filter(|n| ignored.is_new(&resource(&format!("r{n}")), "q"));
        assert_eq!(new.count(), MAX_ENTRIES - 2);
    }
}
