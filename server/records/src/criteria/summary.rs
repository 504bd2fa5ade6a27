//! The value of the reply header `backwire-query`, which tells the client how the server parsed the
//! query. See `docs/reference/wire-protocol.md`.

use std::fmt;
use std::sync::Arc;

use backwire_protocol::wire::query;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Criteria, Projection, Scope, Window};

/// Characters that separate names in the header are encoded.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

/// The kind of a read, and the properties that a client needs to keep its answer up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuerySummary {
    kind: &'static str,
    key: Arc<str>,
    sort: Vec<String>,
    window: Window,
    flags: Vec<&'static str>,
}

impl QuerySummary {
    /// Returns the summary of a read by these criteria, which follows this scope.
    pub fn of(criteria: &Criteria, scope: &Scope) -> Self {
        let kind = match scope {
            _ if scope.is_part() => query::PART,
            _ if scope.id().is_some() => query::ONE,
            _ if scope.is_everything() => query::WHOLE,
            _ => query::FILTER,
        };
        let projection = match criteria.projection {
            Projection::Whole => None,
            Projection::Select(_) => Some(query::SELECT),
            Projection::Omit(_) => Some(query::OMIT),
        };
        let populated = (!criteria.populate.is_empty()).then_some(query::POPULATE);
        Self {
            kind,
            key: Arc::clone(&criteria.key),
            sort: criteria.sort.0.iter().map(|(name, _)| name.clone()).collect(),
            window: criteria.window,
            flags: projection.into_iter().chain(populated).collect(),
        }
    }

    /// Returns the summary of a read of one whole record.
    pub fn of_one(key: &str) -> Self {
        let (sort, flags) = (Vec::new(), Vec::new());
        Self { kind: query::ONE, key: key.into(), sort, window: Window::default(), flags }
    }

    /// Marks the resource as undeclared.
    pub fn of_undeclared(mut self) -> Self {
        self.flags.push(query::UNDECLARED);
        self
    }
}

impl fmt::Display for QuerySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if &*self.key != "id" {
            write!(f, ";{}={}", query::KEY, utf8_percent_encode(&self.key, NAME))?;
        }
        if !self.sort.is_empty() {
            let names = self.sort.iter().map(|name| utf8_percent_encode(name, NAME).to_string());
            write!(f, ";{}={}", query::SORT, names.collect::<Vec<_>>().join(","))?;
        }
        if self.window.skip > 0 {
            write!(f, ";{}={}", query::SKIP, self.window.skip)?;
        }
        if let Some(limit) = self.window.limit {
            write!(f, ";{}={limit}", query::LIMIT)?;
        }
        self.flags.iter().try_for_each(|flag| write!(f, ";{flag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::{Language, Parameters};

    fn summary(query: &[(&str, &str)]) -> String {
        let query = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let parameters = Parameters::read(query, Default::default()).unwrap();
        let criteria = Criteria::read(parameters, Language::Current).unwrap();
        QuerySummary::of(&criteria, &Scope::of(&criteria)).to_string()
    }

    #[test]
    fn summary_names_the_kind_and_the_parameters() {
        for (query, expected) in [
            (&[][..], "whole"),
            (&[("sort", "age DESC,näme;x")], "whole;sort=age,n%C3%A4me%3Bx"),
            (&[("done", "true")], "filter"),
            (&[("limit", "3"), ("skip", "2")], "part;skip=2;limit=3"),
            (&[("limit", "0")], "part;limit=0"),
            (&[("select", "a")], "part;select"),
            (&[("omit", "a"), ("sort", "b")], "part;sort=b;omit"),
        ] {
            assert_eq!(summary(query), expected);
        }
    }

    #[test]
    fn summary_names_a_key_that_is_not_id() {
        assert_eq!(QuerySummary::of_one("id").to_string(), "one");
        assert_eq!(
            QuerySummary::of_one("_id").of_undeclared().to_string(),
            "one;key=_id;undeclared"
        );
    }
}
