//! Leases: a node claims its number, so that no two servers have the same one. A server that takes
//! the number of another would take the devices that are connected there for disconnected.
//!
//! A lease ends by itself, by the clock of Redis, if its server is killed. A server that is started
//! again waits for that. The other servers then record the devices that were connected to it as
//! disconnected. If it was only paused or cut off, it claims its number again, and has to
//! [restore](crate::Queues::restore) its devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use tracing::{error, info};

use super::connection::Commands;
use super::reply::Reply;
use super::runtime::{self, Moment, Task, draw_secret};
use super::script::{self, Call};
use crate::Error;

/// How long a lease lasts without a renewal.
const DURATION: Duration = Duration::from_secs(10);

/// The time between two renewals.
const RENEWAL: Duration = Duration::from_secs(3);

/// How long a claim waits for the end of another lease.
const MAX_WAIT: Duration = Duration::from_secs(12);

/// The time between two attempts to claim.
const RETRY: Duration = Duration::from_millis(100);

/// The name of the lease that excludes nodes.
const MIGRATION: &str = "migration";

/// The lease of one process.
#[derive(Debug)]
pub(super) struct Lease {
    commands: Arc<Commands>,
    /// Distinguishes this process from others.
    pub(super) token: String,
    /// Whether the lease has ended and begun again, so that devices are to be restored.
    pub(super) has_lapsed: Arc<AtomicBool>,
    /// Renews the lease.
    renewal: Mutex<Option<Task>>,
}

/// A lease that another process holds.
struct HeldLease {
    name: String,
}

/// The outcome of a claim.
enum Claim {
    Held(HeldLease),
    /// The lease is that of this process.
    Claimed {
        /// Whether it has been before.
        is_renewed: bool,
        /// The numbers of servers whose leases have ended without a release.
        killed: Vec<String>,
    },
}

impl Lease {
    /// Returns a lease that holds no number yet.
    pub(super) fn new(commands: Arc<Commands>) -> Self {
        let token = draw_secret().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let has_lapsed = Arc::default();
        Self { commands, token, has_lapsed, renewal: Mutex::default() }
    }

    /// Claims the number of a node. If another process holds it, this waits until that has ended or
    /// been killed, or fails.
    pub(super) async fn claim_node(&self, number: u64) -> Result<(), Error> {
        let begin = Moment::now();
        let mut is_waiting = false;
        while let Some(held) = self.claim(&number.to_string()).await? {
            if begin.elapsed() >= MAX_WAIT {
                return Err(held.refusal(number));
            }
            if !std::mem::replace(&mut is_waiting, true) {
                info!("waiting for another process: {}", held.refusal(number));
            }
            runtime::pause(RETRY).await;
        }
        Ok(())
    }

    /// Excludes nodes as long as this exists. It fails if there are any.
    pub(super) async fn exclude_nodes(&self) -> Result<(), Error> {
        match self.claim(MIGRATION).await? {
            None => Ok(()),
            Some(held) if held.name == MIGRATION => {
                Err(Error::Unavailable("another migration is in progress".to_owned()))
            }
            Some(HeldLease { name }) => Err(Error::Unavailable(format!(
                "a server with the number {name} uses the data in Redis: stop it first; after a crash of the \
                 server, try again in {DURATION:?}"
            ))),
        }
    }

    async fn claim(&self, name: &str) -> Result<Option<HeldLease>, Error> {
        // The former renewal would claim its own name again.
        *self.renewal.lock() = None;
        if let Claim::Held(held) = claim(&self.commands, name, &self.token).await? {
            return Ok(Some(held));
        }
        let renewal = Renewal {
            commands: Arc::clone(&self.commands),
            name: name.to_owned(),
            token: self.token.clone(),
            has_lapsed: Arc::clone(&self.has_lapsed),
        };
        *self.renewal.lock() = Some(runtime::spawn(renewal.run()));
        Ok(None)
    }

    /// Ends the lease.
    pub(super) async fn release(&self) {
        if self.renewal.lock().take().is_some() {
            release(Arc::clone(&self.commands), self.token.clone()).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.renewal.lock().take().is_some() {
            runtime::try_spawn(release(Arc::clone(&self.commands), self.token.clone()));
        }
    }
}

impl HeldLease {
    fn refusal(&self, number: u64) -> Error {
        Error::Unavailable(match self.name.as_str() {
            MIGRATION => "a migration of the data is in progress: start the server again when it has finished"
                .to_owned(),
            _ => format!(
                "another server has the number of this one: give each server its own `flakeid` (this one has \
                 datacenter {}, worker {})",
                number >> 5,
                number & 31
            ),
        })
    }
}

async fn claim(commands: &Commands, name: &str, token: &str) -> Result<Claim, Error> {
    let duration = u64::try_from(DURATION.as_millis()).unwrap_or(u64::MAX);
    let call = Call::new(&script::LEASE).with("claim").with(name).with(token).with(duration);
    let mut reply = Reply::list(commands.run(&call).await?.0)?;
    let outcome = reply.text()?;
    if outcome == "held" {
        return Ok(Claim::Held(HeldLease { name: reply.text()? }));
    }
    let mut killed = Vec::new();
    let mut names = reply.next_list()?;
    while let Ok(name) = names.text() {
        killed.push(name);
    }
    Ok(Claim::Claimed { is_renewed: outcome == "renewed", killed })
}

/// Renews a lease, and cleans up after servers that were killed.
struct Renewal {
    commands: Arc<Commands>,
    name: String,
    token: String,
    has_lapsed: Arc<AtomicBool>,
}

impl Renewal {
    async fn run(self) {
        let mut is_lost = false;
        loop {
            runtime::pause(RENEWAL).await;
            // If Redis is away, the lease may end, and is claimed again later.
            let Ok(claim) = claim(&self.commands, &self.name, &self.token).await else { continue };
            match &claim {
                Claim::Held(held) if !is_lost => self.report_lost(held),
                Claim::Held(_) => {}
                Claim::Claimed { is_renewed, killed } => {
                    self.has_lapsed.fetch_or(!is_renewed, Ordering::Relaxed);
                    self.disconnect_devices(killed).await;
                }
            }
            is_lost = matches!(claim, Claim::Held(_));
        }
    }

    fn report_lost(&self, held: &HeldLease) {
        let name = &self.name;
        if held.name == MIGRATION {
            error!("a migration has begun while this process was paused or cut off: stop it");
        } else {
            error!(
                "another server has taken the number of this one ({name}) while this one was paused or cut \
                 off: give each server its own `flakeid`, and restart this one"
            );
        }
    }

    /// Records the devices of other servers as disconnected.
    async fn disconnect_devices(&self, numbers: &[String]) {
        for number in numbers.iter().filter(|number| **number != self.name) {
            info!("the server with the number {number} has ended, and so have its connections");
            let call = Call::new(&script::QUEUE_WITHOUT_ROOM).with("killed");
            let call = call.with(runtime::unix_millis()).with(number);
            // An error ends it, and it is tried again after the next renewal.
            while let Ok((Value::Int(1..), _)) = self.commands.run(&call).await {}
        }
    }
}

async fn release(commands: Arc<Commands>, token: String) {
    let call = Call::new(&script::LEASE).with("release").with(token);
    if let Err(error) = commands.run(&call).await {
        info!(
            "cannot release the number of this server: {error}; its lease ends within {DURATION:?}"
        );
    }
}
