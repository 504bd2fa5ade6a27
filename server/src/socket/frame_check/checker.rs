//! Checks the frames that a client sends by the rules of RFC 6455.

use super::header::{Header, HeaderReader, Opcode};
use super::utf8::{Mask, NotUtf8, Utf8Checker};
use super::violation::Violation;

/// The maximum length of the payload of a control frame.
const MAX_CONTROL: u64 = 125;

/// Checks the frames that a client sends, in whatever parts they arrive. It holds no payload.
#[derive(Debug)]
pub(super) struct FrameChecker {
    /// The maximum number of bytes in a message.
    max: u64,
    header: HeaderReader,
    frame: Frame,
    message: Option<Message>,
    /// The number of complete messages.
    completed: u64,
    /// The number of frames that have begun.
    frames: u64,
    /// The number of frames of binary messages that have begun.
    binary_frames: u64,
    /// Bytes of the binary messages since the last text.
    attachments: u64,
    /// The maximum number of bytes in them.
    max_attachments: u64,
    /// Messages that were packets of Socket.IO, and packets that announced attachments.
    packets: Packets,
    /// Checks the current message if it is text.
    utf8: Utf8Checker,
    /// The payload of a close frame.
    close: Vec<u8>,
    /// The client has sent a close frame. Later bytes do not count.
    is_closed: bool,
}

/// The frame whose payload arrives.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    is_final: bool,
    mask: Mask,
    length: u64,
    /// Bytes of the payload that have arrived.
    received: u64,
    header_size: usize,
}

/// A frame of data that has arrived in part.
#[derive(Debug)]
pub(super) struct PartialFrame {
    pub(super) is_final: bool,
    pub(super) length: u64,
    pub(super) received: usize,
    pub(super) header_size: usize,
}

/// A message that is not complete.
#[derive(Debug, Clone, Copy)]
struct Message {
    is_text: bool,
    /// Bytes in the frames that have begun.
    length: u64,
    /// The first bytes of a text.
    begin: [u8; 2],
    begun: usize,
}

/// Complete packets of Socket.IO, by the first bytes of their messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::socket) struct Packets {
    pub(in crate::socket) all: u64,
    /// Packets that announced attachments.
    pub(in crate::socket) with_attachments: u64,
}

/// The position of the next byte in the frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// Bytes of the current payload that have not arrived.
    pub(super) missing: u64,
    /// Whether these bytes belong to a binary message.
    pub(super) is_binary: bool,
    /// Whether a binary message has begun and is not complete.
    pub(super) is_in_binary: bool,
    binary_frames: u64,
}

/// Bytes that must not be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// How many of the bytes may be passed on. They end before the frame that violates the protocol
    /// is complete.
    pub(super) accepted: usize,
    pub(super) violation: Violation,
}

impl FrameChecker {
    /// `max` is the maximum number of bytes in a message.
    pub(super) fn new(max: usize) -> Self {
        let frame = Frame {
            opcode: Opcode::Continuation,
            is_final: true,
            mask: Mask::default(),
            length: 0,
            received: 0,
            header_size: 0,
        };
        Self {
            max: max as u64,
            header: HeaderReader::default(),
            frame,
            message: None,
            completed: 0,
            frames: 0,
            binary_frames: 0,
            attachments: 0,
            max_attachments: u64::MAX,
            packets: Packets::default(),
            utf8: Utf8Checker::default(),
            close: Vec::new(),
            is_closed: false,
        }
    }

    /// Limits the bytes of the binary messages between two texts.
    pub(super) fn with_attachments(self, max: usize) -> Self {
        Self { max_attachments: max as u64, ..self }
    }

    /// Returns the position of the next byte.
    pub(super) fn position(&self) -> Position {
        let is_in_binary = self.message.is_some_and(|message| !message.is_text);
        let missing = self.frame.missing();
        let is_binary = missing > 0 && is_in_binary && !self.frame.opcode.is_control();
        Position { missing, is_binary, is_in_binary, binary_frames: self.binary_frames }
    }

    /// Whether bytes of binary messages have arrived since a position.
    pub(super) fn has_binary_since(&self, position: Position) -> bool {
        position.is_binary || position.binary_frames != self.binary_frames
    }

    /// Returns the counts of complete packets of Socket.IO.
    pub(super) fn packets(&self) -> Packets {
        self.packets
    }

    /// Checks the next bytes. After an error there is nothing more to check.
    pub(super) fn check(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        let mut at = 0;
        while at < bytes.len() && !self.is_closed {
            match self.frame.missing() {
                0 => {
                    let (read, header) = self.header.read(&bytes[at..]);
                    at += read;
                    // The last byte of a header that is rejected is not accepted.
                    let rejected = |violation| Rejection { accepted: at - 1, violation };
                    header.map_or(Ok(()), |header| self.begin(header)).map_err(rejected)?;
                }
                missing => {
                    let rest = &bytes[at..];
                    let count =
                        usize::try_from(missing).map_or(rest.len(), |it| it.min(rest.len()));
                    let rejected = |violation| Rejection { accepted: at, violation };
                    self.check_payload(&rest[..count]).map_err(rejected)?;
                    at += count;
                }
            }
        }
        Ok(())
    }

    /// Returns the bytes of a header that is not complete.
    pub(super) fn header_bytes(&self) -> usize {
        self.header.count()
    }

    /// Returns the frame of text that is not complete, if its header is.
    pub(super) fn partial_frame(&self) -> Option<PartialFrame> {
        let Frame { opcode, is_final, length, received, header_size, .. } = self.frame;
        let is_arriving = self.frame.missing() > 0 && !opcode.is_control() && self.is_text();
        let is_arriving = is_arriving && !self.is_closed;
        let received = usize::try_from(received).ok().filter(|_| is_arriving)?;
        Some(PartialFrame { is_final, length, received, header_size })
    }

