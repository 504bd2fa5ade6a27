//! The kinds of faults of a run.

use std::fmt;

use clap::ValueEnum;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// Connections end
    Cut,
    /// Nothing arrives over connections that stay open (half-open connections)
    Freeze,
    /// Connections get a latency of up to a second
    Delay,
    /// Connections end in the middle of a packet
    Truncate,
    /// The server is killed with SIGKILL and started again
    Kill,
    /// The server is paused with SIGSTOP for some seconds
    Stop,
    /// The Redis of the server is killed with SIGKILL and started again
    KillRedis,
    /// The Redis of the server is paused with SIGSTOP for some seconds
    StopRedis,
}

impl Fault {
    /// All faults. A run without `--faults` has those of them that are possible.
    pub(crate) const DEFAULT: [Self; 8] = [
        Self::Cut,
        Self::Freeze,
        Self::Delay,
        Self::Truncate,
        Self::Kill,
        Self::Stop,
        Self::KillRedis,
        Self::StopRedis,
    ];

    /// Whether the fault needs a server that the run has started, or the Redis of that server.
    pub(crate) const fn is_of_server(self) -> bool {
        matches!(self, Self::Kill | Self::Stop) || self.is_of_redis()
    }

    /// Whether the fault needs a Redis that the run has started.
    pub(crate) const fn is_of_redis(self) -> bool {
        matches!(self, Self::KillRedis | Self::StopRedis)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "cut",
            Self::Freeze => "freeze",
            Self::Delay => "delay",
            Self::Truncate => "truncate",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::KillRedis => "kill-redis",
            Self::StopRedis => "stop-redis",
        })
    }
}
