//! Keys and secrets. They are not shown when settings are printed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;
use subtle::ConstantTimeEq;

use crate::secret_files;

/// A key that back ends need. It is not shown when settings are printed.
#[derive(Clone)]
pub struct ApiKey(Arc<str>);

impl ApiKey {
    /// Reads a key from a file. Spaces and newlines around it are ignored.
    pub fn read(file: &str) -> Result<Self, String> {
        read_secret(file)
    }

    /// Returns the `Authorization` header with the key, if a header can contain it. It is marked as
    /// sensitive.
    pub fn bearer(&self) -> Option<HeaderValue> {
        let mut header = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// Returns the key, for the address of a server that needs it.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether this is the key. The time of the comparison does not reveal how much of a wrong key
    /// is right.
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

/// The secret that session cookies are signed with: at least 32 characters. It is not shown when
/// settings are printed.
#[derive(Clone)]
pub struct SessionSecret(Arc<[u8]>);

impl SessionSecret {
    /// Reads a secret from a file. Spaces and newlines around it are ignored.
    pub fn read(file: &str) -> Result<Self, String> {
        read_secret(file)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The secret of an engine.
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

fn read_secret<T: FromStr<Err = &'static str>>(file: &str) -> Result<T, String> {
    let text = secret_files::read(file).map_err(|error| format!("{file}: {error}"))?;
    text.trim().parse().map_err(|reason| format!("{file}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_key_is_not_shown_and_equals_no_other_text() {
        let key: ApiKey = "secret".parse().unwrap();
        assert!(key.is("secret"));
        for other in ["", "s", "Secret", "secret2"] {
            assert!(!key.is(other), "{other}");
        }
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        assert!("".parse::<ApiKey>().is_err() && " \n".parse::<ApiKey>().is_err());
    }

    #[test]
    fn session_secret_has_32_characters_and_is_not_shown() {
        assert!("s".repeat(31).parse::<SessionSecret>().is_err());
        let secret: SessionSecret = "s".repeat(32).parse().unwrap();
        assert_eq!(format!("{secret:?}"), "SessionSecret(…)");
    }

    #[test]
    fn session_secret_can_be_read_from_a_file() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("secret").display().to_string();
        std::fs::write(&file, format!("{}\n", "s".repeat(32))).unwrap();
        assert_eq!(SessionSecret::read(&file).unwrap().as_bytes(), "s".repeat(32).as_bytes());
        std::fs::write(&file, "short\n").unwrap();
        assert!(SessionSecret::read(&file).unwrap_err().ends_with("at least 32 characters"));
        assert!(SessionSecret::read(&format!("{file}.old")).is_err());
    }
}
