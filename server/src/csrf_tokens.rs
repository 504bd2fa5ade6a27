//! The CSRF tokens of sessions, as those of Sails.
//!
//! A token is a salt, and an HMAC of the salt and the session's id. So the server stores nothing
//! for it, and all servers with the same session secret accept it. The salt makes each token
//! another text, so that the size of compressed pages reveals nothing of it (BREACH).
//!
//! Invariant: a token is valid only for the id that it was created for. A sign-in renews the id,
//! so a token from before, which an attacker may know, is no longer valid.

use backwire_engine::Environment;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::settings::SessionSecret;

/// Distinguishes these HMACs from others with the same secret.
const CONTEXT: &[u8] = b"backwire csrf token";

/// The bytes of the HMAC that a token has.
const MAC_BYTES: usize = 20;

/// Creates and checks tokens.
#[derive(Clone)]
pub(crate) struct CsrfTokens {
    mac: Hmac<Sha256>,
    environment: Environment,
}

impl CsrfTokens {
    pub(crate) fn new(environment: Environment, secret: &SessionSecret) -> Self {
        let mac = Hmac::new_from_slice(secret.as_bytes()).expect("a key may have any length");
        Self { mac: mac.chain_update(CONTEXT), environment }
    }

    /// Creates a token for the session with this id.
    pub(crate) fn create(&self, session: &str) -> String {
        let salt = format!("{:032x}", self.environment.random_u128());
        self.token(&salt, session)
    }

    /// Whether a text is a token of this session.
    pub(crate) fn is_valid(&self, session: &str, text: &str) -> bool {
        let salt = text.split_once('-').map(|(salt, _)| salt);
        salt.is_some_and(|salt| self.token(salt, session).as_bytes().ct_eq(text.as_bytes()).into())
    }

    fn token(&self, salt: &str, session: &str) -> String {
        // A salt has no `-`, so no two pairs are the same text.
        let mac = self.mac.clone().chain_update(salt).chain_update("-").chain_update(session);
        let mac = mac.finalize().into_bytes();
        let digits = mac.iter().take(MAC_BYTES).map(|byte| format!("{byte:02x}"));
        format!("{salt}-{}", String::from_iter(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: &str) -> CsrfTokens {
        CsrfTokens::new(Environment::tokio(), &secret.repeat(32).parse().unwrap())
    }

    #[test]
    fn token_is_valid_for_its_session_only() {
        let ours = tokens("s");
        let token = ours.create("ann");
        assert!(ours.is_valid("ann", &token) && tokens("s").is_valid("ann", &token));
        assert!(!ours.is_valid("bob", &token) && !tokens("t").is_valid("ann", &token));
        assert!(ours.is_valid("", &ours.create("")));
        assert_ne!(token, ours.create("ann"));
    }

    #[test]
    fn changed_token_is_refused() {
        let ours = tokens("s");
        let token = ours.create("ann");
        let (salt, mac) = token.split_once('-').unwrap();
        let others = [
            String::new(),
            "-".to_owned(),
            mac.to_owned(),
            format!("{salt}-"),
            format!("{salt}0-{mac}"),
            format!("{salt}-{mac}0"),
            format!("-{mac}"),
            token.to_uppercase(),
            format!("{token}-"),
        ];
        for other in others {
            assert!(!ours.is_valid("ann", &other), "{other}");
        }
    }
}
