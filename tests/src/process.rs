//! A program that runs during a story.
//!
//! The program is ready when it prints a certain line. Its output is stored, and shown if the story
//! fails. The program ends with its [`Process`].

use std::io::{self, BufRead, BufReader, ErrorKind, PipeReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The time in which a program must become ready. It is long, because the machine may be busy with
/// other tests.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
}

/// The lines that a program has printed so far.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<Vec<String>>>);

impl Process {
    /// Starts a program and waits for a line for which `ready` returns a value.
    pub fn start<T: Send + 'static>(
        command: &mut Command,
        ready: fn(&str) -> Option<T>,
    ) -> (Self, T) {
        Self::try_start(command, ready).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Does the same for a program that may fail. The error contains its output.
    pub fn try_start<T: Send + 'static>(
        command: &mut Command,
        ready: fn(&str) -> Option<T>,
    ) -> Result<(Self, T), String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = io::pipe().expect("there are few pipes in use");
        let again = writer.try_clone().expect("there are few pipes in use");
        command.stdin(Stdio::null()).stdout(writer).stderr(again);
        let child = command.spawn().map_err(|error| cannot_start(&name, &error))?;
        // The command has our writers. The output would never end while they are open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let output = Output::default();
        let (sender, found) = mpsc::channel();
        thread::spawn({
            let output = output.clone();
            move || output.follow(reader, ready, &sender)
        });
        // From here on the process has an owner that stops it in any case.
        let process = Self { name, child, output };
        let why = match found.recv_timeout(START_TIMEOUT) {
            Ok(found) => return Ok((process, found)),
            Err(RecvTimeoutError::Timeout) => "was not ready in time",
            Err(RecvTimeoutError::Disconnected) => "ended before it was ready",
        };
        Err(format!("`{}` {why}\n{}", process.name, process.output.text()))
    }

    /// Returns the lines that the process has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.text().lines().map(str::to_owned).collect()
    }

    /// Kills the process, like a power failure.
    pub fn kill(&mut self) {
        // A process that has exited cannot be killed.
        let _ = self.child.kill();
        self.child.wait().expect("it is our child, and waited for here only");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("-- {}\n{}", self.name, self.output.text());
        }
    }
}

impl Output {
    /// Stores all lines until the end, and sends the values that are found in them.
    fn follow<T>(&self, reader: PipeReader, ready: fn(&str) -> Option<T>, found: &Sender<T>) {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if let Some(value) = ready(&line) {
                // The receiver is closed after the first value.
                let _ = found.send(value);
            }
            self.lines().push(line);
        }
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cannot_start(name: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!(
            "`{name}` is not installed: `cargo xtask test --only e2e` installs it or says how"
        ),
        _ => format!("`{name}` could not be started: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn program_is_ready_when_it_prints_its_line() {
        let mut program = shell("echo starting; echo port 42; exec sleep 600");
        let port = |line: &str| line.strip_prefix("port ")?.parse::<u16>().ok();
        let (_process, port) = Process::start(&mut program, port);
        assert_eq!(port, 42);
    }

    #[test]
    fn program_that_exits_before_it_is_ready_is_an_error_with_its_output() {
        let error = Process::try_start(&mut shell("echo no luck"), |_| None::<()>).unwrap_err();
        assert_eq!(error, "`sh` ended before it was ready\nno luck");
    }

    #[test]
    fn missing_program_is_named() {
        let error = Process::try_start(&mut Command::new("no-such"), |_| None::<()>).unwrap_err();
        assert!(error.starts_with("`no-such` is not installed"), "{error}");
    }
}
