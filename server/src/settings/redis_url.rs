//! The address of a Redis server, as the setting `engine` has it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use url::Url;

const FORM: &str = "expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]";

/// The address of a Redis server: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`. User and
/// password are not shown, neither when it is printed nor in an error about it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Arc<Url>);

impl RedisUrl {
    /// Returns the address of a server with a password.
    pub(super) fn of(host: &str, port: u16, password: Option<&str>) -> Result<Self, String> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut url: Self = format!("redis://{host}:{port}").parse()?;
        if let Some(password) = password {
            let set = Arc::make_mut(&mut url.0).set_password(Some(password));
            set.map_err(|()| "the password of Redis cannot be in an address".to_owned())?;
        }
        Ok(url)
    }

    /// Returns the address with user and password.
    pub(super) fn with_credentials(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = |reason: &str| format!("the address of Redis {reason}; {FORM}");
        let url = Url::parse(text).map_err(|error| malformed(&format!("is invalid: {error}")))?;
        if url.scheme() != "redis" {
            return Err(malformed("does not begin with redis:// (there is no TLS)"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(malformed("has no host"));
        }
        let database = url.path().trim_start_matches('/');
        if !database.is_empty() && database.parse::<u16>().is_err() {
            return Err(malformed("has a database that is not a number"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(malformed("has parameters after ? or #, which nothing reads"));
        }
        Ok(Self(Arc::new(url)))
    }
}

/// Writes the address without user and password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}", self.0.host_str().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

/// Writes the address without user and password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_shown_without_user_and_password() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("redis://ann:secret@10.0.0.1:6380/2", "redis://10.0.0.1:6380/2"),
            ("redis://:secret@[::1]:6380", "redis://[::1]:6380"),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), url.with_credentials()), (shown.to_owned(), text));
            assert_eq!(format!("{url:?}"), format!("RedisUrl({shown})"));
        }
    }

    #[test]
    fn address_is_made_of_host_port_and_password() {
        let made = |host, password| RedisUrl::of(host, 6380, password).unwrap();
        assert_eq!(made("10.0.0.1", None).with_credentials(), "redis://10.0.0.1:6380");
        assert_eq!(made("h", Some("a b/@")).with_credentials(), "redis://:a%20b%2F%40@h:6380");
        assert_eq!(made("::1", None).with_credentials(), "redis://[::1]:6380");
        assert!(RedisUrl::of("a b", 1, None).is_err());
    }

    #[test]
    fn error_about_an_address_does_not_contain_it() {
        for text in [
            "redis:ann:secret@host",
            "redis://:secret@",
            "redis://:secret@host:port",
            "redis://:secret@host/first",
            "redis://:secret@host?db=1",
            "rediss://:secret@host",
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err();
            assert!(!error.contains("secret") && error.contains(FORM), "{error}");
        }
    }
}
