//! What requests of a socket take from its handshake.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use super::Client;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::http::cookies::Cookies;
use crate::http::mount_path::MountPath;

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

    /// Returns the url of a request as the router expects it: without the path that the router is
    /// nested at. An error means that the url is not below that path.
    pub(crate) fn url_in_router<'a>(&self, url: Cow<'a, str>) -> Result<Cow<'a, str>> {
        let mount_path = MountPath::of(&self.socket.handshake().extensions);
        // A client of Node names a resource, and no url.
        if mount_path.is_empty() || self.dialect() == Dialect::Node {
            return Ok(url);
        }
        let stripped = MountPath::strip(mount_path, &url).map(Cow::into_owned);
        stripped.map(Cow::Owned).ok_or_else(|| Error::HttpOnly(url.into_owned()))
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
