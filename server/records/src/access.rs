//! Who may do what: rules of a resource, and what of it they leave to a caller.
//!
//! All of it is pure. A rule names whom an act is allowed; for a caller it comes down to a [`Reach`]: all
//! records, none, or those that fulfil a filter. A reach is a filter like any other, so whoever may not
//! see all reads, follows and writes the part of the resource that is theirs, and nothing tells them that
//! there is more.
//!
//! In reading order: `who` asks; `rule`: whom an act is allowed; `policy`: the same in Rust; `reach`: what
//! comes of it; `author`: whose a record is; `act`: what can be done.
//!
//! ```yaml
//! resources:
//!   note:
//!     access:
//!       owner: userId                     # given to each new record by the server
//!       read: owner
//!       create: signedIn
//!       update: [owner, {role: editor}]   # any of these
//!       assign: {role: editor}            # may name another owner than themselves
//! ```

mod act;
mod author;
mod policy;
mod reach;
mod rule;
mod who;

use serde::Deserialize;

use crate::criteria::Filter;

pub use act::Act;
pub use author::Author;
pub use policy::Policy;
pub use reach::Reach;
pub use rule::{Grant, Rule};
pub use who::{Known, Who};

/// Who may do what to a resource.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// The attribute with the id of the person a record belongs to. A new record gets its author's, and keeps
    /// it.
    pub owner: Option<String>,
    /// The callers that may create records for another owner, and change the owner of a record. Nobody by
    /// default.
    pub assign: Option<Rule>,
    /// Who may read and follow; whoever may not, may neither update nor destroy.
    pub read: Option<Rule>,
    /// Who may add records.
    pub create: Option<Rule>,
    /// Who may set attributes.
    pub update: Option<Rule>,
    /// Who may remove records.
    pub destroy: Option<Rule>,
    /// What else there is to say.
    #[serde(skip)]
    pub policy: Option<Policy>,
}

impl Access {
    /// Everyone may do everything.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether some see only a part of the records: whether there are others must then not show.
    pub fn hides_records(&self) -> bool {
        self.keeps_apart().is_some() || self.policy.is_some()
    }

    /// The attribute with the owner, where its owner is who may read a record.
    pub fn keeps_apart(&self) -> Option<&str> {
        let rule = self.read.as_ref();
        let by_owner = rule.is_none_or(|Rule(any)| any.contains(&Grant::Owner));
        self.owner.as_deref().filter(|_| by_owner)
    }

    /// What of the resource is left to somebody. Where there is an owner and nothing else is said, it is
    /// the owner's.
    pub fn reach(&self, who: &Who, act: Act) -> Reach {
        let own = self.granted(who, act).and(self.said(who, act));
        match act {
            // Both answer with the record, and an error of either would tell that it is there.
            Act::Update | Act::Destroy => own.and(self.reach(who, Act::Read)),
            Act::Read | Act::Create => own,
        }
    }

    fn granted(&self, who: &Who, act: Act) -> Reach {
        let all = self.grants(act).iter().map(|grant| self.by(grant, who));
        all.fold(Reach::Nothing, Reach::or)
    }

    fn grants(&self, act: Act) -> &[Grant] {
        let by_default = match &self.owner {
            Some(_) => &[Grant::Owner],
            None => &[Grant::Everyone],
        };
        self.rule(act).map_or(&by_default[..], |Rule(any)| any)
    }

    /// Whether the rules allow an act to any caller. A policy does not count: it cannot be
    /// evaluated without a caller.
    pub fn is_for_anybody(&self, act: Act) -> bool {
        let is_granted = |act| self.grants(act).iter().any(|grant| *grant != Grant::Nobody);
        match act {
            Act::Read | Act::Create => is_granted(act),
            Act::Update | Act::Destroy => is_granted(act) && is_granted(Act::Read),
        }
    }

    fn by(&self, grant: &Grant, who: &Who) -> Reach {
        let is_granted = match grant {
            Grant::Everyone => true,
            Grant::SignedIn => who.is_signed_in(),
            Grant::Role(role) => who.has_role(role),
            Grant::Nobody => false,
            Grant::Owner => {
                let own = self.owner.as_deref().zip(who.person.as_ref());
                let own = own.map(|(name, id)| Filter::refers(name, id));
                return own.map_or(Reach::Nothing, Reach::Part);
            }
        };
        if is_granted { Reach::Whole } else { Reach::Nothing }
    }

    fn said(&self, who: &Who, act: Act) -> Reach {
        self.policy.as_ref().map_or(Reach::Whole, |Policy(policy)| policy(who, act))
    }

    fn rule(&self, act: Act) -> Option<&Rule> {
        match act {
            Act::Read => self.read.as_ref(),
            Act::Create => self.create.as_ref(),
            Act::Update => self.update.as_ref(),
            Act::Destroy => self.destroy.as_ref(),
        }
    }

