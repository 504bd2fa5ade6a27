//! What somebody who has read by criteria goes on following.

use serde::{Deserialize, Serialize};

use super::{Criteria, Filter, Projection, Sort, Window};
use crate::change::Id;

/// What is followed, as it stands in the name of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// A part of the list, or of each record: what is in it can not be told of a record alone. Whenever a
    /// record changes that fulfils the filter, it is read again.
    Part(Filter, Window, Sort, Projection),
    /// One record, as long as it fulfils a filter.
    One(Id, Filter),
    /// All records that fulfil a filter.
    Whole(Filter),
}

impl Scope {
    /// What a read by these criteria follows. The order of a whole list is its reader's affair.
    pub fn of(criteria: &Criteria) -> Self {
        let Criteria { filter, within, window, sort, projection, .. } = criteria.clone();
        let filter = within.and(filter);
        match (window, &projection) {
            (Window { skip: 0, limit: None }, Projection::Whole) => Self::Whole(filter),
            _ => Self::Part(filter, window, sort, projection),
        }
    }

    /// Is it the resource, whole?
    pub fn is_everything(&self) -> bool {
        *self == Self::Whole(Filter::default())
    }

    /// Which records matter.
    pub fn filter(&self) -> &Filter {
        match self {
            Self::Part(filter, ..) | Self::One(_, filter) | Self::Whole(filter) => filter,
        }
    }

    /// The one record that matters, if there is only one.
    pub fn id(&self) -> Option<&Id> {
        match self {
            Self::One(id, _) => Some(id),
            Self::Part(..) | Self::Whole(_) => None,
        }
    }

    /// As text, the same for the same scope, and without a slash.
    pub fn encode(&self) -> String {
        let text = serde_json::to_string(self).expect("it is made of strings and finite numbers");
        // One can only stand in a string.
        text.replace('/', "\\u002f")
    }

    /// How the scopes of one record begin, and no others.
    pub(crate) fn start_of_one(id: &Id) -> String {
        let id = serde_json::to_string(id).expect("it is a number or a string");
        format!("[{},", id.replace('/', "\\u002f"))
    }

    /// Reads what [`encode`](Self::encode) has written.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
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
    fn a_scope_reads_back_as_it_was_written() {
        for query in [
            &[(
                "where",
                r#"{"or":[{"a":{"like":"%/x"}},{"b":[1,null,true]}],"not":{"c":{">":2}}}"#,
            )][..],
            &[("path", "a/b"), ("limit", "3"), ("skip", "1"), ("sort", "a DESC")],
            &[("select", "a,b")],
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
    fn the_scope_of_one_record_begins_with_its_id() {
        for (id, start) in [("7", "[7,"), ("a/b", r#"["a\u002fb","#)] {
            let filter = scope(&[("done", "true")]).filter().clone();
            let one = Scope::One(Id::parse(id).unwrap(), filter);
            assert_eq!(Scope::start_of_one(one.id().unwrap()), start);
            assert!(one.encode().starts_with(start), "{}", one.encode());
            assert_eq!(Scope::decode(&one.encode()), Some(one));
        }
    }

    #[test]
    fn the_order_matters_only_to_a_part() {
        assert_eq!(scope(&[("sort", "a")]), scope(&[]));
        assert!(scope(&[("sort", "a")]).is_everything());
        assert_ne!(scope(&[("sort", "a"), ("limit", "3")]), scope(&[("limit", "3")]));
    }
}
