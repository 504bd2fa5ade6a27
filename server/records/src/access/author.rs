//! The writer of a record, and the owners that the writer may set.

use backwire_protocol::planted;
use serde_json::Value;

use super::{Access, Grant, Operation, Principal};
use crate::change::{Attributes, Id};

/// The writer of a record, and whether the writer may set its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The person; `None` before they have signed in.
    pub person: Option<Id>,
    /// Whether [`Access::assign`] lets them set another owner than themselves.
    pub may_assign: bool,
}

impl Access {
    /// Returns a caller as an author of records.
    pub fn author(&self, principal: &Principal) -> Author {
        let grants = self.assign.iter().flat_map(|rule| &rule.0);
        let may_assign = grants.into_iter().any(|grant| match grant {
            Grant::Everyone => true,
            Grant::SignedIn => principal.is_signed_in(),
            Grant::Role(role) => principal.has_role(role),
            Grant::Owner | Grant::Nobody => false,
        });
        Author { person: principal.person.clone(), may_assign }
    }

    /// Sets the author as the owner of a new record, unless the record has an owner already. If the
    /// author may not set that owner, the error has the name of the attribute.
    pub fn set_owner(&self, record: &mut Attributes, author: &Author) -> Result<(), String> {
        let Some(owner) = &self.owner else { return Ok(()) };
        if planted::has("owner-not-set") {
            return Ok(());
        }
        let given = record.get(owner).filter(|given| !given.is_null());
        match (given, &author.person) {
            (None, Some(person)) => drop(record.insert(owner.clone(), person.to_json())),
            (None, None) => {}
            (Some(_), _) if author.may_assign => {}
            (Some(given), person) if person.is_some() && Id::from_json(given) == *person => {}
            (Some(_), _) => return Err(owner.clone()),
        }
        Ok(())
    }

    /// Checks that the owner does not change, unless the author may change it. The error has the
    /// name of the attribute.
    pub fn check_owner(
        &self,
        record: &Attributes,
        set: &Attributes,
        author: &Author,
    ) -> Result<(), String> {
        let Some(owner) = self.owner.as_ref().filter(|_| !author.may_assign) else { return Ok(()) };
        let given = |attributes: &Attributes| attributes.get(owner).cloned().unwrap_or_default();
        match set.contains_key(owner) && !is_same(&given(set), &given(record)) {
            true => Err(owner.clone()),
            false => Ok(()),
        }
    }

    /// Whether the refusal of a value that is taken would reveal a record that the caller may not
    /// read: a caller who may create records may not read all records that could have the value.
    ///
    /// If values are unique per owner, those are the records of the same owner: the caller's own,
    /// records without an owner if anonymous callers may create some, and records of the people
    /// whom the caller may assign records to.
    pub fn reveals_values(&self) -> bool {
        let creators = self.grants(Operation::Create);
        if self.isolating_owner().is_some() {
            let assigned = self.assign.iter().flat_map(|rule| &rule.0);
            let anonymous = creators.iter().filter(|grant| **grant == Grant::Everyone);
            return anonymous.chain(assigned).any(|grant| !self.may_read_all(grant));
        }
        let is_granted_to_anyone =
            |operation| self.grants(operation).iter().any(|grant| *grant != Grant::Nobody);
        let hides_by_policy = self.policy.is_some();
        hides_by_policy
            && (is_granted_to_anyone(Operation::Create) || is_granted_to_anyone(Operation::Update))
            || self.reveals_ids()
    }

    /// Whether the refusal of an id that is taken would reveal a record in the same way.
    pub fn reveals_ids(&self) -> bool {
        self.grants(Operation::Create).iter().any(|grant| !self.may_read_all(grant))
    }

    /// Whether all callers of a grant may read every record, as far as rules go.
    fn may_read_all(&self, grant: &Grant) -> bool {
        let readers = self.grants(Operation::Read);
        let are_signed_in = matches!(grant, Grant::SignedIn | Grant::Owner | Grant::Role(_));
        *grant == Grant::Nobody
            || readers.contains(&Grant::Everyone)
            || are_signed_in && readers.contains(&Grant::SignedIn)
            || *grant != Grant::Owner && readers.contains(grant)
    }

