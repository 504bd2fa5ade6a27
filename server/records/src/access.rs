//! Authorization: the access rules of a resource, and the records that they allow a caller.
//!
//! All of it is pure. A rule names the callers that an operation is allowed to. For one caller it
//! results in an [`AccessScope`]: all records, none, or those that fulfil a filter. It is a filter
//! like any other: a caller principal may not see all records reads, follows and writes a part of
//! them, and nothing shows the caller that there is more.
//!
//! In reading order: `principal`: the caller; `rule`: the callers that an operation is allowed to;
//! `policy`: a rule in Rust; `access_scope`: the records that the rules allow; `author`: the owners
//! of records; `operation`: the operations.
//!
//! ```yaml
//! resources:
//!   note:
//!     access:
//!       owner: userId                     # given to each new record by the server
//!       read: owner
//!       create: signedIn
//!       update: [owner, {role: editor}]   # any of these
//!       assign: {role: editor}            # may set another owner than themselves
//! ```

mod access_scope;
mod author;
mod operation;
mod policy;
mod principal;
mod rule;

use serde::Deserialize;

use crate::criteria::Filter;

pub use access_scope::AccessScope;
pub use author::Author;
pub use operation::Operation;
pub use policy::Policy;
pub use principal::{ExpiringPrincipal, Principal};
pub use rule::{Grant, Rule};

/// The access rules of a resource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// The attribute with the id of the person principal owns a record. The author of a record
    /// becomes its owner, and the owner does not change.
    pub owner: Option<String>,
    /// The callers that may create records for another owner, and change the owner of a record.
    /// Nobody by default.
    pub assign: Option<Rule>,
    /// The callers that may read and follow records. Others may neither update nor destroy them.
    pub read: Option<Rule>,
    /// The callers that may add records.
    pub create: Option<Rule>,
    /// The callers that may set attributes.
    pub update: Option<Rule>,
    /// The callers that may remove records.
    pub destroy: Option<Rule>,
    /// A rule in Rust, which narrows the others.
    #[serde(skip)]
    pub policy: Option<Policy>,
}

impl Access {
    /// Whether everyone may do everything.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether some callers may see only a part of the records. Then nothing may show them whether
    /// there are others.
    pub fn hides_records(&self) -> bool {
        self.isolating_owner().is_some() || self.policy.is_some()
    }

    /// Returns the attribute with the owner, if owners are isolated: each may read the records of
    /// their own.
    pub fn isolating_owner(&self) -> Option<&str> {
        let rule = self.read.as_ref();
        let by_owner = rule.is_none_or(|Rule(any)| any.contains(&Grant::Owner));
        self.owner.as_deref().filter(|_| by_owner)
    }

    /// Returns the records on which a caller may do an operation. If the resource has an owner and
    /// no rule for the operation, these are the caller's own records.
    pub fn scope_of(&self, principal: &Principal, operation: Operation) -> AccessScope {
        let own = self.granted(principal, operation).and(self.by_policy(principal, operation));
        match operation {
            // Both answer with the record, and an error of either would show that it exists.
            Operation::Update | Operation::Destroy => {
                own.and(self.scope_of(principal, Operation::Read))
            }
            Operation::Read | Operation::Create => own,
        }
    }

    fn granted(&self, principal: &Principal, operation: Operation) -> AccessScope {
        let all = self.grants(operation).iter().map(|grant| self.by_grant(grant, principal));
        all.fold(AccessScope::Nothing, AccessScope::or)
    }

    fn grants(&self, operation: Operation) -> &[Grant] {
        let by_default = match &self.owner {
            Some(_) => &[Grant::Owner],
            None => &[Grant::Everyone],
        };
        self.rule(operation).map_or(&by_default[..], |Rule(any)| any)
    }

    /// Whether the rules allow an operation to at least one caller. A policy does not count: it
    /// cannot be evaluated without a caller.
    pub fn is_granted_to_anyone(&self, operation: Operation) -> bool {
        let is_granted =
            |operation| self.grants(operation).iter().any(|grant| *grant != Grant::Nobody);
        match operation {
            Operation::Read | Operation::Create => is_granted(operation),
            Operation::Update | Operation::Destroy => {
                is_granted(operation) && is_granted(Operation::Read)
            }
        }
    }

    fn by_grant(&self, grant: &Grant, principal: &Principal) -> AccessScope {
        let is_granted = match grant {
            Grant::Everyone => true,
            Grant::SignedIn => principal.is_signed_in(),
            Grant::Role(role) => principal.has_role(role),
            Grant::Nobody => false,
            Grant::Owner => {
                let own = self.owner.as_deref().zip(principal.person.as_ref());
                let own = own.map(|(name, id)| Filter::refers(name, id));
                return own.map_or(AccessScope::Nothing, AccessScope::Part);
            }
        };
        if is_granted { AccessScope::Whole } else { AccessScope::Nothing }
    }

    fn by_policy(&self, principal: &Principal, operation: Operation) -> AccessScope {
        self.policy
            .as_ref()
            .map_or(AccessScope::Whole, |Policy(policy)| policy(principal, operation))
    }

    fn rule(&self, operation: Operation) -> Option<&Rule> {
        match operation {
            Operation::Read => self.read.as_ref(),
            Operation::Create => self.create.as_ref(),
            Operation::Update => self.update.as_ref(),
            Operation::Destroy => self.destroy.as_ref(),
        }
    }

