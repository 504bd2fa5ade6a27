//! The tests of the server that mount a small disk to fill it.
//!
//! A process may mount a file system in a user namespace of its own, or as root. Some machines
//! allow neither, such as most containers. There the tests fail, so they are left out, and the
//! summary says so.

use std::env;
use std::process::Command;

use crate::command::answers;

/// The module of the tests.
pub(crate) const MODULE: &str = "small_disk";

/// The report if the tests were left out.
pub(crate) const NOT_CHECKED: &str = "a server on a full disk (tests in `small_disk` of `backwire-cli`), because this machine lets \
                                      nobody mount one: neither `unshare -rm` nor `unshare -m`";

/// The options of `unshare`, as the tests try them: a user namespace, or none.
const WAYS: [&str; 2] = ["-rm", "-m"];

/// Whether the tests can mount a disk on this machine.
pub(crate) fn can_mount() -> bool {
    can_mount_with(|way| {
        let mut unshare = Command::new("unshare");
        unshare.args([way, "mount", "-t", "tmpfs", "tmpfs"]).arg(env::temp_dir());
        answers(&mut unshare)
    })
}

fn can_mount_with(is_allowed: impl FnMut(&str) -> bool) -> bool {
    WAYS.into_iter().any(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn disk_can_be_mounted_in_a_user_namespace_or_as_root() {
        for (allowed, can_mount) in
            [(&["-rm", "-m"][..], true), (&["-rm"], true), (&["-m"], true), (&[], false)]
        {
            assert_eq!(can_mount_with(|way| allowed.contains(&way)), can_mount, "{allowed:?}");
        }
    }

    /// Otherwise other tests would be left out, or none.
    #[test]
    fn module_name_and_mount_options_match_the_server_tests() {
        let path = format!("server/command/tests/command/{}.rs", MODULE.replace("::", "/"));
        let tests = fs::read_to_string(Workspace::find().root().join(path)).unwrap();
        assert!(tests.contains(&format!("const WAYS: [&str; 2] = {WAYS:?};")));
        assert!(NOT_CHECKED.contains(MODULE));
    }
}
