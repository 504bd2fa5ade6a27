//! How the client of each polling session of Engine.IO 3 encodes text.
//!
//! The first packets of a client show it, or its handshake. The handshake of a session carries the
//! `KnownClient`, and socketioxide keeps the handshake as long as the session, so this module needs
//! only weak references.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use axum::extract::Request;
use backwire_environment::HashMap;
use parking_lot::Mutex;
use serde::Deserialize;
use socketioxide::socket::Sid;
use url::form_urlencoded;

use super::payload::Encoding;
use crate::socket::EngineRequest;

/// The properties of the client of one session.
#[derive(Default)]
struct KnownClient {
    /// Whether it asked for text only in its handshake: `b64=1`.
    is_text_only: bool,
    is_of_socket_io_1: AtomicBool,
}

/// The client of a session that begins.
#[derive(Clone)]
pub(super) struct NewClient(Arc<KnownClient>);

/// The clients of all sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Clients>);

#[derive(Default)]
struct Clients {
    by_session: HashMap<Sid, Weak<KnownClient>>,
    /// At this size, ended sessions are removed.
    purge_at: usize,
}

/// Stores the properties of the client among the extensions of its handshake, which live as long as
/// the session.
pub(super) fn attach(handshake: &mut Request) -> NewClient {
    let engine = handshake.extensions().get::<EngineRequest>();
    let is_text_only = engine.is_some_and(|engine| engine.is_text_only);
    let is_of_socket_io_1 = AtomicBool::new(is_of_old_sails(handshake));
    let client = NewClient(Arc::new(KnownClient { is_text_only, is_of_socket_io_1 }));
    handshake.extensions_mut().insert(client.clone());
    client
}

/// Whether the client is a sails.io.js before 1.0, which was made for Socket.IO 1. In Node.js no
/// packet of it shows this.
fn is_of_old_sails(handshake: &Request) -> bool {
    let query = handshake.uri().query().unwrap_or_default();
    let mut parameters = form_urlencoded::parse(query.as_bytes());
    parameters.any(|(name, value)| name == "__sails_io_sdk_version" && value.starts_with("0."))
}

/// Returns the session in the response to a handshake: `96:0{"sid":"…",…}`.
pub(in crate::socket) fn session_in(answer: &[u8]) -> Option<Sid> {
    #[derive(Deserialize)]
    struct Open<'a> {
        sid: &'a str,
    }
    let begin = answer.iter().position(|byte| *byte == b'{')?;
    let open: Open<'_> = serde_json::from_slice(&answer[begin..]).ok()?;
    open.sid.parse().ok()
}

impl Sessions {
    pub(super) fn begin(&self, session: Sid, NewClient(client): &NewClient) {
        const MIN_PURGE_SIZE: usize = 64;
        let mut clients = self.0.lock();
        if clients.by_session.len() >= clients.purge_at {
            clients.by_session.retain(|_, client| client.strong_count() > 0);
            clients.purge_at = MIN_PURGE_SIZE.max(clients.by_session.len() * 2);
        }
        clients.by_session.insert(session, Arc::downgrade(client));
    }

    /// Marks the client of a session as one of Socket.IO 1.
    pub(super) fn mark_socket_io_1(&self, session: Sid) {
        if let Some(client) = self.client(session) {
            client.is_of_socket_io_1.store(true, Ordering::Relaxed);
        }
    }

    /// Returns how the client of a session reads payloads.
    pub(super) fn encoding(&self, session: Sid) -> Encoding {
        match self.client(session) {
            Some(client) if client.is_of_socket_io_1.load(Ordering::Relaxed) => {
                if client.is_text_only { Encoding::ByteChars } else { Encoding::Bytes }
            }
            _ => Encoding::Text,
        }
    }

    fn client(&self, session: Sid) -> Option<Arc<KnownClient>> {
        self.0.lock().by_session.get(&session)?.upgrade()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn client(uri: &str) -> NewClient {
        let mut request = Request::get(uri).body(Body::empty()).unwrap();
        if let Some(engine) = EngineRequest::read(request.uri()).unwrap() {
            request.extensions_mut().insert(engine);
        }
        attach(&mut request)
    }

    #[test]
    fn client_is_known_until_its_session_ends() {
        for (uri, encoding) in [
            ("/socket.io/?EIO=3&transport=polling&b64=1", Encoding::ByteChars),
            ("/socket.io/?EIO=3&transport=polling", Encoding::Bytes),
        ] {
            let (sessions, session) = (Sessions::default(), Sid::new());
            let client = client(uri);
            sessions.begin(session, &client);
            assert_eq!(sessions.encoding(session), Encoding::Text);
            sessions.mark_socket_io_1(session);
            assert_eq!(sessions.encoding(session), encoding);
            drop(client);
            assert_eq!(sessions.encoding(session), Encoding::Text);
        }
    }

    #[test]
    fn sails_io_js_before_1_0_uses_socket_io_1() {
        for (version, encoding) in [
            ("0.13.8", Encoding::ByteChars),
            ("0.11.0", Encoding::ByteChars),
            ("1.0.1", Encoding::Text),
            ("1.2.1", Encoding::Text),
        ] {
            let (sessions, session) = (Sessions::default(), Sid::new());
            let query = format!("__sails_io_sdk_version={version}&EIO=3&transport=polling&b64=1");
            let client = client(&format!("/socket.io/?{query}"));
            sessions.begin(session, &client);
            assert_eq!(sessions.encoding(session), encoding, "{version}");
        }
    }

    #[test]
    fn clients_of_ended_sessions_are_removed() {
        let sessions = Sessions::default();
        for _ in 0..1000 {
            sessions.begin(Sid::new(), &client("/socket.io/"));
        }
        assert!(sessions.0.lock().by_session.len() <= 64);
    }

    #[test]
    fn session_is_read_from_the_response_to_its_handshake() {
        let session = Sid::new();
        let answer = format!(r#"85:0{{"sid":"{session}","upgrades":[],"pingTimeout":20000}}"#);
        assert_eq!(session_in(answer.as_bytes()), Some(session));
        assert_eq!(session_in(br#"{"code":"0","message":"Transport unknown"}"#), None);
        assert_eq!(session_in(b""), None);
    }
}
