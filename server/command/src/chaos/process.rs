//! Starts, kills and pauses the processes of a run.
//!
//! On Linux, the system kills them when this process ends, also if it is killed itself and cleans
//! nothing up. It does so when the thread that has started them ends, and threads of the runtime
//! end while it runs. So a thread that lasts as long as the process starts all of them.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::process::{self, Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// A command to start, and the channel for its process.
type Start = (Command, mpsc::Sender<io::Result<Child>>);

static STARTER: LazyLock<mpsc::Sender<Start>> = LazyLock::new(|| {
    let (sender, starts) = mpsc::channel::<Start>();
    thread::spawn(move || {
        for (mut command, reply) in starts {
            // The receiver waits for it.
            let _ = reply.send(command.spawn());
        }
    });
    sender
});

/// Returns a command that runs a program until it or this process ends.
pub(super) fn command(program: impl AsRef<OsStr>) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["run-with-parent", &process::id().to_string()]).arg(program);
    Ok(command)
}

/// Starts a command that [`command`] has returned.
pub(super) fn start(command: Command) -> io::Result<Child> {
    let (sender, started) = mpsc::channel();
    let ended = || io::Error::other("the thread that starts processes has ended");
    STARTER.send((command, sender)).map_err(|_| ended())?;
    started.recv().map_err(|_| ended())?
}

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
