//! Parameters that are not criteria of Sails: conventions of other APIs, and mistakes.
//!
//! If a model declares attributes, the server refuses a parameter that is neither one of them nor
//! known. If it declares none, any name may be an attribute, except the names that other APIs use
//! for something else: the server translates some of them and ignores the others.

use serde_json::Value;

use super::Model;
use crate::criteria::{Criteria, CriteriaError, Direction, Language, Parameters, Problem};
use crate::nearest::nearest;

/// The default of `per_page`.
const PER_PAGE: usize = 30;

/// The parameters of a read besides attributes.
const CRITERIA: [&str; 7] = ["where", "sort", "skip", "limit", "select", "omit", "populate"];

/// Words that are allowed in place of an attribute.
const CONNECTIVES: [&str; 3] = ["and", "or", "not"];

/// Parameters that only Sails 0.9 has.
const OF_SAILS09: [&str; 3] = ["offset", "order", "like"];

/// Parameters that the server translates if no attributes are declared.
const TRANSLATED: [&str; 4] = ["page", "per_page", "offset", "order"];

/// Parameters that the server ignores if no attributes are declared.
const IGNORED: [&str; 12] = [
    "q",
    "search",
    "fields",
    "include",
    "expand",
    "_embed",
    "_fields",
    "force",
    "context",
    "access_token",
    "_method",
    "_",
];

impl Model {
    /// Whether no attributes are declared, so that any name may be one.
    fn is_schemaless(&self) -> bool {
        self.attributes.is_empty()
    }

    /// Returns the parameters of a read that the server ignores.
    pub fn ignored<'a>(&self, parameters: &'a Parameters) -> Vec<&'a str> {
        let names = parameters.names().filter(|name| IGNORED.contains(name));
        names.filter(|_| self.is_schemaless()).collect()
    }

    /// Refuses criteria and values in the query of a write: the url names its record, the body has
    /// its values. Other parameters mean nothing there.
    pub fn refuse_criteria(&self, parameters: &Parameters) -> Result<(), CriteriaError> {
        let owner = self.access.owner.as_deref();
        let is_attribute = |name: &str| {
            self.attributes.contains_key(name) || self.key == name || owner == Some(name)
        };
        let refused =
            |name: &&str| CRITERIA.contains(name) || !self.is_schemaless() && is_attribute(name);
        match parameters.names().find(refused) {
            Some(name) if CRITERIA.contains(&name) => {
                Err(CriteriaError::new(name, Problem::Misplaced("a write has no criteria")))
            }
            Some(name) => {
                let reason = "values of a write, and its id, go into the body";
                Err(CriteriaError::new(name, Problem::Misplaced(reason)))
            }
            None => Ok(()),
        }
    }

    /// Refuses unknown names; or, if no attributes are declared, translates or removes the
    /// parameters of other APIs. Returns the direction in `order=desc`, which is for the whole
    /// sort.
    pub(super) fn normalize(
        &self,
        parameters: &mut Parameters,
        language: Language,
    ) -> Result<Option<Direction>, CriteriaError> {
        if !self.is_schemaless() {
            return self.refuse_unknown(parameters, language).map(|()| None);
        }
        IGNORED.iter().for_each(|name| drop(parameters.take(name)));
        translate_pages(parameters)?;
        parameters.rename("offset", "skip")?;
        let direction = parameters.peek("order").and_then(direction);
        match direction {
            Some(_) => drop(parameters.take("order")),
            None => parameters.rename("order", "sort")?,
        }
        Ok(direction)
    }

    /// Removes the parameters of other APIs from a read of one record, where they mean nothing.
    pub(super) fn normalize_one(&self, parameters: &mut Parameters) {
        if self.is_schemaless() {
            let names = TRANSLATED.iter().chain(&IGNORED);
            names.for_each(|name| drop(parameters.take(name)));
        }
    }

    fn refuse_unknown(
        &self,
        parameters: &Parameters,
        language: Language,
    ) -> Result<(), CriteriaError> {
        let old = OF_SAILS09.iter().filter(|_| language == Language::Sails09);
        let parameter_names = CRITERIA.iter().chain(old).copied();
        let owner = self.access.owner.as_deref();
        let known: Vec<_> = self.names().chain(owner).chain(parameter_names).collect();
        let is_known = |name: &str| known.contains(&name) || CONNECTIVES.contains(&name);
        match parameters.names().find(|name| !is_known(name)) {
            Some(name) => {
                let nearest = nearest(name, known).map(str::to_owned);
                Err(CriteriaError::new(name, Problem::Unknown(nearest)))
            }
            None => Ok(()),
        }
    }
}

impl Criteria {
    /// Sets the direction of the whole sort.
    pub(super) fn set_direction(&mut self, direction: Direction) {
        if self.sort.is_by_id() && direction == Direction::Descending {
            self.sort.0.push((self.key.to_string(), direction));
        }
        self.sort.0.iter_mut().for_each(|(_, own)| *own = direction);
    }
}

