//! The query language of Sails: it selects, sorts, limits and projects records.
//!
//! All of it is pure: a request is parsed once into [`Criteria`], which then pick from any records.
//! In reading order:
//!
//! - `language`: the versions of the language; `parameters`: the parameters of a request;
//!   `filter_parser`: the filter in them, within limits;
//! - `filter`, `condition`, `pattern`: the selected records; `sort`: their order, and
//!   `top_records`, the first in it; `window`: limit and skip; `projection`: the attributes in the
//!   answer;
//! - `scope`: the records that a read follows; `summary`: the query as the server reports it to the
//!   client; `equality`: an index of filters;
//! - `error`: the errors; `limits`: the limits; `has_attributes`: access to attributes.
//!
//! Invariant: criteria that are not understood are refused. They never select everything.

mod condition;
mod equality;
mod error;
mod filter;
mod filter_parser;
mod has_attributes;
mod language;
mod limits;
mod parameters;
mod pattern;
mod projection;
mod scope;
mod sort;
mod summary;
mod top_records;
mod window;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Id};

pub use condition::{Comparison, Condition, Operand, OperandType};
pub use equality::{keys_of_filter, keys_of_record};
pub use error::{CriteriaError, Problem, escaped_name};
pub use filter::Filter;
pub use has_attributes::HasAttributes;
pub use language::{Case, Language};
pub use limits::{MAX_CRITERIA_SIZE, MAX_FILTER_DEPTH};
pub use parameters::Parameters;
pub use pattern::Pattern;
pub use projection::Projection;
pub use scope::{Collection, CollectionKey, Scope};
pub use sort::{Direction, Rank, Sort};
pub use summary::QuerySummary;
pub use top_records::TopRecords;
pub use window::Window;

use filter_parser::FilterParser;

/// A query of a resource. The default is all records, in the order of the ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Criteria {
    /// The name of the primary key.
    pub key: Arc<str>,
    /// The filter that selects records.
    pub filter: Filter,
    /// The filter of the access rules, which records have to fulfil as well. Case always matters in
    /// it.
    pub within: Filter,
    /// How strings are compared. If case is ignored, the strings in the filter are in lower case.
    pub case: Case,
    /// The order of the records.
    pub sort: Sort,
    /// Limit and skip.
    pub window: Window,
    /// The attributes in the answer.
    pub projection: Projection,
    /// The server's limit of records in one answer, whatever the request asks for.
    pub max_records: Option<usize>,
    /// The associations that are filled in. They do not select records, but are in the answer.
    pub populate: BTreeSet<String>,
}

impl Default for Criteria {
    /// Returns criteria for records whose key is `id`.
    fn default() -> Self {
        Self {
            key: "id".into(),
            filter: Filter::default(),
            within: Filter::default(),
            case: Case::default(),
            sort: Sort::default(),
            window: Window::default(),
            projection: Projection::default(),
            max_records: None,
            populate: BTreeSet::new(),
        }
    }
}

impl Criteria {
    /// Parses the parameters of a request.
    ///
    /// ```
    /// use backwire_records::criteria::{Criteria, Language, Parameters};
    ///
    /// let query = vec![("where".to_owned(), r#"{"age":{">=":18}}"#.to_owned())];
    /// let parameters = Parameters::read(query, Default::default())?;
    /// let criteria = Criteria::read(parameters, Language::Current)?;
    /// let ann = r#"{"name":"Ann","age":30}"#;
    /// let ann: serde_json::Map<_, _> = serde_json::from_str(ann).unwrap();
    /// assert!(criteria.matches(&ann));
    /// # Ok::<_, backwire_records::criteria::CriteriaError>(())
    /// ```
    pub fn read(parameters: Parameters, language: Language) -> Result<Self, CriteriaError> {
        Self::of_request("id", parameters, language)
    }

    /// Parses the parameters of a request for records whose key has this name.
    pub fn of_request(
        key: &str,
        mut parameters: Parameters,
        language: Language,
    ) -> Result<Self, CriteriaError> {
        let is_old = language == Language::Sails09;
        refuse_populate(parameters.take("populate"))?;
        let sort = parameters.take_either("sort", is_old.then_some("order"))?;
        let skip = parameters.take_either("skip", is_old.then_some("offset"))?;
        let limit = parameters.take("limit");
        let (select, omit) = (parameters.take("select"), parameters.take("omit"));
        Ok(Self {
            sort: sort
                .map_or_else(|| Ok(Sort::default()), |(name, sort)| Sort::read(name, sort))?,
            window: Window::read(skip, limit, language)?,
            projection: Projection::read(select, omit, key)?,
            filter: FilterParser::new(key, language).filter(parameters)?,
            within: Filter::default(),
            key: key.into(),
            max_records: None,
            populate: BTreeSet::new(),
            case: language.case(),
        })
    }

