//! Whose an idempotency key is.
//!
//! Invariant: people, back ends and anonymous callers have keys of their own, so nobody uses up a key of
//! another, finds out that it was used, or gets its stored reply. Anonymous callers share theirs: a
//! repeat may come over another connection, and nothing shows that it is from the same browser.

use std::sync::Arc;

use backwire_records::access::Who;
use backwire_records::change::Id;

/// What the identities begin with that are no person's id.
const RESERVED: char = ':';

/// Whose the keys of a request are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Identity {
    /// Nobody in particular: nobody has signed in, or the resource is open to everyone.
    #[default]
    Anonymous,
    /// A person who has signed in.
    Person(Id),
    /// A back end that has shown the `api_key`.
    ApiKey,
}

impl Identity {
    /// As the ledger has it.
    pub(crate) fn to_text(&self) -> Arc<str> {
        match self {
            Self::Anonymous => Arc::default(),
            Self::ApiKey => format!("{RESERVED}api_key").into(),
            Self::Person(id) => match id.to_string() {
                id if id.starts_with(RESERVED) => format!("{RESERVED}{id}").into(),
                id => id.into(),
            },
        }
    }
}

impl From<Who> for Identity {
    fn from(who: Who) -> Self {
        who.person.map_or(Self::Anonymous, Self::Person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_identities_have_the_same_text() {
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
    fn keys_of_people_are_found_as_earlier_versions_have_stored_them() {
        let person = |id: &str| Identity::Person(Id::parse(id).unwrap()).to_text();
        assert_eq!((&*person("7"), &*person("ann")), ("7", "ann"));
    }
}
