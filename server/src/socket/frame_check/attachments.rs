//! Makes the binary messages of a client empty.
//!
//! The only binary messages of Socket.IO are attachments of events. The server refuses events with
//! attachments when the last attachment has arrived, so that the answer can say why. The content of
//! attachments does not matter, and it would be held until then. The headers are passed on, so
//! Socket.IO counts the attachments.

use super::checker::Position;
use super::header::{Header, HeaderReader, Opcode};

/// The size of the header of an empty frame.
const EMPTY_HEADER: usize = 6;

/// Removes the payloads of binary messages from bytes that begin at a position or with the header
/// at that position. Returns how many bytes remain.
pub(super) fn remove(bytes: &mut [u8], position: Position) -> usize {
    let Position { missing, is_binary, is_in_binary, .. } = position;
    let mut payload = Payload { missing, is_removed: is_binary };
    let mut is_in_binary = is_in_binary;
    let (mut from, mut to) = (0, 0);
    while from < bytes.len() {
        let count = payload.take(bytes.len() - from);
        if count > 0 {
            if !payload.is_removed {
                bytes.copy_within(from..from + count, to);
                to += count;
            }
            from += count;
            continue;
        }
        let Some((header, size)) = header(&bytes[from..]) else { break };
        payload = Payload::of(&header, &mut is_in_binary);
        to += copy_header(bytes, from..from + size, to, payload.is_removed);
        from += size;
    }
    // The rest is an incomplete header.
    bytes.copy_within(from.., to);
    to + bytes.len() - from
}

/// The payload of a frame.
struct Payload {
    /// Bytes that have not been processed.
    missing: u64,
    is_removed: bool,
}

impl Payload {
    fn of(header: &Header, is_in_binary: &mut bool) -> Self {
        match header.opcode {
            Some(Opcode::Binary) => *is_in_binary = true,
            Some(Opcode::Text) => *is_in_binary = false,
            _ => {}
        }
        let is_data = header.opcode.is_some_and(|opcode| !opcode.is_control());
        Self { missing: header.length, is_removed: is_data && *is_in_binary }
    }

    /// Returns how many of the next bytes belong to the payload.
    fn take(&mut self, available: usize) -> usize {
        let count = usize::try_from(self.missing).map_or(available, |it| it.min(available));
        self.missing -= count as u64;
        count
    }
}

/// Reads the header at the beginning of these bytes. Returns it and its size, if it is complete.
fn header(bytes: &[u8]) -> Option<(Header, usize)> {
    let (size, header) = HeaderReader::default().read(bytes);
    header.map(|header| (header, size))
}

/// Copies a header, or the header of an empty frame instead. Returns its size.
fn copy_header(
    bytes: &mut [u8],
    header: std::ops::Range<usize>,
    to: usize,
    is_empty: bool,
) -> usize {
    if !is_empty {
        bytes.copy_within(header.clone(), to);
        return header.len();
    }
    let mask: [u8; 4] = std::array::from_fn(|index| bytes[header.end - 4 + index]);
    bytes[to] = bytes[header.start];
    bytes[to + 1] = 0x80;
    bytes[to + 2..to + EMPTY_HEADER].copy_from_slice(&mask);
    EMPTY_HEADER
}
