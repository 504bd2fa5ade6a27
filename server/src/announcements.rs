//! Announcements between servers that share a store, which are messages to rooms that are not
//! stored; and questions, which each server answers with a number: revocations, joins of many
//! clients, and counts.
//!
//! Both are events of the store. They reach each server at most once; a server that has missed
//! events checks all its connections again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backwire_engine::{self as engine, Engine, Environment};
use backwire_protocol::planted;
use backwire_records::change::Id;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Something that all servers do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Announcement {
    /// An event for the clients that listen to a named room, or for all clients.
    Broadcast {
        /// The name of the room.
        room: Option<String>,
        /// The name of the event.
        event: String,
        /// The data.
        data: Box<RawValue>,
        /// The connection that does not get it.
        omit: Option<String>,
    },
    /// A message for the stock clients that follow a resource, or a record of it.
    Publish {
        /// The resource.
        resource: String,
        /// The record.
        id: Option<Id>,
        /// The message.
        data: Box<RawValue>,
        /// The connection that does not get it.
        omit: Option<String>,
    },
}

/// Something that all servers do or count, and answer with a number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// The connections of a person of a site are ended. The answer is how many there were.
    RevokeUser {
        /// The name of the site.
        site: String,
        /// The text after the site's prefix in the person's room.
        user: String,
    },
    /// The same for the connections that were authenticated with a token.
    RevokeSession {
        /// The name of the site.
        site: String,
        /// The [hash](hash_of) of their `Authorization` header.
        authorization: String,
    },
    /// The stock clients that listen to a resource join the room of a record. The answer is 0.
    Introduce {
        /// The resource.
        resource: String,
        /// The record.
        id: Id,
        /// The connection that does not join.
        omit: Option<String>,
    },
    /// The answer is how many connections are in the room of a resource, or of a record.
    CountSubscribers {
        /// The resource.
        resource: String,
        /// The record.
        id: Option<Id>,
    },
}

/// The answers of the other servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    /// The sum of their numbers.
    pub(crate) sum: usize,
    /// The number of servers that have not answered in time.
    pub(crate) missing_servers: usize,
}

#[derive(Serialize, Deserialize)]
struct Envelope<A> {
    /// The number of the server that announces it.
    server: u64,
    announcement: A,
}

/// Announces, and reads what others announce. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Announcer(Arc<Inner>);

struct Inner {
    environment: Environment,
    engine: std::sync::Weak<dyn Engine>,
    /// A random number.
    server: u64,
    /// Whether there may be other servers.
    is_shared: AtomicBool,
}

impl Announcer {
    /// Returns the announcer of a server. It does not keep the engine open.
    pub(crate) fn new(environment: Environment, engine: &Arc<dyn Engine>) -> Self {
        let (server, engine) = (environment.random_u64(), Arc::downgrade(engine));
        let is_shared = AtomicBool::new(false);
        Self(Arc::new(Inner { environment, engine, server, is_shared }))
    }

    /// From now on, announcements reach other servers.
    pub(crate) fn begin(&self) {
        self.0.is_shared.store(true, Ordering::Relaxed);
    }

    /// Announces something to the other servers, if there may be any.
    pub(crate) async fn announce(&self, announcement: &Announcement) -> Result<(), engine::Error> {
        let Some(engine) = self.0.engine.upgrade().filter(|_| self.is_shared()) else {
            return Ok(());
        };
        let envelope = Envelope { server: self.0.server, announcement };
        let text = serde_json::to_string(&envelope)
            .map_err(|error| engine::Error::Unavailable(error.to_string()))?;
        engine.announce(&text).await
    }

    /// The same in the background. A failure is logged.
    pub(crate) fn announce_later(&self, announcement: Announcement) {
        if self.is_shared() {
            let announcer = self.clone();
            self.0.environment.spawn(async move {
                if let Err(error) = announcer.announce(&announcement).await {
                    tracing::warn!(%error, "a message to a room did not reach other servers");
                }
            });
        }
    }

    /// Asks the other servers, if there may be any.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Total, engine::Error> {
        if planted::has("other-servers-not-asked") {
            return Ok(Total::default());
        }
        let Some(engine) = self.0.engine.upgrade().filter(|_| self.is_shared()) else {
            return Ok(Total::default());
        };
        let text = serde_json::to_string(question)
            .map_err(|error| engine::Error::Unavailable(error.to_string()))?;
        let answers = engine.ask(&text).await?;
        let sum = answers.texts.iter().filter_map(|text| text.parse::<usize>().ok()).sum();
        Ok(Total { sum, missing_servers: answers.missing })
    }

    /// Reads an announcement of another server. `None` if it is one of this server, or of a version
    /// that is not known.
    pub(crate) fn read(&self, text: &str) -> Option<Announcement> {
        let envelope: Envelope<Announcement> = serde_json::from_str(text)
            .inspect_err(|error| tracing::warn!(%error, "an announcement is not readable"))
            .ok()?;
        (envelope.server != self.0.server).then_some(envelope.announcement)
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Announcer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Announcer").field("server", &self.0.server).finish_non_exhaustive()
    }
}

/// Returns a hash of a header with a token, so that the store does not have the token.
pub(crate) fn hash_of(authorization: &[u8]) -> String {
    Sha256::digest(authorization).iter().map(|byte| format!("{byte:02x}")).collect()
}
