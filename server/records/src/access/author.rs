//! The writer of a record, and the owners that the writer may set.

use serde_json::Value;

use super::{Access, Act, Grant, Who};
use crate::change::{Attributes, Id};

/// The writer of a record, and whether the writer may set its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The person; nobody in particular before they have signed in.
    pub person: Option<Id>,
    /// Whether [`Access::assign`] lets them name another owner than themselves.
    pub assigns: bool,
}

impl Access {
    /// Somebody as an author of records.
    pub fn author(&self, who: &Who) -> Author {
        let grants = self.assign.iter().flat_map(|rule| &rule.0);
        let assigns = grants.into_iter().any(|grant| match grant {
            Grant::Everyone => true,
            Grant::SignedIn => who.is_signed_in(),
            Grant::Role(role) => who.has_role(role),
            Grant::Owner | Grant::Nobody => false,
        });
        Author { person: who.person.clone(), assigns }
    }

    /// Gives a new record its author, unless it says whose it is. If that is not the author's to say, the
    /// error has the attribute.
    pub fn sign(&self, record: &mut Attributes, author: &Author) -> Result<(), String> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let given = record.get(owner).filter(|given| !given.is_null());
        match (given, &author.person) {
            (None, Some(person)) => drop(record.insert(owner.clone(), person.to_json())),
            (None, None) => {}
            (Some(_), _) if author.assigns => {}
            (Some(given), person) if person.is_some() && Id::from_json(given) == *person => {}
            (Some(_), _) => return Err(owner.clone()),
        }
        Ok(())
    }

    /// Fails with the attribute of the owner if that is changed by somebody who may not change it.
    pub fn keep_owner(
        &self,
        record: &Attributes,
        set: &Attributes,
        author: &Author,
    ) -> Result<(), String> {
        let Some(owner) = self.owner.as_ref().filter(|_| !author.assigns) else { return Ok(()) };
        let given = |attributes: &Attributes| attributes.get(owner).cloned().unwrap_or_default();
        match set.contains_key(owner) && !is_same(&given(set), &given(record)) {
            true => Err(owner.clone()),
            false => Ok(()),
        }
    }

    /// Whether the refusal of a value that another record has would tell somebody of a record that they may
    /// not read: somebody who may create records may not read all that could have the value.
    ///
    /// Where people have unique values of their own, those are the records of the same owner: their own, those
    /// of nobody where anonymous callers may create some, and those of people whom they may assign records.
    pub fn reveals_values(&self) -> bool {
        let creators = self.grants(Act::Create);
        if self.keeps_apart().is_some() {
            let assigned = self.assign.iter().flat_map(|rule| &rule.0);
            let anonymous = creators.iter().filter(|grant| **grant == Grant::Everyone);
            return anonymous.chain(assigned).any(|grant| !self.may_read_all(grant));
        }
        let is_for_anybody = |act| self.grants(act).iter().any(|grant| *grant != Grant::Nobody);
        let hides_by_policy = self.policy.is_some();
        hides_by_policy && (is_for_anybody(Act::Create) || is_for_anybody(Act::Update))
            || self.reveals_ids()
    }

    /// The same of the refusal of an id that another record has.
    pub fn reveals_ids(&self) -> bool {
        self.grants(Act::Create).iter().any(|grant| !self.may_read_all(grant))
    }

    /// Whether all to whom something is granted may read every record, as far as rules go.
    fn may_read_all(&self, grant: &Grant) -> bool {
        let readers = self.grants(Act::Read);
        let are_signed_in = matches!(grant, Grant::SignedIn | Grant::Owner | Grant::Role(_));
        *grant == Grant::Nobody
            || readers.contains(&Grant::Everyone)
            || are_signed_in && readers.contains(&Grant::SignedIn)
            || *grant != Grant::Owner && readers.contains(grant)
    }

    /// Whether `assign` has no owner to be about, or is left to the owner of each record, who could give away
    /// only what is theirs and keep it.
    pub fn assigns_nothing(&self) -> bool {
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

    fn access(said: Value) -> Access {
        serde_json::from_value(said).unwrap()
    }

    fn record(said: Value) -> Attributes {
        serde_json::from_value(said).unwrap()
    }

    fn author(person: Option<i64>, assigns: bool) -> Author {
        Author { person: person.map(Id::Integer), assigns }
    }

    #[test]
    fn new_record_belongs_to_its_author_unless_they_may_assign_it() {
        let notes = access(json!({ "owner": "userId" }));
        let signed = |said: Value, author: Author| {
            let mut record = record(said);
            let signed = notes.sign(&mut record, &author);
            signed.map(|()| record.get("userId").cloned().unwrap_or_default())
        };
        for said in [json!({}), json!({ "userId": null })] {
            assert_eq!(signed(said.clone(), author(Some(7), false)), Ok(json!(7)));
            assert_eq!(signed(said, author(None, false)), Ok(Value::Null));
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
        let kept = |before: Value, set: Value, assigns| {
            notes.keep_owner(&record(before), &record(set), &author(Some(7), assigns)).is_ok()
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
        let revealed = |said: Value| access(said).reveals_values();
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
