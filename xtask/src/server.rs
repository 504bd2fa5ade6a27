//! A Backwire server that lives as long as we need it.
//!
//! Its output is read line by line: the first line with an address in it tells that it listens and
//! where (it may have chosen the port itself), and the end of the output that the process has
//! ended. Both arrive as events, so nothing here waits by sleeping.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to open its store and listen.
const START: Duration = Duration::from_secs(30);
/// How long a server may take to say goodbye to its connections.
const GOODBYE: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct Server {
    child: Child,
    origin: String,
    events: Receiver<Event>,
    /// Kept so that others can add events of theirs.
    sender: Sender<Event>,
}

/// An event while a server runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It printed an address.
    Listens(String),
    /// It is gone, or closed its output as it does when it goes.
    Ended,
    /// Someone wants it to stop.
    Interrupted,
}

impl Server {
    /// Starts a server and waits until it listens. All that it prints goes to `log`.
    pub(crate) fn start(command: &mut Command, log: impl Write + Send + 'static) -> Result<Self> {
        let (output, input) = io::pipe().context("a pipe could not be made")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .spawn()
            .with_context(|| format!("{:?} could not be started", command.get_program()))?;
        // The command holds our ends for writing; while they are open the output would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (sender, events) = mpsc::channel();
        let reader = sender.clone();
        thread::spawn(move || watch(BufReader::new(output), log, &reader));
        // From here on a failure stops the process, for it has an owner.
        let mut server = Self { child, origin: String::new(), events, sender };
        server.origin = server.listens()?;
        Ok(server)
    }

    /// The address that it listens at: `http://host:port`.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// For others to add events.
    pub(crate) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Waits until something happens, or for as long as given.
    pub(crate) fn next_event(&self, limit: Option<Duration>) -> Option<Event> {
        match limit {
            Some(limit) => self.events.recv_timeout(limit).ok(),
            None => self.events.recv().ok(),
        }
    }

    /// Asks it to end, as Ctrl-C does, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.interrupt();
        let status = self.child.wait()?;
        // A server that has no handler yet dies of the signal, which is as good.
        if !status.success() && status.code().is_some() {
            bail!("the server did not stop cleanly ({status})");
        }
        Ok(())
    }

    fn listens(&mut self) -> Result<String> {
        match self.events.recv_timeout(START) {
            Ok(Event::Listens(origin)) => Ok(origin),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the server did not listen within {} seconds", START.as_secs())
            }
            _ => bail!("the server ended before it listened ({})", self.child.wait()?),
        }
    }

    fn interrupt(&mut self) {
        let process = i32::try_from(self.child.id()).expect("process ids are positive i32s");
        if kill(Pid::from_raw(process), Signal::SIGINT).is_err() {
            return; // It ended before us.
        }
        loop {
            match self.events.recv_timeout(GOODBYE) {
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return drop(self.child.kill()),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing can be done about an error here.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Passes output on as it comes and tells what it means.
fn watch(output: impl BufRead, mut log: impl Write, events: &Sender<Event>) {
    let mut listens = false;
    for line in output.lines().map_while(Result::ok) {
        // A log that cannot be written must not stop the server by filling its pipe.
        let _ = writeln!(log, "{line}");
        if !listens && let Some(origin) = origin_in(&line) {
            listens = true;
            let _ = events.send(Event::Listens(origin));
        }
    }
    let _ = events.send(Event::Ended);
}

/// The address in a line such as `listening on http://127.0.0.1:1337/`.
fn origin_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let is_ours = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let authority = rest.split(|c| !is_ours(c)).next()?.trim_end_matches('.');
    let (_, port) = authority.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    Some(format!("http://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> Result<Server> {
        Server::start(Command::new("sh").args(["-c", script]), io::sink())
    }

    #[test]
    fn address_is_found_in_a_line() {
        let expected = Some("http://127.0.0.1:1337".to_owned());
        assert_eq!(origin_in("listening on http://127.0.0.1:1337"), expected);
        assert_eq!(origin_in("open http://127.0.0.1:1337/ now"), expected);
        assert_eq!(origin_in("at \u{1b}[3mhttp://127.0.0.1:1337\u{1b}[0m."), expected);
    }

    #[test]
    fn address_without_a_port_is_ignored() {
        assert_eq!(origin_in("see http://example.com/help"), None);
        assert_eq!(origin_in("no address at all"), None);
    }

    #[test]
    fn server_is_ready_when_it_has_printed_its_address() {
        let server = start("echo at http://localhost:4321; exec sleep 600").unwrap();
        assert_eq!(server.origin(), "http://localhost:4321");
        server.stop().unwrap();
    }

    #[test]
    fn server_that_cannot_listen_is_an_error() {
        let Err(error) = start("echo the port is taken; exit 4") else { panic!("it started") };
        assert_eq!(error.to_string(), "the server ended before it listened (exit status: 4)");
    }

    #[test]
    fn exit_of_a_server_is_an_event() {
        let server = start("echo at http://localhost:4321").unwrap();
        assert_eq!(server.next_event(None), Some(Event::Ended));
    }

    #[test]
    fn server_that_exits_with_an_error_is_reported() {
        let script =
            "trap 'exit 7' INT; echo at http://localhost:4321; while :; do sleep 0.1; done";
        let error = start(script).unwrap().stop().unwrap_err();
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }
}
