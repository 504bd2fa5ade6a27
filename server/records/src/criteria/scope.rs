//! Scopes: the records that a client follows after it has read by criteria.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Criteria, Filter, Projection, Sort, Window};
use crate::change::{Id, Position};
use crate::json_size::parse_small;

/// The records that are followed, as the name of a room contains them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// A scope that was read by a caller who may see only a part of the resource. It has records of
    /// that part. When the access of the caller changes, also to more records, it is another scope.
    Narrowed {
        /// Identifies the records that the caller may see: [`Filter::mark`].
        access: u64,
        /// The scope.
        of: Box<Scope>,
    },
    /// A part of the list, or of each record. A record alone does not show whether it belongs to
    /// the part, so the client reads the part again when a record changes that fulfils the filter.
    /// The names are those of the associations that are filled in: equal parts have equal answers,
    /// in the same order.
    Part(Filter, Window, Sort, Projection, BTreeSet<String>),
    /// The members of a collection that are in another scope, as long as the collection has the
    /// same members.
    Members(Collection, Box<Scope>),
    /// One record, as long as it fulfils a filter.
    One(Id, Filter),
    /// All records that fulfil a filter.
    Whole(Filter),
}

/// A collection of a many-to-many association, as it was at a position. No attribute of its members
/// shows when one of them leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// The collection.
    pub of: CollectionKey,
    /// The head of the log of the pairs before they were read: epoch and offset.
    pub at: (u64, u64),
}

/// The collection in an attribute of one record: the teams of user 7. Written as an array.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(String, Id, String)", into = "(String, Id, String)")]
pub struct CollectionKey {
    /// The resource of the record.
    pub resource: String,
    /// The id of the record.
    pub id: Id,
    /// The attribute.
    pub attribute: String,
}

impl From<(String, Id, String)> for CollectionKey {
    fn from((resource, id, attribute): (String, Id, String)) -> Self {
        Self { resource, id, attribute }
    }
}

impl From<CollectionKey> for (String, Id, String) {
    fn from(CollectionKey { resource, id, attribute }: CollectionKey) -> Self {
        (resource, id, attribute)
    }
}

impl Collection {
    /// Returns the head of the log of the pairs.
    pub fn position(&self) -> Position {
        let (epoch, offset) = self.at;
        Position { epoch, offset }
    }
}

impl Scope {
    /// Returns the scope of a read by these criteria. The order of a whole list is not part of it,
    /// because the client sorts.
    pub fn of(criteria: &Criteria) -> Self {
        match (criteria.window, &criteria.projection) {
            (Window { skip: 0, limit: None }, Projection::Whole)
                if criteria.populate.is_empty() =>
            {
                Self::Whole(criteria.within.clone().and(criteria.filter.clone()))
            }
            _ => Self::part_of(criteria),
        }
    }

    /// Returns the scope of a read by these criteria that is a part for a reason that is not in
    /// them.
    pub fn part_of(criteria: &Criteria) -> Self {
        let Criteria { filter, within, window, sort, projection, populate, .. } = criteria.clone();
        Self::Part(within.and(filter), window, sort, projection, populate)
    }

    /// Returns the scope as read by a caller who may see only the records that fulfil a filter.
    #[must_use]
    pub fn narrowed(self, within: &Filter) -> Self {
        if *within == Filter::default() {
            return self;
        }
        Self::Narrowed { access: within.mark(), of: Box::new(self) }
    }

    /// Returns what identifies the records that the caller could see who has read the scope. `None`
    /// if they could see all.
    pub fn access(&self) -> Option<u64> {
        match self {
            Self::Narrowed { access, .. } => Some(*access),
            Self::Part(..) | Self::Members(..) | Self::One(..) | Self::Whole(_) => None,
        }
    }

    /// Whether the scope is the whole resource.
    pub fn is_everything(&self) -> bool {
        *self == Self::Whole(Filter::default())
    }

    /// Returns the filter that the records fulfil.
    pub fn filter(&self) -> &Filter {
        match self {
            Self::Part(filter, ..) | Self::One(_, filter) | Self::Whole(filter) => filter,
            Self::Members(_, scope) | Self::Narrowed { of: scope, .. } => scope.filter(),
        }
    }

    /// Whether a record alone does not show whether it is in the scope.
    pub fn is_part(&self) -> bool {
        match self {
            Self::Part(..) => true,
            Self::Members(_, scope) | Self::Narrowed { of: scope, .. } => scope.is_part(),
            Self::One(..) | Self::Whole(_) => false,
        }
    }

    /// Returns the collection, if the scope is the members of one.
    pub fn collection(&self) -> Option<&Collection> {
        match self {
            Self::Members(collection, _) => Some(collection),
            Self::Narrowed { of, .. } => of.collection(),
            Self::Part(..) | Self::One(..) | Self::Whole(_) => None,
        }
    }

