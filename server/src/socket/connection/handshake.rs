//! The handshake of a client, and what the requests of its socket take from it.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::Client;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::http::cookies::Cookies;
use crate::http::mount_path::MountPath;

/// The maximum size of the auth of a CONNECT that handlers can read, in bytes.
const MAX_AUTH_BYTES: usize = 8 << 10;

/// Returns the auth of a CONNECT to keep, or the message of the refusal.
pub(in crate::socket) fn auth_to_keep(
    auth: Option<&str>,
) -> std::result::Result<Option<Box<str>>, String> {
    match auth {
        Some(auth) if auth.len() > MAX_AUTH_BYTES => {
            let size = auth.len();
            Err(format!(
                "E_TOO_LARGE: the auth has {size} bytes, at most {MAX_AUTH_BYTES} are allowed"
            ))
        }
        auth => Ok(auth.map(Into::into)),
    }
}

/// The data that a client has sent when it connected.
#[derive(Clone, Copy)]
pub struct Handshake<'a>(&'a Client);

impl<'a> Handshake<'a> {
    /// Returns the headers of the request that opened the connection.
    pub fn headers(self) -> &'a HeaderMap {
        &self.0.socket.handshake().headers
    }

    /// Returns the decoded value of a parameter in the query of that request: the option `query` of
    /// `socket.io-client`. If the parameter is repeated, the first one counts.
    pub fn query(self, name: &str) -> Option<String> {
        let query = self.0.socket.handshake().uri.query()?;
        let mut parameters = url::form_urlencoded::parse(query.as_bytes());
        parameters.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }

    /// Returns the auth of the client's CONNECT packet: the option `auth` of `socket.io-client` 3
    /// and later. A client whose auth has more than 8 KiB is refused.
    ///
    /// A page with Backwire's runtime that belongs to no site has no values of its own in it.
    pub fn auth(self) -> Option<Value> {
        serde_json::from_str(self.0.connection.auth.as_deref()?).ok()
    }
}

impl Client {
    /// Returns what the client has sent when it connected. Clients choose these values, so they
    /// prove nothing by themselves.
    pub fn handshake(&self) -> Handshake<'_> {
        Handshake(self)
    }

    /// Returns the id of the session in the cookie of the handshake, or else of a session that ends
    /// with the connection: the server cannot set a cookie on a socket.
    pub(crate) fn session(&self, cookies: &Cookies) -> Arc<str> {
        let from_handshake =
            || cookies.id_in(&self.socket.handshake().headers).filter(|_| !self.refuses_session());
        let id = self
            .connection
            .session
            .get_or_init(|| from_handshake().unwrap_or_else(|| cookies.new_session_id()));
        id.clone()
    }

    /// Whether the client wants no session: it has sent the header `nosession` with its handshake,
    /// whatever its value is, as with Sails.
    pub(crate) fn refuses_session(&self) -> bool {
        self.socket.handshake().headers.contains_key("nosession")
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
