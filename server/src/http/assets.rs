//! The scripts that pages load: `/backwire.js`, its ES module twin, and the stock Socket.IO client
//! where every page made for Sails looks for it.
//!
//! `build.rs` embeds what the JavaScript side has built. A server built without it still works for
//! every other client, and says what is missing to the one who asks for a script.

use std::sync::OnceLock;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderValue, StatusCode, header};

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// A script, if it was there when the server was built.
#[derive(Debug)]
struct Asset {
    content: Option<&'static [u8]>,
    etag: OnceLock<HeaderValue>,
}

/// Where the stock client is.
pub(crate) const STOCK_CLIENT: &str = "/socket.io/socket.io.js";

/// Where a cookie is to be had.
pub(crate) const GET_COOKIE: &str = "/__getcookie";

/// Routes for our own scripts.
pub(crate) fn router() -> Router {
    static SCRIPT: Asset = Asset::new(BACKWIRE_JS);
    static MODULE: Asset = Asset::new(BACKWIRE_ESM_JS);
    Router::new()
        .route("/backwire.js", get(async |headers: HeaderMap| SCRIPT.answer(&headers)))
        .route("/backwire.esm.js", get(async |headers: HeaderMap| MODULE.answer(&headers)))
        .route(GET_COOKIE, get(get_cookie))
}

/// What `sails.io.js` loads before it connects from a page of elsewhere, and waits for. The cookie comes
/// along, see `cookies`.
async fn get_cookie() -> impl IntoResponse {
    let kind = (header::CONTENT_TYPE, "text/javascript; charset=utf-8");
    ([kind, (header::CACHE_CONTROL, "no-store")], "_sailsIoJSConnect();")
}

/// What answers at [`STOCK_CLIENT`]. It stands before Socket.IO, which takes all of `/socket.io` else.
pub(crate) fn stock_client() -> MethodRouter {
    static CLIENT: Asset = Asset::new(SOCKET_IO_JS);
    get(async |headers: HeaderMap| CLIENT.answer(&headers))
}

impl Asset {
    const fn new(content: Option<&'static [u8]>) -> Self {
        Self { content, etag: OnceLock::new() }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let Some(content) = self.content else {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "this server was built without this script: run `cargo xtask build` and build it again",
            )
                .into_response();
        };
        let etag = self.etag.get_or_init(|| etag(content));
        let about = [
            (header::ETAG, etag.clone()),
            // Kept by browsers, but never used without asking: client and server belong together.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            // The tag works on pages of any origin; what the script may then do is checked elsewhere.
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        ];
        if headers.get(header::IF_NONE_MATCH) == Some(etag) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
        (about, kind, content).into_response()
    }
}

fn etag(content: &[u8]) -> HeaderValue {
    let hash = crate::fingerprint::of(content);
    HeaderValue::from_str(&format!("\"{hash:016x}\"")).expect("it is hexadecimal in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    static SCRIPT: Asset = Asset::new(Some(b"'use strict'"));

    #[test]
    fn the_script_is_served_to_pages_of_any_origin() {
        let answer = SCRIPT.answer(&HeaderMap::new());
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/javascript; charset=utf-8");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    }

    #[test]
    fn a_browser_that_has_the_script_is_not_sent_it_again() {
        let etag = SCRIPT.answer(&HeaderMap::new()).headers()["etag"].clone();
        let answer = SCRIPT.answer(&HeaderMap::from_iter([(header::IF_NONE_MATCH, etag)]));
        assert_eq!(answer.status(), 304);
    }

    #[test]
    fn a_server_built_without_the_script_says_how_to_get_it() {
        let answer = Asset::new(None).answer(&HeaderMap::new());
        assert_eq!(answer.status(), 503);
    }
}
