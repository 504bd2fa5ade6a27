//! Reads the parameters of requests for Engine.IO, and copies the head of a handshake.
//!
//! Later layers find the parameters as an [`EngineRequest`] among the extensions of the request.
//!
//! Socket.IO keeps the head of the request that opened a connection until the connection ends. The
//! headers and the url are slices of the buffer they were read into. Without a copy, three hundred
//! bytes would keep many thousand bytes in memory, for each connection.

use axum::extract::{OriginalUri, Query, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use serde::Deserialize;

use crate::error::Error;
use crate::socket::{Ambiguous, EngineRequest};

/// Reads the parameters of a request for Engine.IO. Refuses ambiguous parameters, which other
/// programs could read in another way.
pub(crate) async fn read(mut request: Request, next: Next) -> Response {
    match EngineRequest::read(request.uri()) {
        Ok(None) => {}
        Ok(Some(engine)) => {
            request.extensions_mut().insert(engine);
            if is_kept(&engine) {
                let bytes = head_bytes(&request);
                if bytes > MAX_HANDSHAKE_BYTES {
                    return Error::HeadTooLarge { bytes, limit: MAX_HANDSHAKE_BYTES }
                        .into_response();
                }
                request = detach(request);
            }
        }
        Err(Ambiguous(name)) => return Error::AmbiguousQuery(name).into_response(),
    }
    next.run(request).await
}

/// The size limit of the head of a handshake, which is kept until the connection ends. Node, on
/// which Socket.IO servers run, reads no larger heads by default.
const MAX_HANDSHAKE_BYTES: usize = 16 << 10;

/// Returns the number of bytes of the url and of the headers.
fn head_bytes(request: &Request) -> usize {
    let url = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let header = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    url + request.headers().iter().map(header).sum::<usize>()
}

/// Copies the head of a handshake, so that it does not keep the buffer in memory.
fn detach(mut request: Request) -> Request {
    let uri = copied_uri(request.uri());
    *request.headers_mut() = copied_headers(request.headers());
    if let Some(cookie) = cookie_in(&uri) {
        request.headers_mut().insert(header::COOKIE, cookie);
    }
    *request.uri_mut() = uri.clone();
    request.extensions_mut().insert(OriginalUri(uri));
    request
}

/// Whether the request opens a connection or its WebSocket. Otherwise, it is an exchange of a
/// session that polls.
fn is_kept(engine: &EngineRequest) -> bool {
    engine.is_handshake() || engine.is_websocket()
}

/// Returns the cookie of `?cookie=`, for clients that cannot set the header. It replaces the whole
/// header, as in Sails.
fn cookie_in(uri: &Uri) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct CookieQuery {
        cookie: String,
    }
    let Query(query) = Query::<CookieQuery>::try_from_uri(uri).ok()?;
    HeaderValue::from_str(&query.cookie).ok()
}

fn copied_uri(uri: &Uri) -> Uri {
    uri.to_string().parse().unwrap_or_else(|_| uri.clone())
}

fn copied_headers(headers: &HeaderMap) -> HeaderMap {
    let mut copied = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            copied.append(name, value);
        }
    }
    copied
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use socketioxide::socket::Sid;

    use super::*;

    /// Creates a request whose url and cookie headers are slices of `buffer`.
    fn request(buffer: &Bytes) -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..37)).unwrap();
        let value = HeaderValue::from_maybe_shared(buffer.slice(38..)).unwrap();
        request.headers_mut().append("cookie", value.clone());
        request.headers_mut().append("cookie", value);
        let uri = request.uri().clone();
        request.extensions_mut().insert(OriginalUri(uri));
        request
    }

    #[test]
    fn copied_handshake_releases_its_read_buffer() {
        let buffer = Bytes::from(b"/socket.io/?EIO=4&transport=websocket a=b; c=d".to_vec());
        let kept = detach(request(&buffer));
        assert!(buffer.is_unique());
        assert_eq!(*kept.uri(), "/socket.io/?EIO=4&transport=websocket");
        let cookies = Vec::from_iter(kept.headers().get_all("cookie"));
        assert_eq!(cookies, ["a=b; c=d", "a=b; c=d"]);
        assert_eq!(kept.extensions().get::<OriginalUri>().unwrap().0, *kept.uri());
    }

    #[test]
    fn head_size_counts_the_url_and_the_headers() {
        let buffer = Bytes::from(b"/socket.io/?EIO=4&transport=websocket a=b; c=d".to_vec());
        assert_eq!(head_bytes(&request(&buffer)), 37 + 2 * ("cookie".len() + "a=b; c=d".len()));
    }

    #[test]
    fn cookie_parameter_replaces_the_cookie_headers() {
        let detached = |uri: &'static str| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = Uri::from_static(uri);
            request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
            request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
            let kept = detach(request);
            let cookies = kept.headers().get_all("cookie").into_iter();
            cookies.map(|cookie| cookie.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(detached("/socket.io/?EIO=4&cookie=sid%3Dx%2By%3D"), ["sid=x+y="]);
        for uri in ["/socket.io/?EIO=4", "/socket.io/?cookie=%0A"] {
            assert_eq!(detached(uri), ["a=1", "b=2"], "{uri}");
        }
    }

    #[test]
    fn only_requests_that_open_a_connection_are_kept() {
        let session = Sid::new();
        let is_kept = |uri: String| {
            EngineRequest::read(&uri.parse().unwrap()).unwrap().is_some_and(|it| is_kept(&it))
        };
        assert!(is_kept("/socket.io/?EIO=4&transport=polling".to_owned()));
        assert!(is_kept(format!("/socket.io/?EIO=4&transport=websocket&sid={session}")));
        assert!(!is_kept(format!("/socket.io/?EIO=4&transport=polling&sid={session}")));
        assert!(!is_kept("/todo?EIO=4&transport=polling".to_owned()));
    }
}
