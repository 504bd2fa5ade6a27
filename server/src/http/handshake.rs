//! The part of a handshake that is kept, and what its url says instead of its headers.
//!
//! Socket.IO keeps the head of the request that opened a connection for as long as it lives. Its
//! headers and its url are slices of the buffer they were read into, so three hundred bytes would hold
//! on to many thousand, for each connection.

use axum::extract::{OriginalUri, Query, Request};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use serde::Deserialize;

/// Copies the head of a handshake, so that it holds nothing else.
pub(crate) async fn detach(mut request: Request) -> Request {
    if is_kept(request.uri()) {
        let uri = copied_uri(request.uri());
        *request.headers_mut() = copied_headers(request.headers());
        if let Some(cookie) = cookie_in(&uri) {
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        *request.uri_mut() = uri.clone();
        request.extensions_mut().insert(OriginalUri(uri));
    }
    request
}

/// Whether this opens a connection or its WebSocket. Else it is an exchange of a connection that polls,
/// which has its id, or nothing of Socket.IO's.
fn is_kept(uri: &Uri) -> bool {
    let mut query = uri.query().unwrap_or_default().split('&');
    let is_polling = uri.query().is_some_and(|query| query.contains("transport=polling"));
    let is_exchange = is_polling && query.any(|pair| pair.starts_with("sid="));
    uri.path().starts_with("/socket.io") && !is_exchange
}

/// `?cookie=`, for clients that can not set the header: it stands for all of it, as in Sails.
fn cookie_in(uri: &Uri) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Said {
        cookie: String,
    }
    let Query(said) = Query::<Said>::try_from_uri(uri).ok()?;
    HeaderValue::from_str(&said.cookie).ok()
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

    use super::*;

    /// Whose url and one of whose headers are slices of `buffer`.
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

    #[tokio::test]
    async fn a_handshake_does_not_hold_the_buffer_it_was_read_into() {
        let buffer = Bytes::from(b"/socket.io/?EIO=4&transport=websocket a=b; c=d".to_vec());
        let kept = detach(request(&buffer)).await;
        assert!(buffer.is_unique());
        assert_eq!(*kept.uri(), "/socket.io/?EIO=4&transport=websocket");
        let cookies = Vec::from_iter(kept.headers().get_all("cookie"));
        assert_eq!(cookies, ["a=b; c=d", "a=b; c=d"]);
        assert_eq!(kept.extensions().get::<OriginalUri>().unwrap().0, *kept.uri());
    }

    #[tokio::test]
    async fn the_url_of_a_handshake_may_have_the_cookie() {
        let detached = async |uri: &'static str| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = Uri::from_static(uri);
            request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
            request.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
            let kept = detach(request).await;
            let cookies = kept.headers().get_all("cookie").into_iter();
            cookies.map(|cookie| cookie.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(detached("/socket.io/?EIO=4&cookie=sid%3Dx%2By%3D").await, ["sid=x+y="]);
        for uri in ["/socket.io/?EIO=4", "/socket.io/?cookie=%0A", "/todo?cookie=sid"] {
            assert_eq!(detached(uri).await, ["a=1", "b=2"], "{uri}");
        }
    }

    #[test]
    fn only_what_opens_a_connection_is_kept() {
        let is_kept = |uri: &'static str| is_kept(&Uri::from_static(uri));
        assert!(is_kept("/socket.io/?EIO=4&transport=polling"));
        assert!(is_kept("/socket.io/?EIO=4&transport=websocket&sid=x"));
        assert!(!is_kept("/socket.io/?EIO=4&transport=polling&sid=x"));
        assert!(!is_kept("/todo?EIO=4"));
    }
}
