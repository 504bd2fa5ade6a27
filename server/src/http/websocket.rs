//! Whether a request may become a WebSocket: RFC 6455, section 4.2.1.
//!
//! Engine.IO checks only the key. It would answer 101 to a client that has not requested a
//! WebSocket, or whose proxy has removed the headers of the connection.

use axum::extract::{Query, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde::Deserialize;

use crate::error::Error;

/// The only version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Refuses requests that Engine.IO would accept as a WebSocket handshake although they are invalid.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    if !is_for_websocket(request.uri()) {
        return next.run(request).await;
    }
    match check_handshake(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            ([(header::SEC_WEBSOCKET_VERSION, VERSION)], Error::from(error)).into_response()
        }
    }
}

/// Whether a request asks Engine.IO for the WebSocket transport.
fn is_for_websocket(uri: &Uri) -> bool {
    #[derive(Deserialize)]
    struct TransportQuery {
        transport: String,
    }
    let query = || Query::<TransportQuery>::try_from_uri(uri).ok();
    uri.path().starts_with("/socket.io") && query().is_some_and(|it| it.0.transport == "websocket")
}

/// A header that is not valid in a handshake, and the expected value.
#[derive(Debug, PartialEq)]
struct BadHandshake {
    header: &'static str,
    expected: &'static str,
}

impl From<BadHandshake> for Error {
    fn from(BadHandshake { header, expected }: BadHandshake) -> Self {
        Self::BadHandshake { header, expected }
    }
}

fn check_handshake(method: &Method, headers: &HeaderMap) -> Result<(), BadHandshake> {
    let require = |is_met: bool, header, expected| match is_met {
        true => Ok(()),
        false => Err(BadHandshake { header, expected }),
    };
    let closes = has_token(headers, &header::CONNECTION, "close");
    let upgrades = has_token(headers, &header::CONNECTION, "upgrade");
    require(*method == Method::GET, "method", "GET")?;
    require(has_token(headers, &header::UPGRADE, "websocket"), "upgrade", "websocket")?;
    require(upgrades && !closes, "connection", "Upgrade")?;
    let version = only(headers, &header::SEC_WEBSOCKET_VERSION);
    require(version == Some(&VERSION), "sec-websocket-version", "13")?;
    let key = only(headers, &header::SEC_WEBSOCKET_KEY);
    require(key.is_some_and(is_key), "sec-websocket-key", "16 bytes in base64")
}

/// Whether a header that is a list contains a token, in upper or lower case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(token))
}

/// Returns the value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether the key is 16 bytes in base64.
fn is_key(key: &HeaderValue) -> bool {
    const DIGITS: usize = 22;
    let is_digit = |digit: &u8| digit.is_ascii_alphanumeric() || b"+/".contains(digit);
    let digits = key.as_bytes().strip_suffix(b"==");
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    /// Returns the header that is refused if these values replace one of the valid headers.
    fn wrong(name: &'static str, values: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        let others = GOOD.iter().filter(|(other, _)| *other != name).copied();
        for (name, value) in others.chain(values.iter().map(|value| (name, *value))) {
            headers.append(name, HeaderValue::from_static(value));
        }
        check_handshake(&Method::GET, &headers).err().map(|bad| bad.header)
    }

    #[test]
    fn handshake_requires_each_header_of_the_rfc() {
        assert_eq!(wrong("other", &["x"]), None);
        assert_eq!(wrong("connection", &["upgrade"]), None);
        for (name, values) in [
            ("upgrade", &[][..]),
            ("upgrade", &["h2c"]),
            ("connection", &[]),
            ("connection", &["close"]),
            ("connection", &["Upgrade, close"]),
            ("sec-websocket-version", &[]),
            ("sec-websocket-version", &["8"]),
            ("sec-websocket-version", &["13", "13"]),
            ("sec-websocket-key", &[]),
            ("sec-websocket-key", &["short"]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"]),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]),
        ] {
            assert_eq!(wrong(name, values), Some(name), "{values:?}");
        }
    }

    #[test]
    fn only_requests_for_the_websocket_transport_are_checked() {
        let is_checked = |uri: &'static str| is_for_websocket(&Uri::from_static(uri));
        assert!(is_checked("/socket.io/?EIO=4&transport=websocket"));
        assert!(!is_checked("/socket.io/?EIO=4&transport=polling&x=transport=websocket"));
        assert!(!is_checked("/todo?transport=websocket"));
    }
}
