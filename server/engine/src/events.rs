//! The events that servers with one store send each other, beside the changes of records.

use std::sync::Arc;

use backwire_records::messages::flake::Flake;
use backwire_records::messages::message::Message;

/// An event at any server that shares the store, including this one.
#[derive(Debug, Clone)]
pub enum StoreEvent {
    /// A message of a back end was stored. Such events are in the order of the ids of messages.
    MessageStored(StoredMessage),
    /// A session was changed in a way that may change the rights of its connections. It has this
    /// id, or had it before.
    SessionChanged(Arc<str>),
    /// A server has [announced](crate::Engine::announce) this text.
    Announced(String),
    /// Another server has [asked](crate::Engine::ask) this text, and waits for the
    /// [answer](crate::Engine::answer).
    Asked(Question, String),
    /// Some events did not reach this server. Their messages for persons are in the queues.
    Missed,
}

/// A question of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question(pub(crate) String);

impl Question {
    /// Creates a question with a name that no other question has.
    pub fn new(name: String) -> Self {
        Self(name)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The answers to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// The answers, one of each server.
    pub texts: Vec<String>,
    /// The number of servers that have not answered in time.
    pub missing: usize,
}

/// A message of a back end that was stored.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// The id of its deliveries.
    pub id: Flake,
    /// The site.
    pub site: Arc<str>,
    /// The persons whose queues have it. Its other rooms are of several people, and have no queue.
    pub persons: Vec<Arc<str>>,
    /// The message.
    pub message: Arc<Message>,
}