    /// Whether rules grant something to the owner although the `owner` attribute is not set.
    pub fn lacks_owner(&self) -> bool {
        let rules = [&self.read, &self.create, &self.update, &self.destroy];
        let mut grants = rules.into_iter().flatten().flat_map(|Rule(any)| any);
        self.owner.is_none() && grants.any(|grant| *grant == Grant::Owner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::change::{Id, Resource, Room};

    fn access(rules: Value) -> Access {
        serde_json::from_value(rules).unwrap()
    }

    fn principal(person: i64, roles: &[&str]) -> Principal {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Principal { person: Some(Id::Integer(person)), roles }
    }

    fn own(person: i64) -> AccessScope {
        AccessScope::Part(Filter::refers("userId", &Id::Integer(person)))
    }

    #[test]
    fn everyone_may_do_everything_without_rules() {
        assert!(access(json!({})).is_open());
        assert_eq!(
            access(json!({})).scope_of(&Principal::default(), Operation::Destroy),
            AccessScope::Whole
        );
    }

    #[test]
    fn owned_records_without_rules_are_for_their_owners() {
        let notes = access(json!({ "owner": "userId" }));
        for operation in [Operation::Read, Operation::Update, Operation::Destroy] {
            assert_eq!(notes.scope_of(&Principal::default(), operation), AccessScope::Nothing);
        }
        assert_eq!(notes.scope_of(&principal(7, &[]), Operation::Read), own(7));
        assert!(notes.hides_records());
    }

    #[test]
    fn one_grant_of_a_rule_is_enough() {
        let notes = access(json!({ "owner": "userId", "read": ["owner", { "role": "editor" }] }));
        assert_eq!(notes.scope_of(&principal(7, &["editor"]), Operation::Read), AccessScope::Whole);
        assert_eq!(notes.scope_of(&principal(7, &["reader"]), Operation::Read), own(7));
        assert_eq!(notes.scope_of(&Principal::default(), Operation::Read), AccessScope::Nothing);
    }

    #[test]
    fn callers_cannot_write_records_that_they_cannot_read() {
        let notes = access(json!({ "owner": "userId", "read": "owner", "update": "everyone" }));
        assert_eq!(notes.scope_of(&principal(7, &[]), Operation::Update), own(7));
        assert_eq!(notes.scope_of(&Principal::default(), Operation::Update), AccessScope::Nothing);
    }

    #[test]
    fn operation_without_a_grant_is_for_nobody() {
        let notes = access(json!({ "read": "signedIn", "create": "nobody", "update": [] }));
        let is_granted_to_anyone = |operation| {
            notes.is_granted_to_anyone(operation)
                && access(json!({})).is_granted_to_anyone(operation)
        };
        assert!(is_granted_to_anyone(Operation::Read) && is_granted_to_anyone(Operation::Destroy));
        assert!(
            !is_granted_to_anyone(Operation::Create) && !is_granted_to_anyone(Operation::Update)
        );
        let unread = access(json!({ "read": "nobody", "destroy": "everyone" }));
        assert!(!unread.is_granted_to_anyone(Operation::Destroy));
    }

    #[test]
    fn policy_narrows_the_other_rules() {
        let red = || AccessScope::matching(json!({ "team": "red" })).unwrap();
        let policy =
            Policy::new(
                move |principal, _| {
                    if principal.has_role("admin") { AccessScope::Whole } else { red() }
                },
            );
        let todos = Access {
            policy: Some(policy),
            read: Some(Rule(vec![Grant::SignedIn])),
            ..Access::default()
        };
        assert_eq!(todos.scope_of(&principal(7, &["admin"]), Operation::Read), AccessScope::Whole);
        assert_eq!(todos.scope_of(&principal(7, &[]), Operation::Read), red());
        assert_eq!(todos.scope_of(&Principal::default(), Operation::Read), AccessScope::Nothing);
    }

    #[test]
    fn room_is_covered_if_its_filter_implies_the_access_filter() {
        let room = |name: &str| Room::parse(name).unwrap();
        let scoped = |filter: Filter| {
            let scope = crate::criteria::Scope::Whole(filter);
            Room::scoped(room("note").resource().clone(), scope).unwrap()
        };
        let AccessScope::Part(sevens) = own(7) else { unreachable!() };
        let undone = Filter::read(json!({ "done": false })).unwrap();
        assert!(own(7).covers(&scoped(sevens.clone())));
        assert!(own(7).covers(&scoped(undone.clone().and(sevens.clone()))));
        assert!(!own(7).covers(&scoped(undone.clone())));
        assert!(!own(7).covers(&scoped(Filter::Any(vec![sevens, undone]))));
        assert!(!own(7).covers(&room("note")));
        assert!(!own(7).covers(&room("note/1")));
        assert!(AccessScope::Whole.covers(&room("note")));
    }

    #[test]
    fn room_that_was_joined_with_another_access_is_not_covered() {
        let joined = |access: &AccessScope| {
            let filter = access.filter();
            let scope = crate::criteria::Scope::Whole(filter.clone()).narrowed(&filter);
            Room::scoped(Resource::parse("note").unwrap(), scope).unwrap()
        };
        let accesses = [own(7), own(8), own(7).or(own(8)), AccessScope::Whole];
        for access in &accesses {
            for other in &accesses {
                assert_eq!(access.covers(&joined(other)), access == other, "{access:?} {other:?}");
            }
        }
        let room = |name: &str| Room::parse(name).unwrap();
        assert!(!AccessScope::Nothing.covers(&room("note")));
    }

    #[test]
    fn rules_are_parsed_from_one_grant_or_several() {
        let rules = access(json!({ "read": "signedIn", "update": ["everyone", { "role": "a" }] }));
        assert_eq!(rules.read, Some(Rule(vec![Grant::SignedIn])));
        assert_eq!(rules.update, Some(Rule(vec![Grant::Everyone, Grant::Role("a".to_owned())])));
        assert!(serde_json::from_value::<Access>(json!({ "read": "all" })).is_err());
        assert!(access(json!({ "read": "owner" })).lacks_owner());
    }
}
