//! Bytes as a JS string.
//!
//! What is inlined is usually written in base64, and base64 zips badly: a byte starts anywhere in a
//! letter, so nothing repeats. Written a letter a byte, in UTF-8, the same bytes zip nearly as well as
//! they are: for wasm that is a fifth less to download. Letters that a JS string would have to escape
//! are written 256 higher; taking them into a `Uint8Array` keeps the low eight bits of each.
//!
//! Letters from 128 on take two bytes, and those that would be escaped do too. So some bits of all bytes are
//! turned over first: those that leave the fewest bytes when it is zipped.
//!
//! A script written so must be read as UTF-8: modules always are, and our server says so of scripts.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

/// What would be escaped, by the language or by the bundler.
const ESCAPED: [u8; 10] = [0x00, 0x07, 0x08, b'\n', 0x0b, 0x0c, b'\r', 0x1b, b'"', b'\\'];

/// A module whose default export is these bytes.
pub(crate) fn module(bytes: &[u8]) -> Result<String> {
    let mut best: Option<(usize, u8, String)> = None;
    for turned in u8::MIN..=u8::MAX {
        let letters = write(bytes, turned);
        let size = zipped(&letters)?;
        if best.as_ref().is_none_or(|(least, ..)| size < *least) {
            best = Some((size, turned, letters));
        }
    }
    let (_, turned, letters) = best.context("there are bits to turn over")?;
    Ok(format!(
        "export default Uint8Array.from(\"{letters}\", letter => letter.charCodeAt(0) ^ {turned});\n"
    ))
}

fn zipped(text: &str) -> Result<usize> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::best());
    zip.write_all(text.as_bytes())?;
    Ok(zip.finish()?.len())
}

fn write(bytes: &[u8], turned: u8) -> String {
    bytes.iter().map(|byte| letter(byte ^ turned)).collect()
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
        let module = module(&all).unwrap();
        let (_, rest) = module.split_once('"').unwrap();
        let (letters, _) = rest.split_once('"').unwrap();
        assert_eq!(letters.chars().count(), 256);
        assert!(!letters.contains(['\\', '\n', '\r', '\0']));
    }

    #[test]
    fn bytes_are_read_back_as_they_were() {
        let bytes: Vec<u8> = (0..1000).map(|count| [0, 0, 8, 200][count % 4]).collect();
        let module = module(&bytes).unwrap();
        let (_, rest) = module.split_once('"').unwrap();
        let (letters, rest) = rest.split_once('"').unwrap();
        let turned: u32 =
            rest.split_once("^ ").unwrap().1.trim_end_matches(");\n").parse().unwrap();
        let read: Vec<_> =
            letters.chars().map(|letter| (u32::from(letter) ^ turned) as u8).collect();
        assert_eq!(read, bytes);
    }

    #[test]
    fn what_is_frequent_becomes_a_letter_of_one_byte() {
        let module = module(&[200; 1000]).unwrap();
        assert!(module.len() < 1200, "{}", module.len());
    }
}
