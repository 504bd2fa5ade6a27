//! Bytes as a JS string.
//!
//! What is inlined is usually written in base64, and base64 zips badly: a byte starts anywhere in a
//! letter, so nothing repeats. Written a letter a byte, in UTF-8, the same bytes zip nearly as well as
//! they are: for wasm that is a fifth less to download. Letters that a JS string would have to escape
//! are written 256 higher; taking them into a `Uint8Array` keeps the low eight bits of each.
//!
//! Letters from 128 on take two bytes, and those that would be escaped do too. So all bytes are shifted
//! by the same amount first: by the one that leaves the most frequent of them letters of one byte.
//!
//! A script written so must be read as UTF-8: modules always are, and our server says so of scripts.

/// What would be escaped, by the language or by the bundler.
const ESCAPED: [u8; 10] = [0x00, 0x07, 0x08, b'\n', 0x0b, 0x0c, b'\r', 0x1b, b'"', b'\\'];

/// A module whose default export is these bytes.
pub(crate) fn module(bytes: &[u8]) -> String {
    let written = |shift: &u8| write(bytes, *shift);
    let shift = (u8::MIN..=u8::MAX).min_by_key(|shift| written(shift).len()).unwrap_or_default();
    let letters = write(bytes, shift);
    format!(
        "export default Uint8Array.from(\"{letters}\", letter => letter.charCodeAt(0) - {shift});\n"
    )
}

fn write(bytes: &[u8], shift: u8) -> String {
    bytes.iter().map(|byte| letter(byte.wrapping_add(shift))).collect()
}

fn letter(byte: u8) -> char {
    if ESCAPED.contains(&byte) {
        char::from_u32(u32::from(byte) + 256).expect("a letter of Latin Extended-A")
    } else {
        char::from(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_letter_of_its_own_that_keeps_its_low_bits() {
        for byte in u8::MIN..=u8::MAX {
            let code = u32::from(letter(byte));
            assert_eq!(code % 256, u32::from(byte));
        }
    }

    #[test]
    fn nothing_in_the_string_ends_it_or_needs_an_escape() {
        let all: Vec<u8> = (u8::MIN..=u8::MAX).collect();
        let module = module(&all);
        let (_, rest) = module.split_once('"').unwrap();
        let (letters, _) = rest.split_once('"').unwrap();
        assert_eq!(letters.chars().count(), 256);
        assert!(!letters.contains(['\\', '\n', '\r', '\0']));
    }

    #[test]
    fn bytes_are_shifted_to_where_they_are_shortest_and_back() {
        let bytes: Vec<u8> = (0..1000).map(|count| [0, 0, 8, 200][count % 4]).collect();
        let module = module(&bytes);
        let (_, rest) = module.split_once('"').unwrap();
        let (letters, rest) = rest.split_once('"').unwrap();
        assert_eq!(letters.len(), bytes.len(), "none of them takes two bytes");
        let shift = rest.split_once("- ").unwrap().1.trim_end_matches(");\n");
        let shift: u32 = shift.parse().unwrap();
        let read: Vec<_> =
            letters.chars().map(|l| u32::from(l).wrapping_sub(shift) as u8).collect();
        assert_eq!(read, bytes);
    }
}