    /// Whether `assign` is set although the resource has no owner, or is granted to owners. An
    /// owner could only give away a record of their own and keep it.
    pub fn has_invalid_assign(&self) -> bool {
        let assign = self.assign.as_ref();
        assign.is_some_and(|rule| self.owner.is_none() || rule.0.contains(&Grant::Owner))
    }
}

/// Whether two values name the same owner. `"7"` and 7 do.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || Id::from_json(one).is_some_and(|id| Some(id) == Id::from_json(other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access(rules: Value) -> Access {
        serde_json::from_value(rules).unwrap()
    }

    fn record(attributes: Value) -> Attributes {
        serde_json::from_value(attributes).unwrap()
    }

    fn author(person: Option<i64>, may_assign: bool) -> Author {
        Author { person: person.map(Id::Integer), may_assign }
    }

    #[test]
    fn new_record_belongs_to_its_author_unless_they_may_assign_it() {
        let notes = access(json!({ "owner": "userId" }));
        let signed = |attributes: Value, author: Author| {
            let mut record = record(attributes);
            let signed = notes.set_owner(&mut record, &author);
            signed.map(|()| record.get("userId").cloned().unwrap_or_default())
        };
        for attributes in [json!({}), json!({ "userId": null })] {
            assert_eq!(signed(attributes.clone(), author(Some(7), false)), Ok(json!(7)));
            assert_eq!(signed(attributes, author(None, false)), Ok(Value::Null));
        }
        assert_eq!(signed(json!({ "userId": "7" }), author(Some(7), false)), Ok(json!("7")));
        assert_eq!(signed(json!({ "userId": 8 }), author(Some(7), true)), Ok(json!(8)));
        for given in [json!(8), json!([7]), json!(7.5), json!("")] {
            for person in [Some(7), None] {
                let signed = signed(json!({ "userId": given }), author(person, false));
                assert_eq!(signed, Err("userId".to_owned()), "{given}");
            }
        }
    }

    #[test]
    fn record_keeps_its_owner_unless_the_author_may_assign_it() {
        let notes = access(json!({ "owner": "userId" }));
        let kept = |before: Value, set: Value, may_assign| {
            notes.check_owner(&record(before), &record(set), &author(Some(7), may_assign)).is_ok()
        };
        assert!(kept(json!({ "userId": 8 }), json!({ "userId": "8" }), false));
        assert!(kept(json!({ "userId": 8 }), json!({ "text": "Milk" }), false));
        assert!(kept(json!({}), json!({ "userId": null }), false));
        assert!(!kept(json!({}), json!({ "userId": 7 }), false));
        for given in [json!(7), json!(9), Value::Null] {
            let set = json!({ "userId": given });
            assert!(!kept(json!({ "userId": 8 }), set.clone(), false));
            assert!(kept(json!({ "userId": 8 }), set, true));
        }
    }

    #[test]
    fn values_are_revealed_to_creators_who_may_not_read_all() {
        let revealed = |rules: Value| access(rules).reveals_values();
        let staff = json!({ "role": "staff" });
        assert!(revealed(json!({ "read": staff, "create": "everyone" })));
        assert!(revealed(json!({ "read": staff, "create": ["signedIn", staff] })));
        assert!(revealed(json!({ "read": "nobody", "create": staff })));
        assert!(revealed(json!({ "owner": "userId", "create": "everyone" })));
        assert!(revealed(json!({ "owner": "userId", "assign": staff, "create": "signedIn" })));
        assert!(!revealed(json!({ "read": staff, "create": staff })));
        assert!(!revealed(json!({ "read": "signedIn", "create": staff })));
        assert!(!revealed(json!({ "read": "nobody", "create": "nobody" })));
        assert!(!revealed(json!({ "owner": "userId", "create": "signedIn" })));
        assert!(!revealed(json!({
            "owner": "userId", "assign": staff, "create": "signedIn", "read": ["owner", staff],
        })));
        assert!(!revealed(json!({})));
    }
}
