//! Kills and pauses the processes that a run has started.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

/// Kills a process, as a crash does.
pub(super) fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Pauses a process, or lets it continue.
pub(super) fn pause(child: Option<&Child>, is_paused: bool) {
    let id = child.and_then(|child| i32::try_from(child.id()).ok());
    if let Some(id) = id.and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(id, if is_paused { Signal::STOP } else { Signal::CONT });
    }
}
