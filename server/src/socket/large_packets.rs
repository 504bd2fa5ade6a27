//! Large packets, which bypass the buffers of engineioxide and tungstenite.
//!
//! tungstenite copies each message into a buffer of its connection. The buffer keeps the size of
//! the largest message as long as the connection lives. So a large packet waits here, and a small
//! *placeholder* is queued in its place: a packet like it, whose only argument is a string with a
//! random token. The placeholder is replaced by the packet where packets leave the server:
//! [`SentStream`](super::sent_stream) on a WebSocket, and [`Payload`](super::polled_packets) in the
//! answer to a poll.
//!
//! Invariant: a placeholder is queued only if its packet waits here, in the same session. A client
//! never sees a token, so the text of a record cannot be taken for a placeholder.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

/// A token in JSON: a string of 32 hexadecimal digits.
const QUOTED_TOKEN: usize = 34;

/// The end of a packet, after the token.
const END: &[u8] = b"]";

/// The large packets of one session that are queued.
#[derive(Debug, Default)]
pub(super) struct LargePackets {
    /// The number of packets.
    count: AtomicUsize,
    /// The arguments of each packet, as JSON, by token. They leave in nearly the same order.
    waiting: Mutex<VecDeque<(Token, Bytes)>>,
}

/// The text that a placeholder has in place of the arguments.
type Token = String;

/// The parts of a packet that has replaced its placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LargePacket {
    /// The text before the arguments.
    pub(super) head: Bytes,
    pub(super) arguments: Bytes,
}

impl LargePackets {
    /// Sends a packet with these arguments: `send` queues a packet with the token as its only
    /// argument. If `send` fails, nothing has changed.
    pub(super) fn send<T, E>(
        &self,
        arguments: Bytes,
        send: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, E> {
        let token = format!("{:032x}", rand::random::<u128>());
        let mut waiting = self.waiting.lock();
        // This runs before `send`, because the placeholder may be on its way before `send` returns.
        waiting.push_back((token, arguments));
        self.count.store(waiting.len(), Ordering::SeqCst);
        let (token, _) = waiting.back().expect("it was just added");
        let sent = send(token);
        if sent.is_err() {
            waiting.pop_back();
            self.count.store(waiting.len(), Ordering::SeqCst);
        }
        sent
    }

    /// Whether no packet is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Whether this packet is a placeholder.
    pub(super) fn contains(&self, packet: &[u8]) -> bool {
        split(packet).is_some_and(|(_, token)| position(&self.waiting.lock(), token).is_some())
    }

    /// Takes out the packet that a placeholder stands for. Returns `None` if this packet is not a
    /// placeholder.
    pub(super) fn take(&self, packet: &[u8]) -> Option<LargePacket> {
        let (head, token) = split(packet)?;
        let mut waiting = self.waiting.lock();
        let position = position(&waiting, token)?;
        let (_, arguments) = waiting.remove(position)?;
        self.count.store(waiting.len(), Ordering::SeqCst);
        if waiting.is_empty() {
            // Release the memory that a burst needed.
            *waiting = VecDeque::new();
        }
        Some(LargePacket { head: Bytes::copy_from_slice(head), arguments })
    }
}

/// Splits a packet into its head and its only argument. Returns `None` if the argument is not a
/// token.
fn split(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let packet = packet.strip_suffix(END)?;
    let (head, quoted) = packet.split_at_checked(packet.len().checked_sub(QUOTED_TOKEN)?)?;
    Some((head, quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?))
}

fn position(waiting: &VecDeque<(Token, Bytes)>, token: &[u8]) -> Option<usize> {
    waiting.iter().position(|(it, _)| it.as_bytes() == token)
}

impl LargePacket {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.arguments.len() + END.len()
    }

    /// Returns the parts of its text, in order.
    pub(super) fn into_parts(self) -> [Bytes; 3] {
        [self.head, self.arguments, Bytes::from_static(END)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholder(packets: &LargePackets, head: &str, arguments: &str) -> String {
        let sent = packets.send(Bytes::copy_from_slice(arguments.as_bytes()), |token| {
            serde_json::to_string(&[token]).map(|json| format!("{head}[{}", &json[1..]))
        });
        sent.unwrap()
    }

    fn taken(packets: &LargePackets, packet: &str) -> Option<String> {
        let parts = packets.take(packet.as_bytes())?.into_parts().concat();
        Some(String::from_utf8(parts).unwrap())
    }

    #[test]
    fn placeholder_is_replaced_once_in_any_order() {
        let packets = LargePackets::default();
        let first = placeholder(&packets, "431", r#"{"a":1}"#);
        let second = placeholder(&packets, "432", r#"1,"]""#);
        assert!(!packets.is_empty() && first.len() < 64);
        assert_eq!(taken(&packets, &second).unwrap(), r#"432[1,"]"]"#);
        assert_eq!(taken(&packets, &second), None);
        assert_eq!(taken(&packets, &first).unwrap(), r#"431[{"a":1}]"#);
        assert!(packets.is_empty());
    }

    #[test]
    fn other_packets_are_unchanged() {
        let packets = LargePackets::default();
        placeholder(&packets, "431", "1");
        let similar = format!(r#"431["{:032x}"]"#, 7);
        for packet in ["", "2", "]", r#"431["0123"]"#, &similar, &"x".repeat(100)] {
            assert_eq!(taken(&packets, packet), None, "{packet}");
        }
    }

    #[test]
    fn packet_that_cannot_be_queued_does_not_wait() {
        let packets = LargePackets::default();
        assert_eq!(packets.send(Bytes::from_static(b"1"), |_| Err::<(), _>("full")), Err("full"));
        assert!(packets.is_empty());
    }
}
