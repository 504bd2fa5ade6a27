//! What somebody who has read by criteria goes on following.

use serde::{Deserialize, Serialize};

use super::{Criteria, Filter, Projection, Sort, Window};

/// What is followed, as it stands in the name of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// A part of the list, or of each record: what is in it can not be told of a record alone. Whenever a
    /// record changes that fulfils the filter, it is read again.
    Part(Filter, Window, Sort, Projection),
    /// All records that fulfil a filter.
    Whole(Filter),
}

impl Scope {
    /// What a read by these criteria follows. The order of a whole list is its reader's affair.
    pub fn of(criteria: &Criteria) -> Self {
        let Criteria { filter, window, sort, projection, .. } = criteria.clone();
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
            Self::Part(filter, ..) | Self::Whole(filter) => filter,
        }
    }

    /// As text, the same for the same scope, and without a slash.
    pub fn encode(&self) -> String {
        let text = serde_json::to_string(self).expect("it is made of strings and finite numbers");
        // One can only stand in a string.
        text.replace('/', "\\u002f")
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
    fn the_order_matters_only_to_a_part() {
        assert_eq!(scope(&[("sort", "a")]), scope(&[]));
        assert!(scope(&[("sort", "a")]).is_everything());
        assert_ne!(scope(&[("sort", "a"), ("limit", "3")]), scope(&[("limit", "3")]));
    }
}