    /// Whether rules speak of an owner that is not named.
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
    use crate::change::{Id, Room};

    fn access(said: Value) -> Access {
        serde_json::from_value(said).unwrap()
    }

    fn who(person: i64, roles: &[&str]) -> Who {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Who { person: Some(Id::Integer(person)), roles }
    }

    fn own(person: i64) -> Reach {
        Reach::Part(Filter::refers("userId", &Id::Integer(person)))
    }

    #[test]
    fn without_rules_everyone_may_do_everything() {
        assert!(access(json!({})).is_open());
        assert_eq!(access(json!({})).reach(&Who::default(), Act::Destroy), Reach::Whole);
    }

    #[test]
    fn what_is_not_said_of_owned_records_is_their_owners() {
        let notes = access(json!({ "owner": "userId" }));
        for act in [Act::Read, Act::Update, Act::Destroy] {
            assert_eq!(notes.reach(&Who::default(), act), Reach::Nothing);
        }
        assert_eq!(notes.reach(&who(7, &[]), Act::Read), own(7));
        assert!(notes.hides_records());
    }

    #[test]
    fn any_grant_of_a_rule_will_do() {
        let notes = access(json!({ "owner": "userId", "read": ["owner", { "role": "editor" }] }));
        assert_eq!(notes.reach(&who(7, &["editor"]), Act::Read), Reach::Whole);
        assert_eq!(notes.reach(&who(7, &["reader"]), Act::Read), own(7));
        assert_eq!(notes.reach(&Who::default(), Act::Read), Reach::Nothing);
    }

    #[test]
    fn nobody_writes_what_they_may_not_read() {
        let notes = access(json!({ "owner": "userId", "read": "owner", "update": "everyone" }));
        assert_eq!(notes.reach(&who(7, &[]), Act::Update), own(7));
        assert_eq!(notes.reach(&Who::default(), Act::Update), Reach::Nothing);
    }

    #[test]
    fn an_act_without_a_grant_is_for_nobody() {
        let notes = access(json!({ "read": "signedIn", "create": "nobody", "update": [] }));
        let is_for_anybody =
            |act| notes.is_for_anybody(act) && access(json!({})).is_for_anybody(act);
        assert!(is_for_anybody(Act::Read) && is_for_anybody(Act::Destroy));
        assert!(!is_for_anybody(Act::Create) && !is_for_anybody(Act::Update));
        let unread = access(json!({ "read": "nobody", "destroy": "everyone" }));
        assert!(!unread.is_for_anybody(Act::Destroy));
    }

    #[test]
    fn a_policy_narrows_what_rules_leave() {
        let red = || Reach::those(json!({ "team": "red" })).unwrap();
        let policy =
            Policy::new(move |who, _| if who.has_role("admin") { Reach::Whole } else { red() });
        let todos = Access {
            policy: Some(policy),
            read: Some(Rule(vec![Grant::SignedIn])),
            ..Access::default()
        };
        assert_eq!(todos.reach(&who(7, &["admin"]), Act::Read), Reach::Whole);
        assert_eq!(todos.reach(&who(7, &[]), Act::Read), red());
        assert_eq!(todos.reach(&Who::default(), Act::Read), Reach::Nothing);
    }

    #[test]
    fn a_room_is_within_reach_if_its_filter_demands_as_much() {
        let room = |name: &str| Room::parse(name).unwrap();
        let scoped = |filter: Filter| {
            let scope = crate::criteria::Scope::Whole(filter);
            Room::scoped(room("note").resource, &scope).unwrap()
        };
        let Reach::Part(sevens) = own(7) else { unreachable!() };
        let undone = Filter::read(json!({ "done": false })).unwrap();
        assert!(own(7).covers(&scoped(sevens.clone())));
        assert!(own(7).covers(&scoped(undone.clone().and(sevens.clone()))));
        assert!(!own(7).covers(&scoped(undone.clone())));
        assert!(!own(7).covers(&scoped(Filter::Any(vec![sevens, undone]))));
        assert!(!own(7).covers(&room("note")));
        assert!(!own(7).covers(&room("note/1")));
        assert!(Reach::Whole.covers(&room("note")));
        assert!(!Reach::Nothing.covers(&room("note")));
    }

    #[test]
    fn rules_are_read_from_one_grant_or_several() {
        let rules = access(json!({ "read": "signedIn", "update": ["everyone", { "role": "a" }] }));
        assert_eq!(rules.read, Some(Rule(vec![Grant::SignedIn])));
        assert_eq!(rules.update, Some(Rule(vec![Grant::Everyone, Grant::Role("a".to_owned())])));
        assert!(serde_json::from_value::<Access>(json!({ "read": "all" })).is_err());
        assert!(access(json!({ "read": "owner" })).lacks_owner());
    }
}
