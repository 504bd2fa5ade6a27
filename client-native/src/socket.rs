//! The one door to tokio-tungstenite.
//!
//! Each connection has a task of its own, which writes and reads at the same time: a server that does
//! not read must not keep the client from hearing, nor from noticing that time passes.

use backwire_protocol::packet::Packet;
use futures_util::future::{self, AbortHandle};
use futures_util::{SinkExt, StreamExt, pin_mut};
use tokio::sync::mpsc;
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::Message;

use crate::json::Json;

/// Frames that were read and wait for the client; then the server has to.
const UNHEARD: usize = 64;

/// An event of a socket.
pub(crate) enum Heard {
    /// A packet; `None` for a frame that is none.
    Packet(Option<Packet<Json>>),
    /// It is closed, or could not be opened.
    Closed,
}

/// One connection. Dropping it closes it and silences it.
pub(crate) struct Socket {
    outgoing: mpsc::UnboundedSender<String>,
    incoming: mpsc::Receiver<Option<Packet<Json>>>,
    task: AbortHandle,
}

impl Socket {
    /// Starts to connect.
    pub(crate) fn open(url: &str) -> Self {
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (heard, incoming) = mpsc::channel(UNHEARD);
        let (carry, task) = future::abortable(carry(url.to_owned(), to_send, heard));
        tokio::spawn(carry);
        Self { outgoing, incoming, task }
    }

    /// Sends a text frame. One that cannot be sent is lost with its connection, which closes.
    pub(crate) fn send(&self, frame: String) {
        let _ = self.outgoing.send(frame);
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        self.incoming.recv().await.map_or(Heard::Closed, Heard::Packet)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries frames both ways until either way ends. Then `heard` is dropped, which tells the client.
async fn carry(
    url: String,
    mut to_send: mpsc::UnboundedReceiver<String>,
    heard: mpsc::Sender<Option<Packet<Json>>>,
) {
    // Small frames must not wait for each other's acknowledgement.
    let no_delay = true;
    let Ok((stream, _)) = connect_async_with_config(url, None, no_delay).await else { return };
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
            if heard.send(packet).await.is_err() {
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
