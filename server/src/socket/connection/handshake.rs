//! What requests of a socket take from its handshake.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use super::Client;
use crate::http::cookies::Cookies;

impl Client {
    /// Returns the id of the session in the cookie of the handshake, or else of a session that ends
    /// with the connection: the server cannot set a cookie on a socket.
    pub(crate) fn session(&self, cookies: &Cookies) -> Arc<str> {
        let from_handshake = || cookies.id_in(&self.socket.handshake().headers);
        let id = self
            .connection
            .session
            .get_or_init(|| from_handshake().unwrap_or_else(|| cookies.new_session_id()));
        id.clone()
    }

    /// Replaces the headers of a request that identify its client by those of the handshake. A
    /// request cannot set them itself.
    pub(crate) fn copy_handshake_headers(&self, headers: &mut HeaderMap) {
        let unverified: Vec<_> =
            headers.keys().filter(|name| is_handshake_header(name)).cloned().collect();
        unverified.iter().for_each(|name| drop(headers.remove(name)));
        let handshake = self.socket.handshake().headers.iter();
        for (name, value) in handshake.filter(|(name, _)| is_handshake_header(name)) {
            headers.append(name, value.clone());
        }
    }
}

/// Whether all requests of a connection have this header from the handshake. The browser and
/// proxies set it there, and proxies do not see the headers of a single request.
fn is_handshake_header(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 6] = [
        header::COOKIE,
        header::FORWARDED,
        header::HOST,
        header::ORIGIN,
        header::USER_AGENT,
        HeaderName::from_static("x-real-ip"),
    ];
    NAMES.contains(name) || name.as_str().starts_with("x-forwarded-")
}