/// Translates `page` and `per_page` to `skip` and `limit`.
fn translate_pages(parameters: &mut Parameters) -> Result<(), CriteriaError> {
    let Some(page) = parameters.take("page") else {
        return parameters.rename("per_page", "limit");
    };
    let page = count("page", &page)?;
    parameters.rename("per_page", "limit")?;
    let size = parameters.peek("limit").map_or(Ok(PER_PAGE), |limit| count("limit", limit))?;
    parameters.add("skip", (page - 1).saturating_mul(size))?;
    parameters.take("limit");
    parameters.add("limit", size)
}

fn count(name: &str, value: &Value) -> Result<usize, CriteriaError> {
    let count = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    count.ok_or_else(|| CriteriaError::new(name, Problem::Expected("a whole number, 1 or more")))
}

fn direction(value: &Value) -> Option<Direction> {
    match &*value.as_str()?.to_ascii_lowercase() {
        "asc" => Some(Direction::Ascending),
        "desc" => Some(Direction::Descending),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::Window;
    use crate::model::Attribute;

    fn read(model: &Model, query: &[(&str, &str)]) -> Result<Criteria, String> {
        let query = query.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let parameters = Parameters::read(query, Default::default()).unwrap();
        let criteria = Criteria::read_for(model, parameters, Language::Current);
        criteria.map_err(|bad| format!("{} {}", bad.at, bad.problem))
    }

    fn window(query: &[(&str, &str)]) -> Result<(usize, Option<usize>), String> {
        read(&Model::default(), query).map(|Criteria { window, .. }| {
            let Window { skip, limit } = window;
            (skip, limit)
        })
    }

    #[test]
    fn pages_are_a_window_if_no_attributes_are_declared() {
        assert_eq!(window(&[("page", "1")]), Ok((0, Some(30))));
        assert_eq!(window(&[("page", "3"), ("per_page", "10")]), Ok((20, Some(10))));
        assert_eq!(window(&[("page", "3"), ("limit", "10")]), Ok((20, Some(10))));
        assert_eq!(window(&[("per_page", "10")]), Ok((0, Some(10))));
        assert_eq!(window(&[("offset", "5")]), Ok((5, None)));
        let twice = [("page", "2"), ("offset", "5")];
        assert!(window(&twice).unwrap_err().starts_with("offset this is set by two parameters"));
        for bad in [("page", "0"), ("page", "x"), ("per_page", "-1"), ("page", "1.5")] {
            assert!(window(&[bad]).unwrap_err().contains("a whole number"), "{bad:?}");
        }
    }

    #[test]
    fn order_is_a_direction_or_a_sort() {
        let sort = |query: &[(&str, &str)]| {
            let criteria = read(&Model::default(), query)?;
            let terms = criteria.sort.0.iter().map(|(name, direction)| match direction {
                Direction::Ascending => name.clone(),
                Direction::Descending => format!("-{name}"),
            });
            Ok::<_, String>(terms.collect::<Vec<_>>().join(","))
        };
        assert_eq!(sort(&[("order", "age DESC")]), Ok("-age".to_owned()));
        assert_eq!(sort(&[("sort", "age,name"), ("order", "DESC")]), Ok("-age,-name".to_owned()));
        assert_eq!(sort(&[("sort", "age DESC"), ("order", "asc")]), Ok("age".to_owned()));
        assert_eq!(sort(&[("order", "desc")]), Ok("-id".to_owned()));
        assert_eq!(sort(&[("order", "asc")]), Ok(String::new()));
        assert!(sort(&[("sort", "age"), ("order", "name")]).is_err());
    }

    #[test]
    fn parameters_of_other_apis_filter_only_in_where() {
        let open = Model::default();
        for name in IGNORED {
            let criteria = read(&open, &[(name, "x")]).unwrap();
            assert_eq!(criteria.filter, Criteria::default().filter, "{name}");
        }
        let by_page = read(&open, &[("where", r#"{"page":2}"#)]).unwrap();
        assert_eq!(by_page.names(), ["page"].into());
        assert_eq!(read(&open, &[("colour", "red")]).unwrap().names(), ["colour"].into());
    }

    #[test]
    fn unknown_parameter_is_refused_if_attributes_are_declared() {
        let todo = Model::default().attribute("title", Attribute::default());
        let refused = |query: &[(&str, &str)]| read(&todo, query).unwrap_err();
        for (name, hint) in [("titel", "title"), ("limt", "limit"), ("createdat", "createdAt")] {
            let refused = refused(&[(name, "1")]);
            assert!(refused.starts_with(name), "{refused}");
            assert!(refused.ends_with(&format!("; did you mean {hint}?")), "{refused}");
        }
        for name in TRANSLATED.iter().chain(&IGNORED).filter(|name| **name != "_") {
            assert!(refused(&[(name, "1")]).starts_with(name), "{name}");
        }
        assert!(refused(&[("where", "{}"), ("titel", "x")]).starts_with("titel"));
        for known in [("title", "x"), ("id", "1"), ("limit", "1"), ("_", "17"), ("_csrf", "x")] {
            assert!(read(&todo, &[known]).is_ok(), "{known:?}");
        }
    }
}
