//! Parameters of a read that are no criteria of Sails: what other APIs say, and mistakes.
//!
//! Where attributes are declared, a name that is neither one of them nor a parameter is a mistake. Where they
//! are not, any name may be an attribute, but for those that APIs use for something else: some of them
//! are understood, the others are ignored.

use serde_json::Value;

use super::Model;
use crate::criteria::{Bad, Criteria, Direction, Language, Parameters, Problem};
use crate::nearest::nearest;

/// How many records a page has that does not say.
const PER_PAGE: usize = 30;

/// What a read may say besides attributes.
const CRITERIA: [&str; 7] = ["where", "sort", "skip", "limit", "select", "omit", "populate"];

/// What criteria may begin with in place of an attribute.
const CONNECTIVES: [&str; 3] = ["and", "or", "not"];

/// What Sails 0.9 says besides.
const OF_SAILS09: [&str; 3] = ["offset", "order", "like"];

/// Never an attribute where attributes are not declared, and understood.
const UNDERSTOOD: [&str; 4] = ["page", "per_page", "offset", "order"];

/// Never an attribute where attributes are not declared, and ignored.
const IGNORED: [&str; 13] = [
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
    "_csrf",
    "_method",
    "_",
];

impl Model {
    /// Whether any name may be that of an attribute.
    fn is_schemaless(&self) -> bool {
        self.attributes.is_empty()
    }

    /// The parameters of a read that are going to be ignored.
    pub(crate) fn ignored<'a>(&self, parameters: &'a Parameters) -> Vec<&'a str> {
        let names = parameters.names().filter(|name| IGNORED.contains(name));
        names.filter(|_| self.is_schemaless()).collect()
    }

    /// Refuses criteria beside a write: it is about one record. Other parameters mean nothing there.
    pub(crate) fn refuse_criteria(&self, parameters: &Parameters) -> Result<(), Bad> {
        let is_attribute = |name: &str| self.attributes.contains_key(name) || self.key == name;
        let refused =
            |name: &&str| CRITERIA.contains(name) || !self.is_schemaless() && is_attribute(name);
        match parameters.names().find(refused) {
            Some(name) if CRITERIA.contains(&name) => {
                Err(Bad::new(name, Problem::Misplaced("a write has no criteria")))
            }
            Some(name) => {
                let reason = "values of a write, and its id, go into the body";
                Err(Bad::new(name, Problem::Misplaced(reason)))
            }
            None => Ok(()),
        }
    }

    /// Refuses names that mean nothing, or takes out what is no attribute; what that says of the order
    /// is given back.
    pub(super) fn settle(
        &self,
        parameters: &mut Parameters,
        language: Language,
    ) -> Result<Option<Direction>, Bad> {
        if !self.is_schemaless() {
            return self.refuse_unknown(parameters, language).map(|()| None);
        }
        IGNORED.iter().for_each(|name| drop(parameters.take(name)));
        paged(parameters)?;
        parameters.rename("offset", "skip")?;
        let direction = parameters.peek("order").and_then(direction);
        match direction {
            Some(_) => drop(parameters.take("order")),
            None => parameters.rename("order", "sort")?,
        }
        Ok(direction)
    }

    /// Takes out what can be said of a record that is named, and means nothing there.
    pub(super) fn settle_one(&self, parameters: &mut Parameters) {
        if self.is_schemaless() {
            let names = UNDERSTOOD.iter().chain(&IGNORED);
            names.for_each(|name| drop(parameters.take(name)));
        }
    }

    fn refuse_unknown(&self, parameters: &Parameters, language: Language) -> Result<(), Bad> {
        let old = OF_SAILS09.iter().filter(|_| language == Language::Sails09);
        let parameter_names = CRITERIA.iter().chain(old).copied();
        let owner = self.access.owner.as_deref();
        let known: Vec<_> = self.names().chain(owner).chain(parameter_names).collect();
        let is_known = |name: &str| known.contains(&name) || CONNECTIVES.contains(&name);
        match parameters.names().find(|name| !is_known(name)) {
            Some(name) => {
                let nearest = nearest(name, known).map(str::to_owned);
                Err(Bad::new(name, Problem::Unknown(nearest)))
            }
            None => Ok(()),
        }
    }
}

impl Criteria {
    /// The same records the other way round, or the way that is said.
    pub(super) fn ordered(&mut self, direction: Direction) {
        if self.sort.is_by_id() && direction == Direction::Descending {
            self.sort.0.push((self.key.to_string(), direction));
        }
        self.sort.0.iter_mut().for_each(|(_, own)| *own = direction);
    }
}

/// `page` and `per_page` as what they mean: `skip` and `limit`.
fn paged(parameters: &mut Parameters) -> Result<(), Bad> {
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

fn count(name: &str, value: &Value) -> Result<usize, Bad> {
    let count = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    count.ok_or_else(|| Bad::new(name, Problem::Expected("a whole number, 1 or more")))
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
    fn pages_are_understood_where_attributes_are_not_declared() {
        assert_eq!(window(&[("page", "1")]), Ok((0, Some(30))));
        assert_eq!(window(&[("page", "3"), ("per_page", "10")]), Ok((20, Some(10))));
        assert_eq!(window(&[("page", "3"), ("limit", "10")]), Ok((20, Some(10))));
        assert_eq!(window(&[("per_page", "10")]), Ok((0, Some(10))));
        assert_eq!(window(&[("offset", "5")]), Ok((5, None)));
        let twice = [("page", "2"), ("offset", "5")];
        assert!(window(&twice).unwrap_err().starts_with("offset this is said by two parameters"));
        for bad in [("page", "0"), ("page", "x"), ("per_page", "-1"), ("page", "1.5")] {
            assert!(window(&[bad]).unwrap_err().contains("a whole number"), "{bad:?}");
        }
    }

    #[test]
    fn an_order_is_a_direction_or_a_sort() {
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
    fn names_of_other_apis_are_no_attributes_unless_where_says_so() {
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
    fn an_unknown_name_is_refused_where_attributes_are_declared() {
        let todo = Model::default().attribute("title", Attribute::default());
        let refused = |query: &[(&str, &str)]| read(&todo, query).unwrap_err();
        for (name, hint) in [("titel", "title"), ("limt", "limit"), ("createdat", "createdAt")] {
            let refused = refused(&[(name, "1")]);
            assert!(refused.starts_with(name), "{refused}");
            assert!(refused.ends_with(&format!("; did you mean {hint}?")), "{refused}");
        }
        for name in UNDERSTOOD.iter().chain(&IGNORED).filter(|name| **name != "_") {
            assert!(refused(&[(name, "1")]).starts_with(name), "{name}");
        }
        assert!(refused(&[("where", "{}"), ("titel", "x")]).starts_with("titel"));
        for known in [("title", "x"), ("id", "1"), ("limit", "1"), ("_", "17")] {
            assert!(read(&todo, &[known]).is_ok(), "{known:?}");
        }
    }
}
