//! A connection to a site, as the delivery service uses it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;

use super::adapter::socket::{Arguments, SendError, Socket};
use super::connection::Client;
use super::output::LARGE_PACKET;
use crate::delivery::site_client::OutgoingEvent;
use crate::rooms;
use crate::sites::Name;

/// Resolves when a delivery has been acked: to `true`, or to `false` if the connection has ended.
pub(crate) type Acked = BoxFuture<'static, bool>;

/// A connection to a site.
#[derive(Clone)]
pub(crate) enum SiteConnection {
    /// A stock client in the namespace of the site.
    Stock(Arc<dyn Socket>),
    /// A connection of our runtime.
    Runtime(Client),
}

impl SiteConnection {
    fn socket(&self) -> &Arc<dyn Socket> {
        match self {
            Self::Stock(socket) => socket,
            Self::Runtime(client) => &client.socket,
        }
    }

    pub(super) fn id(&self) -> String {
        self.socket().id()
    }

    /// Makes [`Sockets::close_site`] find a connection of our runtime.
    pub(crate) fn join(&self, site: &Name) {
        if let Self::Runtime(client) = self {
            client.socket.join(rooms::site_name(site));
        }
    }

    /// Leaves all rooms. It is also called when the connection is gone, because it may have joined
    /// a room after that.
    pub(crate) fn leave(&self) {
        self.socket().leave_all();
    }

    /// Sends an event.
    pub(crate) fn send(&self, event: &str, arguments: &[Box<RawValue>]) -> Result<(), SendError> {
        self.socket().send(event, packed(arguments))
    }

    /// Sends an event that needs an ack. A stock client acks each event by itself, and our runtime
    /// acks all events up to the last.
    pub(crate) fn send_for_ack(
        &self,
        OutgoingEvent { event, arguments, last }: &OutgoingEvent,
    ) -> Result<Acked, SendError> {
        match self {
            Self::Stock(socket) => {
                let acked = socket.send_for_ack(event, packed(arguments))?;
                Ok(acked.map(|ack| ack.is_some()).boxed())
            }
            Self::Runtime(client) => {
                // The ack may arrive as soon as the event is sent.
                let done = client.expect_ack(*last);
                self.send(event, arguments).inspect_err(|_| client.cancel_expected_ack(*last))?;
                Ok(done.map(|it| it.is_ok()).boxed())
            }
        }
    }

    /// Ends the connection, also if its buffers are full. The client connects again. The caller may
    /// await the returned future, and need not.
    pub(crate) fn disconnect(&self) -> impl Future<Output = ()> + use<> {
        Arc::clone(self.socket()).end()
    }
}

/// Returns the arguments of a packet, as text if they are large.
pub(super) fn packed(arguments: &[Box<RawValue>]) -> Arguments<'_> {
    let size = arguments.iter().map(|argument| argument.get().len()).sum();
    let list = Arguments::List(arguments);
    let text = (size >= LARGE_PACKET).then(|| list.to_text(size).ok()).flatten();
    text.map_or(list, Arguments::Text)
}
