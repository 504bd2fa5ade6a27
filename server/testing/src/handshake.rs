//! The query, the headers and the auth with which a client connects.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

/// The query, the headers and the auth with which a client connects. Functions of `on_connect` can
/// read them.
///
/// ```
/// use backwire_testing::Handshake;
/// use serde_json::json;
///
/// let handshake = Handshake::new().query("room", "lobby").auth(json!({ "token": "abc" }));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Handshake {
    query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) auth: Map<String, Value>,
}

impl Handshake {
    /// Returns an empty handshake.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        let [name, value] = [name, value].map(|it| utf8_percent_encode(it, NON_ALPHANUMERIC));
        self.query.push_str(&format!("{name}={value}"));
        self
    }

    /// Sets a header. It replaces a header of the browser with the same name.
    ///
    /// # Panics
    ///
    /// If the name or the value is not one that a header can have.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("it is the name of a header");
        self.headers.insert(name, HeaderValue::from_str(value).expect("it is a header's value"));
        self
    }

    /// Sets the auth.
    ///
    /// # Panics
    ///
    /// If it is not an object.
    #[must_use]
    pub fn auth(self, auth: Value) -> Self {
        match auth {
            Value::Object(auth) => Self { auth, ..self },
            other => panic!("an auth is an object, and not {other}"),
        }
    }

    pub(crate) fn query_text(&self) -> &str {
        &self.query
    }
}
