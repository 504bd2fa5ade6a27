//! The trace of a run: everything that happened, with its times. Two runs with one seed have the
//! same trace.

use std::hash::Hasher;
use std::time::Instant;

use backwire_environment::Environment;
use parking_lot::Mutex;

pub(crate) struct Trace {
    environment: Environment,
    begin: Instant,
    is_kept: bool,
    lines: Mutex<Lines>,
}

struct Lines {
    text: String,
    hash: Fnv,
}

/// FNV-1a with 64 bits, which is the same on all machines.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Trace {
    /// Creates a trace. If it is not kept, it has only its hash.
    pub(crate) fn new(environment: Environment, is_kept: bool) -> Self {
        let begin = environment.now();
        let lines = Lines { text: String::new(), hash: Fnv(0xcbf2_9ce4_8422_2325) };
        Self { environment, begin, is_kept, lines: Mutex::new(lines) }
    }

    /// Returns the time at which the run began.
    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    /// Adds a line: who, the direction, and what.
    pub(crate) fn log(&self, name: &str, direction: &str, what: &str) {
        let time = (self.environment.now() - self.begin).as_millis();
        let mut lines = self.lines.lock();
        let time = u64::try_from(time).unwrap_or(u64::MAX);
        lines.hash.write(&time.to_le_bytes());
        for text in [name, direction, what] {
            lines.hash.write(text.as_bytes());
        }
        if self.is_kept {
            lines.text.push_str(&format!("{time:>8} {name} {direction} {what}\n"));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.lines.lock().hash.finish()
    }

    pub(crate) fn text(&self) -> String {
        self.lines.lock().text.clone()
    }
}
