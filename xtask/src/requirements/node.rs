//! Node.js and npm.

use crate::command::program;
use crate::workspace::Workspace;

/// The oldest major version that the tools support; `package.json` states the same.
const OLDEST: u32 = 20;

/// Returns why they cannot be used, or `None` if they can.
pub(super) fn problem(workspace: &Workspace) -> Option<String> {
    let problem = match version(workspace, "node") {
        None => "Node.js is missing or does not start".to_owned(),
        Some(version) if major(&version).is_none_or(|major| major < OLDEST) => {
            format!("Node.js {} is too old", version.trim_start_matches('v'))
        }
        // Debian has npm in a package of its own.
        Some(_) => match version(workspace, "npm") {
            None => "`npm` is missing or does not start".to_owned(),
            Some(_) => return None,
        },
    };
    Some(problem)
}

fn version(workspace: &Workspace, name: &str) -> Option<String> {
    let output = program(workspace, name).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the major version, such as 20 for `v20.11.1`.
fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_the_first_number() {
        assert_eq!(major("v20.11.1"), Some(20));
        assert_eq!(major("v9.0.0"), Some(9));
        assert_eq!(major("nothing"), None);
    }

    #[test]
    fn oldest_version_is_the_one_in_package_json() {
        let declared = format!("\"node\": \">={OLDEST}\"");
        assert!(include_str!("../../../package.json").contains(&declared));
    }
}
