//! The WebSocket. Only this module uses tokio-tungstenite.
//!
//! Each connection has its own task, which writes and reads concurrently. So a server that does not
//! read cannot prevent the client from reading, nor delay its deadlines.

use backwire_protocol::packet::Packet;
use futures_util::future::{self, AbortHandle};
use futures_util::{Sink, SinkExt, Stream, StreamExt, pin_mut};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{client_async, connect_async_with_config};

use crate::connector::Connector;
use crate::json::Json;

/// The maximum number of frames that wait for the client. When it is reached, the task stops
/// reading.
const MAX_UNREAD_FRAMES: usize = 64;

/// An event of a socket.
pub(crate) enum SocketEvent {
    /// A packet, or `None` for a malformed frame.
    Packet(Option<Packet<Json>>),
    /// The socket is closed, or could not be opened.
    Closed,
}

/// A connection. Dropping it closes it; it then reports no more events.
pub(crate) struct Socket {
    outgoing: mpsc::UnboundedSender<String>,
    incoming: mpsc::Receiver<Option<Packet<Json>>>,
    task: AbortHandle,
}

impl Socket {
    /// Starts to connect.
    pub(crate) fn open(connector: &Connector) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (received, incoming) = mpsc::channel(MAX_UNREAD_FRAMES);
        let (run, task) = future::abortable(run(connector.clone(), to_send, received));
        tokio::spawn(run);
        Self { outgoing, incoming, task }
    }

    /// Sends a text frame. If that fails, the connection closes.
    pub(crate) fn send(&self, frame: String) {
        let _ = self.outgoing.send(frame);
    }

    pub(crate) async fn next_event(&mut self) -> SocketEvent {
        self.incoming.recv().await.map_or(SocketEvent::Closed, SocketEvent::Packet)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Transfers frames in both directions until either direction ends. Then `received` is dropped,
/// which notifies the client.
async fn run(
    connector: Connector,
    to_send: mpsc::UnboundedReceiver<String>,
    received: mpsc::Sender<Option<Packet<Json>>>,
) {
    match connector.opener() {
        Some(open) => {
            let Ok(stream) = open().await else { return };
            let Ok(request) = connector.request() else { return };
            if let Ok((stream, _)) = client_async(request, stream).await {
                transfer(stream, to_send, received).await;
            }
        }
        None => {
            let Ok(request) = connector.request() else { return };
            // Small frames must not wait for each other's acknowledgement.
            let no_delay = true;
            if let Ok((stream, _)) = connect_async_with_config(request, None, no_delay).await {
                transfer(stream, to_send, received).await;
            }
        }
    }
}

async fn transfer(
    stream: impl Stream<Item = Result<Message, Error>> + Sink<Message>,
    mut to_send: mpsc::UnboundedReceiver<String>,
    received: mpsc::Sender<Option<Packet<Json>>>,
) {
    let (mut sink, mut stream) = stream.split();
    let write = async {
        while let Some(frame) = to_send.recv().await {
            if sink.send(Message::text(frame)).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            let packet = match message {
                Message::Text(frame) => decode(&frame),
                Message::Binary(_) => None,
                _ => continue,
            };
            if received.send(packet).await.is_err() {
                return;
            }
        }
    };
    pin_mut!(write, read);
    future::select(write, read).await;
}

fn decode(frame: &str) -> Option<Packet<Json>> {
    Packet::decode(frame).ok()?.try_map(|at| Json::parse(&frame[at..]).ok_or(())).ok()
}
