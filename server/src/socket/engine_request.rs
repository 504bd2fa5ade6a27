//! The parameters of a request for Engine.IO, read once for all code that decides by them.
//!
//! engineioxide reads the query by itself: of parameters with the same name the first counts, and
//! nothing is decoded. A file that read it in another way could take a polling session for a
//! WebSocket, and then shut down a TCP connection that other clients share. So this module reads
//! the query in the same way, into a value that travels among the extensions of the request. A
//! query that could be read in another way is refused.

use std::fmt;

use http::Uri;
use socketioxide::socket::Sid;

use crate::settings::SocketPath;

/// The parameters that engineioxide reads.
const NAMES: [&str; 4] = ["EIO", "transport", "sid", "b64"];

/// A request that engineioxide answers, unless its session is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EngineRequest {
    pub(crate) protocol: EngineVersion,
    pub(crate) transport: Transport,
    /// The session. A handshake has none.
    pub(crate) session: Option<Sid>,
    /// Whether the client takes text only.
    pub(crate) is_text_only: bool,
}

/// The version of Engine.IO. Clients of Socket.IO 1 and 2 have version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineVersion {
    V3,
    V4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Polling,
    WebSocket,
}

/// The name of a parameter that can be read in more than one way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous(pub(crate) &'static str);

impl EngineRequest {
    /// Reads the parameters. Returns `None` if this is not a request for Engine.IO, or if
    /// engineioxide refuses it.
    pub(crate) fn read(uri: &Uri) -> Result<Option<Self>, Ambiguous> {
        let Some(query) = uri.query().filter(|_| is_engine_path(uri.path())) else {
            return Ok(None);
        };
        if let Some(name) = NAMES.into_iter().find(|name| is_ambiguous(query, name)) {
            return Err(Ambiguous(name));
        }
        Ok(Self::parse(query))
    }

    fn parse(query: &str) -> Option<Self> {
        let protocol = match first(query, "EIO")? {
            "3" => EngineVersion::V3,
            "4" => EngineVersion::V4,
            _ => return None,
        };
        let transport = match first(query, "transport")? {
            "polling" => Transport::Polling,
            "websocket" => Transport::WebSocket,
            _ => return None,
        };
        let session = match first(query, "sid") {
            Some(session) => Some(session.parse().ok()?),
            None => None,
        };
        let is_text_only = matches!(first(query, "b64"), Some("1" | "true"));
        Some(Self { protocol, transport, session, is_text_only })
    }

    /// Whether it opens a session.
    pub(crate) fn is_handshake(&self) -> bool {
        self.session.is_none()
    }

    pub(crate) fn is_websocket(&self) -> bool {
        self.transport == Transport::WebSocket
    }

    pub(crate) fn is_v3(&self) -> bool {
        self.protocol == EngineVersion::V3
    }
}

impl EngineVersion {
    /// Returns the payload by which a client that polls closes its session.
    pub(super) fn close_packet(self) -> &'static str {
        match self {
            // Engine.IO 3 writes the length before each packet.
            Self::V3 => "1:1",
            Self::V4 => "1",
        }
    }
}

/// Whether engineioxide answers requests for this path.
pub(crate) fn is_engine_path(path: &str) -> bool {
    let rest = path.strip_prefix(SocketPath::DEFAULT);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the value of a parameter that engineioxide uses.
fn first<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Whether a program that decodes the query, or uses another one of several values, could read
/// something else.
fn is_ambiguous(query: &str, name: &str) -> bool {
    let decoded = url::form_urlencoded::parse(query.as_bytes());
    let mut values = decoded.filter(|(key, _)| key == name).map(|(_, value)| value);
    let value = values.next();
    let is_as_written = value.as_deref() == first(query, name);
    // engineioxide takes a value up to the next `=`.
    let has_end = value.is_some_and(|value| value.contains('='));
    !is_as_written || has_end || values.next().is_some()
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "3",
            Self::V4 => "4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<Option<EngineRequest>, Ambiguous> {
        EngineRequest::read(&uri.parse().unwrap())
    }

    fn transport(uri: &str) -> Option<Transport> {
        read(uri).unwrap().map(|request| request.transport)
    }

    #[test]
    fn transport_is_that_of_its_own_parameter() {
        for (query, expected) in [
            ("EIO=4&transport=polling&x=transport=websocket", Some(Transport::Polling)),
            ("x=transport=polling&EIO=4&transport=websocket", Some(Transport::WebSocket)),
            ("EIO=4&xtransport=websocket&transport=polling", Some(Transport::Polling)),
            ("EIO=4&x=transport=websocket", None),
            ("EIO=4&transport=WebSocket", None),
            ("EIO=2&transport=polling", None),
            ("transport=polling", None),
            ("EIO=4&transport=polling&sid=unknown", None),
        ] {
            assert_eq!(transport(&format!("/socket.io/?{query}")), expected, "{query}");
        }
    }

    #[test]
    fn query_with_two_readings_is_ambiguous() {
        for (query, name) in [
            ("EIO=4&transport=polling&transport=websocket", "transport"),
            ("EIO=4&%74ransport=websocket&transport=polling", "transport"),
            ("EIO=4&transport=polling&%74ransport=websocket", "transport"),
            ("EIO=4&transport=web%73ocket", "transport"),
            ("EIO=4&transport=polling=websocket", "transport"),
            ("EIO=4&transport", "transport"),
            ("EIO=4&EIO=3&transport=polling", "EIO"),
            ("EIO=4&transport=polling&sid=a&sid=b", "sid"),
            ("EIO=4&transport=polling&b64=0&b64=1", "b64"),
        ] {
            assert_eq!(read(&format!("/socket.io/?{query}")), Err(Ambiguous(name)), "{query}");
        }
    }

    #[test]
    fn parameters_of_other_paths_are_not_read() {
        for path in ["/todo", "/socket.io-x", "/", "/a/socket.io/"] {
            assert_eq!(read(&format!("{path}?EIO=4&EIO=3&transport=polling")), Ok(None), "{path}");
        }
        assert_eq!(transport("/socket.io?EIO=4&transport=polling"), Some(Transport::Polling));
        assert_eq!(transport("/socket.io/socket.io.js"), None);
    }

    #[test]
    fn session_and_text_are_read() {
        let session = Sid::new();
        let uri = format!("/socket.io/?EIO=3&transport=websocket&b64=1&sid={session}");
        let request = read(&uri).unwrap().unwrap();
        assert_eq!((request.session, request.is_text_only), (Some(session), true));
        assert!(request.is_v3() && request.is_websocket() && !request.is_handshake());
    }
}