    /// Returns the id of the record, if the scope is one record.
    pub fn id(&self) -> Option<&Id> {
        match self {
            Self::One(id, _) => Some(id),
            Self::Narrowed { of, .. } => of.id(),
            Self::Part(..) | Self::Members(..) | Self::Whole(_) => None,
        }
    }

    /// Returns the scope as text without a slash. Equal scopes have equal texts.
    pub fn encode(&self) -> String {
        let text = serde_json::to_string(self).expect("it is made of strings and finite numbers");
        // A slash can only be in a string.
        text.replace('/', "\\u002f")
    }

    /// Parses the text that [`encode`](Self::encode) returns.
    pub fn decode(text: &str) -> Option<Self> {
        parse_small(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::{Language, Parameters};

    fn scope(query: &[(&str, &str)]) -> Scope {
        let query = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let parameters = Parameters::read(query, Default::default()).unwrap();
        Scope::of(&Criteria::read(parameters, Language::Current).unwrap())
    }

    #[test]
    fn encoded_scope_is_decoded_to_the_same_scope() {
        for query in [
            &[(
                "where",
                r#"{"or":[{"a":{"like":"%/x"}},{"b":[1,null,true]}],"not":{"c":{">":2}}}"#,
            )][..],
            &[("path", "a/b"), ("limit", "3"), ("skip", "1"), ("sort", "a DESC")],
            &[("select", "a,b"), ("n", "4")],
            &[("where", r#"{"n":[4,-1.5,"4",false,null]}"#)],
            &[],
        ] {
            let scope = scope(query);
            let text = scope.encode();
            assert!(!text.contains('/'), "{text}");
            assert_eq!(Scope::decode(&text), Some(scope));
        }
        for none in ["", "{", "7", "[]", r#"{"None":[]}"#] {
            assert_eq!(Scope::decode(none), None, "{none}");
        }
    }

    #[test]
    fn narrowed_scope_is_another_one_for_another_access() {
        let filter = |query: &[(&str, &str)]| scope(query).filter().clone();
        let (mine, theirs) = (filter(&[("owner", "7")]), filter(&[("owner", "8")]));
        for query in [&[("owner", "7")][..], &[("owner", "7"), ("limit", "3")]] {
            let whole = scope(query);
            let narrowed = whole.clone().narrowed(&mine);
            assert_eq!(Scope::decode(&narrowed.encode()), Some(narrowed.clone()));
            assert_ne!(narrowed, whole.clone().narrowed(&theirs));
            assert_eq!((narrowed.access(), whole.access()), (Some(mine.mark()), None));
            assert_eq!(narrowed.filter(), whole.filter());
            assert_eq!((narrowed.is_part(), narrowed.id()), (whole.is_part(), None));
            assert_eq!(whole.clone().narrowed(&Filter::default()), whole);
        }
    }

    #[test]
    fn scope_of_one_record_is_decoded_to_the_same_scope() {
        for id in ["7", "a/b"] {
            let filter = scope(&[("done", "true")]).filter().clone();
            let one = Scope::One(Id::parse(id).unwrap(), filter);
            assert_eq!(Scope::decode(&one.encode()), Some(one));
        }
    }

    #[test]
    fn scopes_of_members_are_decoded_to_the_same_scopes() {
        let of = CollectionKey {
            resource: "user".to_owned(),
            id: Id::parse("a/b").unwrap(),
            attribute: "teams".to_owned(),
        };
        for (query, is_part) in [(&[("name", "Blue")][..], false), (&[("limit", "3")], true)] {
            let collection = Collection { of: of.clone(), at: (5, 7) };
            let members = Scope::Members(collection.clone(), Box::new(scope(query)));
            let start = r#"[{"of":["user","a\u002fb","teams"],"at":[5,7]},"#;
            assert!(members.encode().starts_with(start), "{}", members.encode());
            assert_eq!(Scope::decode(&members.encode()), Some(members.clone()));
            assert_eq!((members.collection(), members.is_part()), (Some(&collection), is_part));
            assert_eq!(members.filter(), scope(query).filter());
        }
        assert_eq!(scope(&[]).collection(), None);
    }

    #[test]
    fn order_matters_only_to_a_part() {
        assert_eq!(scope(&[("sort", "a")]), scope(&[]));
        assert!(scope(&[("sort", "a")]).is_everything());
        assert_ne!(scope(&[("sort", "a"), ("limit", "3")]), scope(&[("limit", "3")]));
    }

    #[test]
    fn list_with_associations_is_a_part() {
        let with = |names: &[&str]| {
            let populate = names.iter().map(|name| (*name).to_owned()).collect();
            Scope::of(&Criteria { populate, ..Criteria::default() })
        };
        assert!(with(&[]).is_everything());
        assert!(with(&["pets"]).is_part());
        assert_ne!(with(&["pets"]), with(&["owner"]));
        assert_eq!(Scope::decode(&with(&["a/b"]).encode()), Some(with(&["a/b"])));
    }
}
