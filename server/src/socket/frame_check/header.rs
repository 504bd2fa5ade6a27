//! The headers of frames: RFC 6455, section 5.2.

/// The longest header: two bytes, eight of a length, and a mask.
pub(super) const MAX_SIZE: usize = 14;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_final: bool,
    pub(super) has_reserved_bits: bool,
    /// `None` if the opcode is unknown.
    pub(super) opcode: Option<Opcode>,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of the payload.
    pub(super) length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Reads headers byte by byte.
#[derive(Debug, Default)]
pub(super) struct HeaderReader {
    bytes: [u8; MAX_SIZE],
    /// How many bytes of the current header have been read.
    count: usize,
}

impl Opcode {
    fn new(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl HeaderReader {
    /// Adds a byte. Returns the header if this was its last byte.
    pub(super) fn push(&mut self, byte: u8) -> Option<Header> {
        self.bytes[self.count] = byte;
        self.count += 1;
        if self.count < 2 || self.count < self.size() {
            return None;
        }
        self.count = 0;
        Some(self.header())
    }

    /// Returns how many bytes of the next header have been read.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns the size of the header, by its first two bytes. After a header, returns its size
    /// until the next header begins.
    pub(super) fn size(&self) -> usize {
        2 + self.length_size() + if self.is_masked() { 4 } else { 0 }
    }

    fn is_masked(&self) -> bool {
        self.bytes[1] & 0x80 != 0
    }

    /// Returns the bytes of a length that is not in the second byte.
    fn length_size(&self) -> usize {
        match self.bytes[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    fn header(&self) -> Header {
        let (first, size) = (self.bytes[0], self.length_size());
        let (length, rest) = self.bytes[2..].split_at(size);
        let length = match size {
            0 => u64::from(self.bytes[1] & 0x7f),
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let mask = [rest[0], rest[1], rest[2], rest[3]];
        Header {
            is_final: first & 0x80 != 0,
            has_reserved_bits: first & 0x70 != 0,
            opcode: Opcode::new(first & 0x0f),
            mask: self.is_masked().then_some(mask),
            length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(bytes: &[u8]) -> Vec<Header> {
        let mut reader = HeaderReader::default();
        bytes.iter().filter_map(|byte| reader.push(*byte)).collect()
    }

    #[test]
    fn header_is_read_with_each_size_of_a_length() {
        let text = Header {
            is_final: true,
            has_reserved_bits: false,
            opcode: Some(Opcode::Text),
            mask: None,
            length: 5,
        };
        assert_eq!(headers(&[0x81, 5]), [text]);
        let mask = Some([1, 2, 3, 4]);
        assert_eq!(headers(&[0x81, 0x85, 1, 2, 3, 4]), [Header { mask, ..text }]);
        assert_eq!(headers(&[0x81, 126, 1, 2]), [Header { length: 0x0102, ..text }]);
        let longest = [0x81, 0xff, 0xff, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4];
        let length = 0xff02_0304_0506_0708;
        assert_eq!(headers(&longest), [Header { mask, length, ..text }]);
        assert_eq!(headers(&longest[..13]), []);
    }

    #[test]
    fn bits_of_the_first_byte_are_distinguished() {
        let [first] = headers(&[0x01, 0])[..] else { panic!() };
        assert!(!first.is_final && !first.has_reserved_bits);
        for bit in [0x40, 0x20, 0x10] {
            assert!(headers(&[0x81 | bit, 0])[0].has_reserved_bits);
        }
        let known = (0..16).filter(|opcode| headers(&[0x80 | opcode, 0])[0].opcode.is_some());
        assert_eq!(known.collect::<Vec<_>>(), [0, 1, 2, 8, 9, 10]);
    }
}
