//! The queue of messages before the task that delivers them.

use std::sync::Arc;

use backwire_engine as engine;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use crate::error::Result;
use crate::http::send::{self, QueuedMessage};

/// A message to deliver, and where the outcome is sent.
pub(crate) type SendRequest = (QueuedMessage, oneshot::Sender<Result<()>>);

/// Enqueues messages for the delivery task. It does not keep a server from stopping.
#[derive(Clone)]
pub(crate) struct DeliveryQueue(mpsc::WeakSender<SendRequest>);

impl DeliveryQueue {
    pub(crate) fn new(sender: mpsc::WeakSender<SendRequest>) -> Self {
        Self(sender)
    }

    /// Returns the function that enqueues the messages of `POST /send`.
    pub(crate) fn enqueue_function(self) -> send::Enqueue {
        Arc::new(move |message| self.clone().enqueue(message).boxed())
    }

    /// Stores a message. The order of messages is the order in which these futures are first
    /// polled.
    async fn enqueue(self, message: QueuedMessage) -> Result<()> {
        let stopped = || engine::Error::Unavailable("the server has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let sender = self.0.upgrade().ok_or_else(stopped)?;
        sender.send((message, answer)).await.map_err(|_| stopped())?;
        drop(sender);
        answered.await.map_err(|_| stopped())?
    }
}
