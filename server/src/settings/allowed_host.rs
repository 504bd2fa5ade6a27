//! The host names that requests to the server may have: the setting `allowed_hosts`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use url::Host;

use crate::yaml;

/// A host name of the server: `push.example`, or `.push.example` for that name and its subdomains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost(Arc<str>);

impl AllowedHost {
    /// Whether this allows a host name, which is in lower case and without its port.
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self.0.strip_prefix('.') {
            Some(domain) => name
                .strip_suffix(domain)
                .is_some_and(|below| below.is_empty() || below.ends_with('.')),
            None => name == &*self.0,
        }
    }
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |c: char| c.is_alphanumeric() || ['.', '-', '_'].contains(&c);
        if text.trim_start_matches('.').is_empty() || !text.chars().all(is_name) {
            return Err(format!(
                "{text:?} is not a host name: expected a name such as push.example or \
                 .push.example, without scheme and port"
            ));
        }
        // Browsers send a domain in ASCII.
        let name = text.trim_start_matches('.');
        let domain = match Host::parse(name) {
            Ok(Host::Domain(domain)) => domain,
            _ => name.to_ascii_lowercase(),
        };
        let dot = if text.starts_with('.') { "." } else { "" };
        Ok(Self(format!("{dot}{domain}").into()))
    }
}

impl<'de> Deserialize<'de> for AllowedHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::parse_text(deserializer)
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_dot_allows_the_name_and_its_subdomains() {
        let host: AllowedHost = "Push.example".parse().unwrap();
        assert!(host.matches("push.example"));
        assert!(!host.matches("a.push.example") && !host.matches("apush.example"));
        let domain: AllowedHost = ".push.example".parse().unwrap();
        assert!(domain.matches("push.example") && domain.matches("a.b.push.example"));
        assert!(
            !domain.matches("evilpush.example") && !domain.matches("push.example.evil.example")
        );
    }

    #[test]
    fn domain_is_compared_in_the_form_that_browsers_send() {
        let host: AllowedHost = "Zoë.example".parse().unwrap();
        assert!(host.matches("xn--zo-ija.example") && !host.matches("zoë.example"));
        let domain: AllowedHost = ".Zoë.example".parse().unwrap();
        assert!(domain.matches("a.xn--zo-ija.example") && domain.matches("xn--zo-ija.example"));
        let host: AllowedHost = "my_host".parse().unwrap();
        assert!(host.matches("my_host"));
    }

    #[test]
    fn invalid_host_name_is_an_error() {
        for text in ["", ".", "https://push.example", "push.example:80", "*", "[::1]", "a b"] {
            assert!(
                text.parse::<AllowedHost>().unwrap_err().contains("is not a host name: expected")
            );
        }
    }
}
