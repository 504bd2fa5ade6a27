//! The surroundings of the pages of a run: the environment, the connections, and the truth that
//! everything is compared with.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use backwire_environment::Environment;
use tokio::sync::mpsc;

use crate::history::History;
use crate::messages::Messages;
use crate::people::People;
use crate::view::Names;
use crate::writes::Writes;

/// The truth that the pages of a run are compared with, and their environment.
pub struct Checks {
    pub environment: Environment,
    pub history: Arc<History>,
    pub people: People,
    pub messages: Arc<Messages>,
    pub writes: Writes,
    begin: Instant,
}

/// The services of a run that its pages need.
pub trait World: Deref<Target = Checks> + Send + Sync + 'static {
    /// A connection, at the end of the page. It ends when this is dropped.
    type Line: Line;

    /// Returns the auth of a person's device, as JSON.
    fn auth(&self, person: &str, device: &str) -> String;

    /// Opens a connection of a page. Its packets and its end are sent to the page, under this
    /// number.
    fn open(
        &self,
        name: &str,
        to_page: (u64, mpsc::UnboundedSender<(u64, Incoming)>),
    ) -> Self::Line;

    /// Opens a connection on which there are no faults.
    fn open_directly(
        &self,
        name: &str,
        to_page: (u64, mpsc::UnboundedSender<(u64, Incoming)>),
    ) -> Self::Line {
        self.open(name, to_page)
    }

    /// Adds a line to the trace of the run, if it has one.
    fn log(&self, name: &str, direction: &str, what: &str);

    /// Notes that a page has made the write with this number.
    fn written(&self, _number: u64) {}

    /// Notes that a push has brought the write with this number to a page.
    fn received(&self, _number: u64) {}
}

/// A connection, at the end of the page. It ends when this is dropped.
pub trait Line: Send {
    /// Sends a packet of Engine.IO. A page may send after the connection has ended.
    fn send(&self, packet: String);

    /// Injects a fault.
    fn inject(&self, fault: LineFault);
}

/// An event at a page's end of a connection.
#[derive(Debug)]
pub enum Incoming {
    Packet(String),
    Closed,
}

/// A fault of a connection.
#[derive(Debug, Clone, Copy)]
pub enum LineFault {
    /// It ends.
    Cut,
    /// Nothing arrives any more, and nobody notices.
    Silence,
    /// The page reads nothing for this many milliseconds.
    Stall(u64),
}

impl Checks {
    /// Begins a run.
    pub fn new(environment: Environment) -> Self {
        Self {
            history: Arc::default(),
            people: People::default(),
            messages: Arc::default(),
            writes: Writes::default(),
            begin: environment.now(),
            environment,
        }
    }

    /// Begins a run whose logs become known at its end.
    pub fn without_logs(environment: Environment, names: Names) -> Self {
        Self { history: Arc::new(History::without_logs(names)), ..Self::new(environment) }
    }

    /// Returns the time since the begin of the run, in milliseconds.
    pub fn now(&self) -> u64 {
        let passed = self.environment.now() - self.begin;
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }
}
