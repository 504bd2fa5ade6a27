//! What is not shown where settings are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;
use subtle::ConstantTimeEq;

use crate::secret_files;

/// A secret that a back end has to know. It is not shown where settings are.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// Reads it from a file; spaces and newlines around it do not count.
    pub fn read(file: &str) -> Result<Self, String> {
        of_file(file)
    }

    /// What a back end shows, if it can be in a header. It is marked as not to be shown.
    pub fn bearer(&self) -> Option<HeaderValue> {
        let mut header = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// Whether this is it. How long the answer takes does not tell how much of it is right.
    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl FromStr for ApiKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.trim().is_empty() {
            Err("a key has at least one character that is not a space")
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// What session cookies are signed with: at least 32 characters. It is not shown where settings are.
#[derive(Clone)]
pub struct SessionSecret(Arc<[u8]>);

impl SessionSecret {
    /// Reads it from a file; spaces and newlines around it do not count.
    pub fn read(file: &str) -> Result<Self, String> {
        of_file(file)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// That of an engine.
impl From<[u8; 32]> for SessionSecret {
    fn from(secret: [u8; 32]) -> Self {
        Self(Arc::new(secret))
    }
}

impl FromStr for SessionSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.len() < 32 {
            Err("a session secret has at least 32 characters")
        } else {
            Ok(Self(text.as_bytes().into()))
        }
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

fn of_file<T: FromStr<Err = &'static str>>(file: &str) -> Result<T, String> {
    let text = secret_files::read(file).map_err(|error| format!("{file}: {error}"))?;
    text.trim().parse().map_err(|reason| format!("{file}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown_and_no_other_is_taken_for_it() {
        let key: ApiKey = "secret".parse().unwrap();
        assert!(key.is("secret"));
        for other in ["", "s", "Secret", "secret2"] {
            assert!(!key.is(other), "{other}");
        }
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!("".parse::<ApiKey>().is_err() && " \n".parse::<ApiKey>().is_err());
    }

    #[test]
    fn a_session_secret_is_long_and_not_shown() {
        assert!("s".repeat(31).parse::<SessionSecret>().is_err());
        let secret: SessionSecret = "s".repeat(32).parse().unwrap();
        assert_eq!(format!("{secret:?}"), "SessionSecret(…)");
    }

    #[test]
    fn a_session_secret_may_be_in_a_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("secret").display().to_string();
        std::fs::write(&file, format!("{}\n", "s".repeat(32))).unwrap();
        assert_eq!(SessionSecret::read(&file).unwrap().as_bytes(), "s".repeat(32).as_bytes());
        std::fs::write(&file, "short\n").unwrap();
        assert!(SessionSecret::read(&file).unwrap_err().ends_with("at least 32 characters"));
        assert!(SessionSecret::read(&format!("{file}.old")).is_err());
    }
}
