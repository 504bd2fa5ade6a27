//! The scripts that pages load: `/backwire.js` and the parts that it loads, its ES module, and
//! the stock Socket.IO client at the path from which pages made for Sails load it.
//!
//! `build.rs` embeds the scripts that the JavaScript build has produced: it finds their parts by
//! their file names. A server built without them still works for every other client, and answers
//! requests for a script with the reason.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::encoding::Encoding;

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The contents of a script, uncompressed and as the build script compressed them.
#[derive(Debug, Clone, Copy)]
struct Embedded {
    identity: &'static [u8],
    gzip: &'static [u8],
    brotli: &'static [u8],
}

/// A script. It has no content if it did not exist when the server was built.
#[derive(Debug)]
struct Asset {
    content: Option<Embedded>,
    hash: OnceLock<u64>,
}

/// The path of the stock client.
pub(crate) const STOCK_CLIENT: &str = "/socket.io/socket.io.js";

/// The path that sets a session cookie.
pub(crate) const GET_COOKIE: &str = "/__getcookie";

/// Creates the routes of the scripts of Backwire.
pub(crate) fn router() -> Router {
    let router = Router::new().route(GET_COOKIE, get(get_cookie));
    SCRIPTS.iter().fold(router, |router, (path, content)| {
        let script = Arc::new(Asset::new(*content));
        router.route(path, get(async move |headers: HeaderMap| script.answer(&headers)))
    })
}

/// Returns the paths of these routes.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    SCRIPTS.iter().map(|(path, _)| *path).chain([GET_COOKIE])
}

/// Answers the script that `sails.io.js` loads before it connects from a page of another origin.
/// [`cookies`](super::cookies) adds the cookie to the response.
async fn get_cookie() -> impl IntoResponse {
    let kind = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
    ([kind, (header::CACHE_CONTROL, "no-store")], "_sailsIoJSConnect();")
}

/// Creates the handler of [`STOCK_CLIENT`]. It comes before Socket.IO, which otherwise handles all
/// of `/socket.io`.
pub(crate) fn stock_client() -> MethodRouter {
    static CLIENT: Asset = Asset::new(SOCKET_IO_JS);
    get(async |headers: HeaderMap| CLIENT.answer(&headers))
}

impl Embedded {
    fn encoded(&self, encoding: Encoding) -> &'static [u8] {
        match encoding {
            Encoding::Brotli => self.brotli,
            Encoding::Gzip => self.gzip,
            Encoding::Identity => self.identity,
        }
    }
}

impl Asset {
    const fn new(content: Option<Embedded>) -> Self {
        Self { content, hash: OnceLock::new() }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let Some(content) = self.content else {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "this server was built without this script: run `cargo xtask build` and build it again",
            )
                .into_response();
        };
        let encoding = Encoding::accepted(headers);
        let etag = self.etag(content, encoding);
        let is_known = has_etag(headers, &etag);
        let common = common_headers(etag);
        if is_known {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
        let encoded = encoding.name().map(|name| [(header::CONTENT_ENCODING, name)]);
        let mut response = (common, kind, content.encoded(encoding)).into_response();
        let encoded = encoded.into_iter().flatten();
        encoded.for_each(|(name, value)| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        });
        response
    }

    /// Each encoding has a tag of its own, because its bytes differ.
    fn etag(&self, content: Embedded, encoding: Encoding) -> HeaderValue {
        let hash = self.hash.get_or_init(|| crate::fingerprint::of(content.identity));
        let suffix = encoding.name().map(|name| format!("-{name}")).unwrap_or_default();
        let etag = format!("\"{hash:016x}{suffix}\"");
        HeaderValue::from_str(&etag).expect("a tag is letters and digits in quotes")
    }
}

/// The headers of every answer, also of one without the script.
fn common_headers(etag: HeaderValue) -> [(HeaderName, HeaderValue); 4] {
    [
        (header::ETAG, etag),
        // Browsers cache the script, but revalidate it before each use: client and server belong
        // together.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        // Pages of any origin may load the script; other checks decide what it may then do.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ]
}

/// Whether `If-None-Match` lists a tag. A proxy may have made the tag weak.
fn has_etag(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let tags = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let mut tags = tags.map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    const SOURCE: &[u8] = b"'use strict'";

    /// Returns the source as an asset in each encoding.
    fn script() -> Asset {
        let leaked = |bytes: Vec<u8>| -> &'static [u8] { Vec::leak(bytes) };
        let mut gzip = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(SOURCE, flate2::Compression::fast());
        encoder.read_to_end(&mut gzip).unwrap();
        let mut brotli = Vec::new();
        brotli::BrotliCompress(&mut &*SOURCE, &mut brotli, &Default::default()).unwrap();
        let (gzip, brotli) = (leaked(gzip), leaked(brotli));
        Asset::new(Some(Embedded { identity: SOURCE, gzip, brotli }))
    }

    fn with_header(name: HeaderName, value: impl AsRef<[u8]>) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value.as_ref()).unwrap())])
    }

    #[test]
    fn script_is_served_to_pages_of_any_origin() {
        let answer = script().answer(&HeaderMap::new());
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert_eq!(answer.headers()["vary"], "accept-encoding");
        assert!(!answer.headers().contains_key("content-encoding"));
    }

    #[tokio::test]
    async fn script_is_served_in_an_encoding_that_the_browser_accepts() {
        for (accepted, expected) in [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip")] {
            let answer = script().answer(&with_header(header::ACCEPT_ENCODING, accepted));
            assert_eq!(answer.headers()["content-encoding"], expected);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let mut decoded = Vec::new();
            match expected {
                "br" => brotli::BrotliDecompress(&mut &*body, &mut decoded).unwrap(),
                _ => drop(flate2::read::GzDecoder::new(&*body).read_to_end(&mut decoded).unwrap()),
            }
            assert_eq!(decoded, SOURCE);
        }
    }

    #[test]
    fn cached_script_is_answered_with_304() {
        let mut seen = std::collections::HashSet::new();
        for accepted in ["br", "gzip", "identity"] {
            let mut headers = with_header(header::ACCEPT_ENCODING, accepted);
            let etag = script().answer(&headers).headers()["etag"].clone();
            assert!(!etag.as_bytes().starts_with(b"W/"));
            let both = format!("\"other\", W/{}", etag.to_str().unwrap());
            headers.insert(header::IF_NONE_MATCH, both.parse().unwrap());
            let answer = script().answer(&headers);
            assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (304, &etag));
            for name in ["vary", "cache-control"] {
                assert!(answer.headers().contains_key(name), "{name}");
            }
            // The tag of one encoding does not match another encoding.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("deflate"));
            assert_eq!(script().answer(&headers).status() == 304, accepted == "identity");
            seen.insert(etag);
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn script_that_was_not_built_is_answered_with_503() {
        let answer = Asset::new(None).answer(&HeaderMap::new());
        assert_eq!(answer.status(), 503);
    }
}
