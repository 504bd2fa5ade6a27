//! The owner of an idempotency key.
//!
//! Invariant: people, back ends and anonymous callers have separate keys, so no caller can use up
//! the key of another, find out that it was used, or get its stored reply. Anonymous callers share
//! their keys: a repeat may come over another connection, and nothing shows that it is from the
//! same browser.

use std::sync::Arc;

use backwire_records::access::Principal;
use backwire_records::change::Id;

/// The prefix of identities that are not the id of a person.
const RESERVED_PREFIX: char = ':';

/// The owner of the keys of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Identity {
    /// An anonymous caller: nobody has signed in, or the resource is open to everyone.
    #[default]
    Anonymous,
    /// A person who has signed in.
    Person(Id),
    /// A back end that has sent the `api_key`.
    ApiKey,
}

impl Identity {
    /// Returns the text that the ledger stores.
    pub(crate) fn to_text(&self) -> Arc<str> {
        match self {
            Self::Anonymous => Arc::default(),
            Self::ApiKey => format!("{RESERVED_PREFIX}api_key").into(),
            Self::Person(id) => match id.to_string() {
                id if id.starts_with(RESERVED_PREFIX) => format!("{RESERVED_PREFIX}{id}").into(),
                id => id.into(),
            },
        }
    }
}

impl From<Principal> for Identity {
    fn from(principal: Principal) -> Self {
        principal.person.map_or(Self::Anonymous, Self::Person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_identities_have_different_texts() {
        let people = [":", "::", ":api_key", "::api_key", "api_key", "7", "ann"];
        let people = people.map(|id| Identity::Person(Id::parse(id).unwrap()));
        let all: Vec<_> =
            people.into_iter().chain([Identity::Anonymous, Identity::ApiKey]).collect();
        for (index, identity) in all.iter().enumerate() {
            let is_same = |other: &Identity| other.to_text() == identity.to_text();
            assert!(!all[index + 1..].iter().any(is_same), "{identity:?}");
        }
    }

    #[test]
    fn person_has_same_text_as_in_earlier_versions() {
        let person = |id: &str| Identity::Person(Id::parse(id).unwrap()).to_text();
        assert_eq!((&*person("7"), &*person("ann")), ("7", "ann"));
    }
}
