//! Violations of the WebSocket protocol, and the close frame that reports them.

/// A violation of the WebSocket protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    UnknownOpcode,
    NotMasked,
    ReservedBits,
    FragmentedControl,
    LongControl,
    /// A continuation without a message.
    NothingToContinue,
    /// A new message before the last one was complete.
    NotContinued,
    /// A close frame with half a code, or with a code that no endpoint may send.
    CloseCode,
    NotUtf8,
    TooLarge,
}

impl Violation {
    /// The code of RFC 6455, section 7.4.1.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::UnknownOpcode => "unknown opcode",
            Self::NotMasked => "frame is not masked",
            Self::ReservedBits => "reserved bits are set",
            Self::FragmentedControl => "control frame is fragmented",
            Self::LongControl => "control frame is longer than 125 bytes",
            Self::NothingToContinue => "continuation without a message",
            Self::NotContinued => "new message before the last one was complete",
            Self::CloseCode => "invalid close code",
            Self::NotUtf8 => "text is not UTF-8",
            Self::TooLarge => "message is too large",
        }
    }

    /// The close frame of the server.
    pub(super) fn close_frame(self) -> Vec<u8> {
        /// A whole message, and the opcode of a close.
        const CLOSE: u8 = 0x88;
        let payload = [&self.code().to_be_bytes(), self.reason().as_bytes()].concat();
        // Every reason is short.
        [&[CLOSE, payload.len() as u8], &payload[..]].concat()
    }
}