    /// Returns how many messages were complete.
    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    /// Returns how many frames have begun.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Returns the bytes of the text that is not complete, as far as its frames have begun. Binary
    /// messages are not passed on.
    pub(super) fn message_bytes(&self) -> u64 {
        self.message.filter(|message| message.is_text).map_or(0, |message| message.length)
    }

    /// Whether the client has sent a close frame.
    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn begin(&mut self, header: Header) -> Result<(), Violation> {
        self.frames += 1;
        let opcode = header.opcode.ok_or(Violation::UnknownOpcode)?;
        let mask = header.mask.ok_or(Violation::NotMasked)?;
        if header.has_reserved_bits {
            return Err(Violation::ReservedBits);
        }
        match opcode.is_control() {
            true => check_control(&header)?,
            false => self.begin_data(opcode, header.length)?,
        }
        if header.length > self.max {
            return Err(Violation::TooLarge);
        }
        let (mask, length) = (Mask::new(mask), header.length);
        let (is_final, header_size) = (header.is_final, header.size);
        self.frame = Frame { opcode, is_final, mask, length, received: 0, header_size };
        if length == 0 { self.end() } else { Ok(()) }
    }

    fn begin_data(&mut self, opcode: Opcode, length: u64) -> Result<(), Violation> {
        let before = match (opcode, self.message) {
            (Opcode::Continuation, None) => return Err(Violation::NothingToContinue),
            (Opcode::Continuation, Some(message)) => message,
            (_, Some(_)) => return Err(Violation::NotContinued),
            (_, None) => {
                Message { is_text: opcode == Opcode::Text, length: 0, begin: [0; 2], begun: 0 }
            }
        };
        self.count_attachment(before.is_text, length)?;
        let length = before.length.saturating_add(length);
        self.message = Some(Message { length, ..before });
        if length > self.max { Err(Violation::TooLarge) } else { Ok(()) }
    }

    fn count_attachment(&mut self, is_text: bool, length: u64) -> Result<(), Violation> {
        if is_text {
            self.attachments = 0;
            return Ok(());
        }
        self.binary_frames += 1;
        self.attachments = self.attachments.saturating_add(length);
        if self.attachments > self.max_attachments { Err(Violation::TooLarge) } else { Ok(()) }
    }

    fn check_payload(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        match self.frame.opcode {
            Opcode::Close => {
                let begin = self.close.len();
                self.close.resize(begin + bytes.len(), 0);
                self.frame.mask.unmask(bytes, &mut self.close[begin..]);
            }
            Opcode::Ping | Opcode::Pong => {}
            _ if self.is_text() => {
                self.utf8.check(bytes, self.frame.mask)?;
                self.keep_begin(bytes);
            }
            _ => {}
        }
        self.frame.advance(bytes.len());
        if self.frame.missing() == 0 { self.end() } else { Ok(()) }
    }

    /// Keeps the first bytes of a text.
    fn keep_begin(&mut self, bytes: &[u8]) {
        let Some(message) = &mut self.message else { return };
        let missing = &mut message.begin[message.begun..];
        let count = missing.len().min(bytes.len());
        self.frame.mask.unmask(&bytes[..count], &mut missing[..count]);
        message.begun += count;
    }

    /// Ends a complete frame.
    fn end(&mut self) -> Result<(), Violation> {
        match self.frame.opcode {
            Opcode::Close => {
                check_close(&self.close)?;
                self.is_closed = true;
            }
            Opcode::Ping | Opcode::Pong => {}
            _ if !self.frame.is_final => {}
            _ if self.utf8.is_incomplete() => return Err(Violation::NotUtf8),
            _ => {
                let message = self.message.take();
                self.completed += 1;
                self.packets.count(message.filter(|message| message.is_text));
            }
        }
        Ok(())
    }

    fn is_text(&self) -> bool {
        self.message.is_some_and(|message| message.is_text)
    }
}

impl Packets {
    fn count(&mut self, text: Option<Message>) {
        let [engine, kind] = text.map(|text| text.begin).unwrap_or_default();
        self.all += u64::from(engine == b'4');
        self.with_attachments += u64::from(engine == b'4' && matches!(kind, b'5' | b'6'));
    }
}

impl Frame {
    /// Bytes of the payload that have not arrived.
    fn missing(&self) -> u64 {
        self.length - self.received
    }

    fn advance(&mut self, count: usize) {
        self.received += count as u64;
        self.mask.advance(count);
    }
}

impl From<NotUtf8> for Violation {
    fn from(NotUtf8: NotUtf8) -> Self {
        Self::NotUtf8
    }
}

fn check_control(header: &Header) -> Result<(), Violation> {
    match header {
        Header { is_final: false, .. } => Err(Violation::FragmentedControl),
        Header { length, .. } if *length > MAX_CONTROL => Err(Violation::LongControl),
        _ => Ok(()),
    }
}

/// Checks the payload of a close frame: it is empty, or has a code and a reason.
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload.split_first_chunk() {
        Some((_, reason)) if str::from_utf8(reason).is_err() => Err(Violation::NotUtf8),
        Some((code, _)) if is_code(u16::from_be_bytes(*code)) => Ok(()),
        None if payload.is_empty() => Ok(()),
        _ => Err(Violation::CloseCode),
    }
}

/// Whether an endpoint may send this code: RFC 6455, section 7.4.
fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999)
}
