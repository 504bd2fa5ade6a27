//! What a server may be called by.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use url::Host;

use crate::yaml;

/// A name that browsers may have reached the server by: `push.example`, or `.push.example` for that and all
/// names below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost(Arc<str>);

impl AllowedHost {
    /// Whether a name, in lower case and without its port, is one that is meant.
    pub(crate) fn is(&self, name: &str) -> bool {
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
            let examples = "push.example and .push.example are, without scheme and port";
            return Err(format!("{text:?} is no name of a host; {examples}"));
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
        yaml::parsed(deserializer)
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
    fn a_name_is_itself_and_one_with_a_dot_before_it_is_all_below_it_as_well() {
        let host: AllowedHost = "Push.example".parse().unwrap();
        assert!(host.is("push.example"));
        assert!(!host.is("a.push.example") && !host.is("apush.example"));
        let domain: AllowedHost = ".push.example".parse().unwrap();
        assert!(domain.is("push.example") && domain.is("a.b.push.example"));
        assert!(!domain.is("evilpush.example") && !domain.is("push.example.evil.example"));
    }

    #[test]
    fn domain_is_compared_as_browsers_send_it() {
        let host: AllowedHost = "Zoë.example".parse().unwrap();
        assert!(host.is("xn--zo-ija.example") && !host.is("zoë.example"));
        let domain: AllowedHost = ".Zoë.example".parse().unwrap();
        assert!(domain.is("a.xn--zo-ija.example") && domain.is("xn--zo-ija.example"));
        let host: AllowedHost = "my_host".parse().unwrap();
        assert!(host.is("my_host"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", ".", "https://push.example", "push.example:80", "*", "[::1]", "a b"] {
            assert!(text.parse::<AllowedHost>().unwrap_err().contains("no name of a host"));
        }
    }
}
