//! Splits large frames of a client into several smaller ones.
//!
//! tungstenite reads a frame into a buffer of its connection, and that buffer never shrinks: each
//! connection that has once sent a frame of 4 MB would keep 4 MB. A message in several frames is
//! put together in memory of its own.
//!
//! Only headers are replaced and added. The mask stays the same, because the frames end at a
//! multiple of its size.

use tokio::io::ReadBuf;

use super::checker::FrameChecker;
use super::header::{MAX_SIZE, Opcode};

/// The maximum length of a frame that is passed on. The length of a longer one has two bytes or
/// eight.
pub(super) const MAX_FRAME: usize = 8 << 10;

/// The size of a header whose length has two bytes.
const MEDIUM_SIZE: usize = 8;

/// A reader with room for fewer bytes does not get a header in place.
pub(super) const MIN_ROOM: usize = 2 * MAX_SIZE;

/// Splits the frames that a [`FrameChecker`] has checked.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The beginning of an incomplete header.
    held: Vec<u8>,
    /// Bytes that the reader gets before anything that is read next.
    ready: Vec<u8>,
    /// The large frame that arrives.
    large: Option<LargeFrame>,
}

#[derive(Debug)]
struct LargeFrame {
    is_final: bool,
    mask: [u8; 4],
    /// Bytes of the current part that have not arrived. A part is a frame of its own.
    part: usize,
    /// Bytes behind that part.
    rest: u64,
}

impl Splitter {
    /// Returns the beginning of an incomplete header. The bytes that are read next belong to the
    /// same header.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Drops the incomplete header, because no more bytes arrive.
    pub(super) fn drop_header(&mut self) {
        self.held.clear();
    }

    /// Stores bytes that were read, to be passed on first.
    pub(super) fn prepare(&mut self, bytes: &[u8]) {
        self.ready.splice(..0, bytes.iter().copied());
    }

    /// Passes on the bytes that are ready. Returns `false` if there are none.
    pub(super) fn pass(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let count = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..count]);
        self.ready.drain(..count);
        count > 0
    }

    /// Returns how many bytes may be read now: no more than one part of a large frame.
    pub(super) fn max_read(&self) -> usize {
        self.large.as_ref().map_or(MAX_FRAME, |large| large.part)
    }

    /// Splits the last `count` of `bytes`, in which the checker has found no violation. The bytes
    /// before are the bytes that were held. Changes the bytes, and returns how many of them are to
    /// be passed on.
    pub(super) fn split(
        &mut self,
        bytes: &mut [u8],
        count: usize,
        checker: &FrameChecker,
    ) -> usize {
        self.held.clear();
        match &mut self.large {
            Some(large) => {
                large.part -= count;
                if large.part == 0 {
                    self.begin_part();
                }
                bytes.len()
            }
            None => {
                let (passed, incomplete) = bytes.split_at_mut(bytes.len() - checker.header_bytes());
                self.held.extend_from_slice(incomplete);
                self.begin(passed, checker);
                passed.len()
            }
        }
    }

    /// Begins a large frame if one arrives.
    fn begin(&mut self, bytes: &mut [u8], checker: &FrameChecker) {
        let Some(frame) = checker.partial_frame().filter(|frame| frame.length > MAX_FRAME as u64)
        else {
            return;
        };
        // Less than a whole frame has been read.
        let end = bytes.len() - frame.received;
        let header = &mut bytes[end - frame.header_size..end];
        header[0] &= 0x7f;
        match frame.header_size {
            MEDIUM_SIZE => header[2..4].copy_from_slice(&(MAX_FRAME as u16).to_be_bytes()),
            _ => header[2..10].copy_from_slice(&(MAX_FRAME as u64).to_be_bytes()),
        }
        let mask = std::array::from_fn(|index| header[frame.header_size - 4 + index]);
        let (part, rest) = (MAX_FRAME - frame.received, frame.length - MAX_FRAME as u64);
        self.large = Some(LargeFrame { is_final: frame.is_final, mask, part, rest });
    }

    /// Begins the next part of a large frame, if there is one.
    fn begin_part(&mut self) {
        let Some(large) = self.large.as_mut().filter(|large| large.rest > 0) else {
            self.large = None;
            return;
        };
        large.part = usize::try_from(large.rest).map_or(MAX_FRAME, |rest| rest.min(MAX_FRAME));
        large.rest -= large.part as u64;
        let first = if large.is_final && large.rest == 0 { 0x80 } else { 0 };
        self.ready.extend([first | Opcode::Continuation as u8, 0x80 | 127]);
        self.ready.extend((large.part as u64).to_be_bytes());
        self.ready.extend(large.mask);
    }
}
