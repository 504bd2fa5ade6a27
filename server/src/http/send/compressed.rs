//! Bodies that are compressed: `Content-Encoding: gzip` and `deflate`.
//!
//! A small body may become a very large one. So decompression ends at the limit of a body, and the memory and
//! time for a refused body are those for the largest that is accepted.

use std::io::{self, Read};

use axum::body::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

use super::bodies::LONGEST_SHOWN;
use crate::error::{Error, Result};

/// The body itself, of at most so many bytes.
pub(super) fn decompressed(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes> {
    let encodings = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let encodings: Vec<_> = encodings.map(|it| it.to_str().unwrap_or("?")).collect();
    let encoding = encodings.join(", ").trim().to_ascii_lowercase();
    let decoder: Box<dyn Read + '_> = match encoding.as_str() {
        "" | "identity" => return Ok(body),
        "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(&*body)),
        "deflate" if has_zlib_header(&body) => Box::new(ZlibDecoder::new(&*body)),
        // Some programs leave out the header that belongs to it.
        "deflate" => Box::new(DeflateDecoder::new(&*body)),
        other => {
            return Err(Error::Unsupported {
                header: "content-encoding",
                value: other.chars().take(LONGEST_SHOWN).collect(),
                supported: "gzip, deflate, or no such header",
            });
        }
    };
    match read(decoder, limit) {
        Ok(body) if body.len() > limit => {
            let size = format!("more than {limit} bytes when it is decompressed");
            Err(Error::TooLarge { size, limit })
        }
        Ok(body) => Ok(body.into()),
        Err(_) => Err(Error::BadField("content-encoding", "the body is not compressed like this")),
    }
}

fn read(decoder: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut body)?;
    Ok(body)
}

fn has_zlib_header(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}