    /// Parses the parameters of a read of one record: only a projection is allowed.
    pub fn of_one(key: &str, mut parameters: Parameters) -> Result<Projection, CriteriaError> {
        refuse_populate(parameters.take("populate"))?;
        let (select, omit) = (parameters.take("select"), parameters.take("omit"));
        parameters.refuse("a record that is named is not chosen by criteria")?;
        Projection::read(select, omit, key)
    }

    /// Selects only records that also have one of these ids in an attribute.
    pub fn and_attribute_in<'a>(
        mut self,
        attribute: &str,
        ids: impl IntoIterator<Item = &'a Id>,
    ) -> Self {
        let ids = ids.into_iter().map(Operand::from).collect();
        let holding = Filter::Attribute(attribute.to_owned(), Condition::OneOf(ids));
        self.filter = match self.filter {
            Filter::All(mut parts) => {
                parts.insert(0, holding);
                Filter::All(parts)
            }
            other => Filter::All(vec![holding, other]),
        };
        self
    }

    /// Whether the criteria select this record. The window does not matter.
    pub fn matches(&self, record: &impl HasAttributes) -> bool {
        self.within.matches(record, Case::Sensitive) && self.filter.matches(record, self.case)
    }

    /// Returns the criteria with the server's own limit as their limit, if that limit may have
    /// truncated an answer of `count` records.
    pub fn limited_if_truncated(&self, count: usize) -> Option<Self> {
        let max = self.max_records.filter(|max| count >= *max)?;
        let is_truncated = self.window.limit.is_none_or(|limit| limit > max);
        let window = Window { limit: Some(max), ..self.window };
        is_truncated.then(|| Self { window, ..self.clone() })
    }

    /// Returns the window, limited by the server's own limit.
    pub fn window(&self) -> Window {
        let limit = self.window.limit.into_iter().chain(self.max_records).min();
        Window { limit, ..self.window }
    }

    /// Returns the first attribute of the sort, and its direction.
    pub fn first(&self) -> (&str, Direction) {
        let first = self.sort.0.first();
        first.map_or((&self.key, Direction::Ascending), |(name, direction)| (name, *direction))
    }

    /// Returns how many of the first matching records determine the result; `None` if all do.
    pub fn needed_records(&self) -> Option<usize> {
        let Window { limit, skip } = self.window();
        limit.map(|limit| if limit == 0 { 0 } else { limit.saturating_add(skip) })
    }

    /// Picks from records that are in the order of their ids. Takes no more of them than it needs.
    pub fn pick<E>(
        &self,
        records: impl Iterator<Item = Result<Arc<Attributes>, E>>,
    ) -> Result<Vec<Arc<Attributes>>, E> {
        // Returned at the end, so that a failure among skipped records counts, too.
        let mut failure = None;
        let read = records.map_while(|record| record.map_err(|error| failure = Some(error)).ok());
        let mut matching = read.filter(|record| self.matches(record));
        let picked = self.arrange(&mut matching).into_iter();
        let picked = picked.map(|record| self.projection.of(record)).collect();
        drop(matching);
        failure.map_or(Ok(picked), Err)
    }

    /// Sorts matching records, which are in the order of their ids, and returns those in the
    /// window.
    pub fn arrange<R: HasAttributes>(&self, matching: impl Iterator<Item = R>) -> Vec<R> {
        if self.sort.is_by_id() {
            return self.window().of(matching).collect();
        }
        let mut top = TopRecords::new(&self.sort, self.needed_records(), |_| 0);
        matching.for_each(|record| top.push(record));
        self.window().of(top.finish().into_iter()).collect()
    }

    /// Whether the criteria select every record.
    pub fn is_everything(&self) -> bool {
        let everything = Filter::default();
        self.filter == everything && self.within == everything
    }

    /// Returns the attributes that the filters and the sort read.
    pub fn names(&self) -> BTreeSet<&str> {
        let sorted = self.sort.0.iter().map(|(name, _)| name.as_str());
        let within = self.within.names().into_iter();
        self.filter.names().into_iter().chain(within).chain(sorted).collect()
    }
}

/// Refuses `populate`. Criteria pick records of one resource; the caller takes `populate` out
/// before.
fn refuse_populate(populate: Option<Value>) -> Result<(), CriteriaError> {
    match populate {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(Value::String(text)) if text == "false" => Ok(()),
        Some(_) => Err(CriteriaError::new(
            "populate",
            Problem::Expected("false: nothing is filled in here"),
        )),
    }
}

#[cfg(test)]
mod tests;
