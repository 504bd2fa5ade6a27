//! A wasm module as a JS module: compressed with LZMA and written in base64.
//!
//! `backwire.js` travels gzipped, and the wasm is more than half of it. Of a module of 70.3 KB,
//! gzip makes 30.0 KB and LZMA 25.8 KB. The decoder (`js-shim/src/unpack.js`) costs 1 KB. With
//! lc = 3, lp = 0 and pb = 0 the stream is smallest, and the decoder knows no others. In exchange
//! the runtime starts 12 ms later in Node 20 and in Chromium, after 23 ms: the decoder runs once,
//! and mostly before the engine has compiled it.
//!
//! The second module has much in common with the first: the allocator, and what the compiler makes
//! of the standard library. Its stream refers to passages of the first, which makes it a quarter
//! smaller.
//!
//! Compressed bytes look random, so the text they are written in is chosen for gzip's Huffman
//! codes. Each letter of base64 costs 6 bits there, and the whole text 1 % more than the bytes. One
//! letter for each byte would cost 24 % more, because letters from 128 on are two bytes in UTF-8,
//! and the code of the second does not know the first. Letters of 10 or 15 bits would cost 21 %
//! more for the same reason, and letters of 7 bits 7 % more, because some must be escaped. The 118
//! letters that need no escape would save 0.4 % of base64, less than their reader would cost.
//!
//! gzip has one set of codes for each 16,000 or so letters, and a set for both JS and base64 suits
//! neither. So the text is the first thing in `backwire.js`: in the middle of it, it would cost
//! 2 KB more. It comes first because it is the first import of `tag.js` and `wasm.js`. It stays
//! there because a minifier moves a plain string to its only use, but not a call of `atob`.

use std::io::Write;

use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};
use lzma_rust2::{EncodeMode, LzmaOptions, LzmaWriter, MfType};

/// The parameters that `unpack.js` is made for.
const LC: u32 = 3;
const LP: u32 = 0;
const PB: u32 = 0;

/// Larger than any module of ours. The decoder needs no dictionary, because it keeps all output.
const DICTIONARY: u32 = 1 << 20;

/// Returns a JS module that exports these bytes as `packed`, and their number as `size`. `known`
/// are bytes that the decoder has, to which the packed bytes refer.
pub(crate) fn module(bytes: &[u8], known: &[u8]) -> Result<String> {
    let (packed, size) = (pack(bytes, known)?, bytes.len());
    Ok(format!("export const packed = atob(\"{packed}\");\nexport const size = {size};\n"))
}

/// Returns the input of `unpack` in `unpack.js`, in base64.
fn pack(bytes: &[u8], known: &[u8]) -> Result<String> {
    let stream = compress(bytes, known)?;
    // The first byte of a range coder's output is always 0.
    Ok(BASE64_STANDARD.encode(&stream[1..]))
}

/// Returns a raw LZMA stream without an end marker.
fn compress(bytes: &[u8], known: &[u8]) -> Result<Vec<u8>> {
    let options = LzmaOptions {
        dict_size: DICTIONARY,
        lc: LC,
        lp: LP,
        pb: PB,
        mode: EncodeMode::Normal,
        nice_len: LzmaOptions::NICE_LEN_MAX,
        mf: MfType::Bt4,
        depth_limit: 1000,
        preset_dict: (!known.is_empty()).then(|| known.to_vec()),
    };
    let mut writer = LzmaWriter::new_no_header(Vec::new(), &options, false)?;
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use lzma_rust2::LzmaReader;

    use super::*;

    /// Lines of a name, bytes in base64, and the same bytes packed. The tests of `unpack.js` read
    /// them, too.
    const VECTORS: &str = include_str!("../../js-shim/test/unpack.vectors.tsv");

    fn unpack(packed: &str, size: usize, known: Option<&[u8]>) -> Vec<u8> {
        let stream = [&[0][..], &BASE64_STANDARD.decode(packed).unwrap()].concat();
        let size = size as u64;
        let mut reader = LzmaReader::new(&*stream, size, LC, LP, PB, DICTIONARY, known).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn vectors() -> impl Iterator<Item = (&'static str, Vec<u8>, &'static str)> {
        VECTORS.lines().map(|line| {
            let [name, bytes, packed] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            (name, BASE64_STANDARD.decode(bytes).unwrap(), packed)
        })
    }

    #[test]
    fn library_decodes_the_vectors_of_the_js_decoder() {
        for (name, bytes, packed) in vectors() {
            assert_eq!(unpack(packed, bytes.len(), None), bytes, "{name}");
        }
    }

    #[test]
    fn packed_bytes_are_decoded_to_the_same_bytes() {
        for (name, bytes, _) in vectors() {
            assert_eq!(unpack(&pack(&bytes, &[]).unwrap(), bytes.len(), None), bytes, "{name}");
        }
    }

    #[test]
    fn packed_bytes_refer_to_known_bytes() {
        let known: Vec<u8> = (0..999_u32).map(|i| (i * i % 251) as u8).collect();
        let bytes = [b"new", &known[99..]].concat();
        let packed = pack(&bytes, &known).unwrap();
        assert!(packed.len() < 40, "{packed}");
        assert_eq!(unpack(&packed, bytes.len(), Some(&known)), bytes);
    }

    #[test]
    fn module_exports_packed_bytes_and_their_size() {
        let module = module(b"wasm", &[]).unwrap();
        let packed = pack(b"wasm", &[]).unwrap();
        let expected =
            format!("export const packed = atob(\"{packed}\");\nexport const size = 4;\n");
        assert_eq!(module, expected);
    }

    #[test]
    fn module_is_ascii_without_escapes() {
        let all: Vec<u8> = (u8::MIN..=u8::MAX).collect();
        let module = module(&all, &[]).unwrap();
        assert!(module.is_ascii());
        assert!(!module.contains('\\'));
    }
}
