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
    /// Bytes of the header.
    pub(super) size: usize,
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

/// Reads headers that arrive in any parts.
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
    /// Reads bytes to the end of a header. Returns how many it has read, and the header if it is
    /// complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Header>) {
        // Nearly every header arrives as a whole.
        if self.count == 0
            && let Some(header) = Header::parse(bytes)
        {
            return (header.size, Some(header));
        }
        for (byte, read) in bytes.iter().zip(1..) {
            self.bytes[self.count] = *byte;
            self.count += 1;
            if let Some(header) = Header::parse(&self.bytes[..self.count]) {
                self.count = 0;
                return (read, Some(header));
            }
        }
        (bytes.len(), None)
    }

    /// Returns how many bytes of the next header have been read.
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Header {
    /// Parses the header at the start of some bytes. Returns `None` if it is not complete.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & 0x7f {
            126 => {
                rest.split_first_chunk().map(|(it, rest)| (u16::from_be_bytes(*it).into(), rest))?
            }
            127 => rest.split_first_chunk().map(|(it, rest)| (u64::from_be_bytes(*it), rest))?,
            length => (length.into(), rest),
        };
        let is_masked = second & 0x80 != 0;
        let mask = if is_masked { Some(*rest.first_chunk()?) } else { None };
        Some(Self {
            is_final: first & 0x80 != 0,
            has_reserved_bits: first & 0x70 != 0,
            opcode: Opcode::new(first & 0x0f),
            mask,
            length,
            size: bytes.len() - rest.len() + if is_masked { 4 } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads headers that arrive as a whole, and again byte by byte.
    fn headers(bytes: &[u8]) -> Vec<Header> {
        let read = |size: usize| {
            let (mut reader, mut headers) = (HeaderReader::default(), Vec::new());
            for mut part in bytes.chunks(size) {
                while !part.is_empty() {
                    let (read, header) = reader.read(part);
                    headers.extend(header);
                    part = &part[read..];
                }
            }
            headers
        };
        let headers = read(bytes.len());
        (1..bytes.len()).for_each(|size| assert_eq!(read(size), headers, "parts of {size}"));
        headers
    }

    #[test]
    fn header_is_read_with_each_size_of_a_length() {
        let text = Header {
            is_final: true,
            has_reserved_bits: false,
            opcode: Some(Opcode::Text),
            mask: None,
            length: 5,
            size: 2,
        };
        assert_eq!(headers(&[0x81, 5]), [text]);
        let mask = Some([1, 2, 3, 4]);
        assert_eq!(headers(&[0x81, 0x85, 1, 2, 3, 4]), [Header { mask, size: 6, ..text }]);
        assert_eq!(headers(&[0x81, 126, 1, 2]), [Header { length: 0x0102, size: 4, ..text }]);
        let longest = [0x81, 0xff, 0xff, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4];
        let length = 0xff02_0304_0506_0708;
        assert_eq!(headers(&longest), [Header { mask, length, size: 14, ..text }]);
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
