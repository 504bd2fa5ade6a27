//! Decompresses bodies: `Content-Encoding: gzip` and `deflate`.
//!
//! A small body may decompress to a very large one. So decompression stops at the size limit of a
//! body, and a refused body takes no more memory and time than the largest accepted one. The server
//! decompresses a body twice: the first time it only measures the size, so that it can claim the
//! memory before it uses it.

use std::io::{self, Read, Write};

use axum::body::Bytes;
use backwire_records::json_size::JsonSize;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

use super::bodies::MAX_SHOWN_CHARS;
use crate::error::{Error, Result};
use crate::parse_claim::ParseClaim;

/// Returns the decompressed body, of at most `limit` bytes. Claims memory for it and for its
/// values.
pub(super) async fn decompressed(
    headers: &HeaderMap,
    body: Bytes,
    limit: usize,
    claim: Option<&ParseClaim>,
) -> Result<Bytes> {
    let Some(encoding) = Encoding::of(headers, &body)? else { return Ok(body) };
    let measure = encoding.measure(&body, limit)?;
    if measure.bytes > limit {
        let size = format!("more than {limit} bytes when it is decompressed");
        return Err(Error::TooLarge { size, limit });
    }
    if let Some(claim) = claim {
        claim.check(measure.json)?;
        claim.claim_bytes(measure.bytes + measure.json.parsed_bytes()).await?;
    }
    let mut decompressed = Vec::with_capacity(measure.bytes);
    encoding.decompress(&body, limit, &mut decompressed)?;
    Ok(decompressed.into())
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Gzip,
    Zlib,
    Deflate,
}

/// The size of a decompressed body.
#[derive(Debug, Default)]
struct Measure {
    bytes: usize,
    json: JsonSize,
}

impl Write for Measure {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.bytes += part.len();
        self.json.add(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoding {
    /// Reads the encoding from the headers. Returns `None` if the body is not compressed.
    fn of(headers: &HeaderMap, body: &[u8]) -> Result<Option<Self>> {
        let encodings = headers.get_all(header::CONTENT_ENCODING).into_iter();
        let encodings: Vec<_> = encodings.map(|it| it.to_str().unwrap_or("?")).collect();
        let encoding = encodings.join(", ").trim().to_ascii_lowercase();
        match encoding.as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "deflate" if has_zlib_header(body) => Ok(Some(Self::Zlib)),
            // Some programs omit the zlib header.
            "deflate" => Ok(Some(Self::Deflate)),
            other => Err(Error::Unsupported {
                header: "content-encoding",
                value: other.chars().take(MAX_SHOWN_CHARS).collect(),
                supported: "gzip, deflate, or no such header",
            }),
        }
    }

    fn measure(self, body: &[u8], limit: usize) -> Result<Measure> {
        let mut measure = Measure::default();
        self.decompress(body, limit, &mut measure)?;
        Ok(measure)
    }

    /// Writes the decompressed body, at most one byte more than the limit.
    fn decompress(self, body: &[u8], limit: usize, to: &mut impl Write) -> Result<()> {
        let decoder: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(body)),
            Self::Zlib => Box::new(ZlibDecoder::new(body)),
            Self::Deflate => Box::new(DeflateDecoder::new(body)),
        };
        let copied = io::copy(&mut decoder.take(limit as u64 + 1), to);
        let invalid = "the body cannot be decompressed with this encoding";
        copied.map(drop).map_err(|_| Error::BadField("content-encoding", invalid))
    }
}

fn has_zlib_header(body: &[u8]) -> bool {
    match body {
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::FutureExt;

    use super::*;
    use crate::parse_claim::ParseLimits;
    use crate::settings::Limits;

    const LIMIT: usize = 1 << 20;

    /// Creates a small body that decompresses to a large one, and its headers.
    fn bomb() -> (HeaderMap, Bytes) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; LIMIT]).unwrap();
        let headers = [(header::CONTENT_ENCODING, "gzip".parse().unwrap())];
        (headers.into_iter().collect(), encoder.finish().unwrap().into())
    }

    #[tokio::test]
    async fn compressed_body_waits_for_its_memory_before_it_is_decompressed() {
        // One client may have a quarter: one such body.
        let limits = Limits { total_request_bytes: 5 * LIMIT, ..Limits::default() };
        let limits = ParseLimits::new(backwire_engine::Environment::tokio(), &limits);
        let client = Some([192, 0, 2, 1].into());
        let [first, second] = [(); 2].map(|()| ParseClaim::new(&limits, client));
        let (headers, body) = bomb();
        let decompress = async |claim: &ParseClaim| {
            decompressed(&headers, body.clone(), LIMIT, Some(claim)).await.unwrap().len()
        };
        assert_eq!(decompress(&first).await, LIMIT);
        let mut waiting = Box::pin(decompress(&second));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(waiting.await, LIMIT);
    }
}
