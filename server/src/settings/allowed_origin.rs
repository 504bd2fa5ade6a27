//! An origin whose pages may use the server.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::yaml;

/// An origin such as `https://app.example`, or `*` for any origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Pages of any origin. The server ignores their cookies.
    Any,
    /// Pages of this origin.
    One(Origin),
}

/// `scheme://host[:port]` in lower case and without the default port of its scheme, as browsers
/// send it; or `null`, which they send for a page whose origin they keep secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Arc<str>);

impl AllowedOrigin {
    /// Whether this allows all pages, including those of unknown origin.
    pub(crate) fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether this is the origin. `*` is not.
    pub(crate) fn names(&self, origin: &Origin) -> bool {
        matches!(self, Self::One(named) if named == origin)
    }
}

impl Origin {
    /// Returns the origin of an `Origin` header. A value that is not an origin equals no other
    /// origin.
    pub(crate) fn of_header(header: &HeaderValue) -> Self {
        let text = String::from_utf8_lossy(header.as_bytes());
        Self(normalized(&text).into())
    }

    /// Returns the host, in brackets if it is an IPv6 address. The origin `null` has none.
    pub(crate) fn host(&self) -> Option<&str> {
        let (_, authority) = self.0.split_once("://")?;
        let host = without_port(authority);
        (!host.is_empty()).then_some(host)
    }

    /// Returns an http or https origin in the form that browsers send: with a domain in ASCII and
    /// an address in its shortest form.
    fn canonical(self) -> Option<Self> {
        if !["http://", "https://"].iter().any(|scheme| self.0.starts_with(scheme)) {
            return Some(self);
        }
        let origin = Url::parse(&self.0).ok()?.origin();
        origin.is_tuple().then(|| Self(origin.ascii_serialization().into()))
    }

    /// Returns the origin as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the authority of a url without its port.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The last colon of an IPv6 address is inside its brackets.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

fn normalized(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    let default_port = match text.split_once("://") {
        Some(("http" | "ws", _)) => ":80",
        Some(("https" | "wss", _)) => ":443",
        _ => return text,
    };
    text.strip_suffix(default_port).map(str::to_owned).unwrap_or(text)
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let origin = Self(normalized(text.strip_suffix('/').unwrap_or(text)).into());
        let (scheme, authority) = origin.0.split_once("://").unwrap_or_default();
        let port = authority[without_port(authority).len()..].strip_prefix(':');
        let is_origin = !scheme.is_empty()
            && origin.host().is_some()
            && !authority.contains(['/', '?', '#', '@', '*', ' ', ','])
            && port.is_none_or(|port| port.parse::<u16>().is_ok());
        match is_origin.then(|| origin.canonical()).flatten() {
            Some(origin) => Ok(origin),
            None => Err(format!(
                "{text:?} is not an origin: expected scheme://host or scheme://host:port, such as \
                 https://app.example, or *"
            )),
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" { Ok(Self::Any) } else { text.parse().map(Self::One) }
    }
}

impl<'de> Deserialize<'de> for AllowedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::parse_text(deserializer)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the origin as a configuration file has it.
impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("'*'"),
            Self::One(origin) => origin.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_in_the_form_that_browsers_send() {
        for (written, sent) in [
            ("https://App.example/", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://app.example:80/", "http://app.example"),
            ("http://app.example:443", "http://app.example:443"),
            ("http://[2001:DB8::1]:80", "http://[2001:db8::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("https://Zoë.example", "https://xn--zo-ija.example"),
            ("http://[0:0::2]:81", "http://[::2]:81"),
            ("http://127.1", "http://127.0.0.1"),
            ("https://x.example:0443", "https://x.example"),
        ] {
            let named: AllowedOrigin = written.parse().unwrap();
            assert!(named.names(&Origin::of_header(&sent.parse().unwrap())), "{written}");
        }
        let named: AllowedOrigin = "https://app.example".parse().unwrap();
        for other in ["http://app.example", "https://app.example:8443", "null", "app.example", ""] {
            assert!(!named.names(&Origin::of_header(&other.parse().unwrap())), "{other}");
        }
    }

    #[test]
    fn text_that_is_not_an_origin_is_an_error() {
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/page",
            "https://me@app.example",
            "https://*.example",
            "https://app.example:eighty",
            "null",
            "https://a.example https://b.example",
        ] {
            let refused = text.parse::<AllowedOrigin>().unwrap_err();
            assert!(refused.starts_with(&format!("{text:?} is not an origin: expected")));
        }
    }
}
