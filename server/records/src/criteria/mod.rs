//! Which records, in which order, how many and how much of each: the query language of Sails.
//!
//! All of it is pure: what was asked is read once into [`Criteria`], and those pick from any records
//! that are given to them. In reading order:
//!
//! - `language`: in which spelling; `parameters`: what a request brought; `reader`: what that says of
//!   attributes, within limits;
//! - `filter`, `condition`, `pattern`: which records; `sort`: in which order, and `best`, the first in it;
//!   `window`: how many; `projection`: how much of each;
//! - `scope`: what a read follows; `summary`: how the server reports the query to the client;
//! - `bad`: what was wrong with it; `limits`: how much there may be of it; `look`: what has attributes.
//!
//! Invariant: criteria that are not understood are refused. They never select everything.

mod bad;
mod best;
mod condition;
mod equality;
mod filter;
mod language;
mod limits;
mod look;
mod parameters;
mod pattern;
mod projection;
mod reader;
mod scope;
mod sort;
mod summary;
mod window;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Id};

pub use bad::{Bad, Problem, shown};
pub use best::Best;
pub use condition::{Comparison, Condition, Operand};
pub use equality::{keys_of_filter, keys_of_record};
pub use filter::Filter;
pub use language::{Case, Language};
pub use limits::{DEPTH, SIZE};
pub use look::Look;
pub use parameters::Parameters;
pub use pattern::Pattern;
pub use projection::Projection;
pub use scope::{Collection, Scope};
pub use sort::{Direction, Rank, Sort};
pub use summary::QuerySummary;
pub use window::Window;

use reader::Reader;

/// What is asked of a resource. The default is everything, in the order of the ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Criteria {
    /// The name of the primary key.
    pub key: Arc<str>,
    /// Which records.
    pub filter: Filter,
    /// Of which records: what is left of them to the caller. Case always matters there.
    pub within: Filter,
    /// How their strings are compared. Those of the filter are in lower case where it is ignored.
    pub case: Case,
    /// In which order.
    pub sort: Sort,
    /// How many.
    pub window: Window,
    /// How much of each.
    pub projection: Projection,
    /// How many are given at once whatever is asked for.
    pub most: Option<usize>,
    /// Associations that are filled in. They do not select records, but the answer contains them.
    pub populate: BTreeSet<String>,
}

impl Default for Criteria {
    /// Of records whose key is `id`.
    fn default() -> Self {
        Self {
            key: "id".into(),
            filter: Filter::default(),
            within: Filter::default(),
            case: Case::default(),
            sort: Sort::default(),
            window: Window::default(),
            projection: Projection::default(),
            most: None,
            populate: BTreeSet::new(),
        }
    }
}

impl Criteria {
    /// Reads what a request brought.
    ///
    /// ```
    /// use backwire_records::criteria::{Criteria, Language, Parameters};
    ///
    /// let query = vec![("where".to_owned(), r#"{"age":{">=":18}}"#.to_owned())];
    /// let parameters = Parameters::read(query, Default::default())?;
    /// let criteria = Criteria::read(parameters, Language::Current)?;
    /// let ann: serde_json::Map<_, _> = serde_json::from_str(r#"{"name":"Ann","age":30}"#).unwrap();
    /// assert!(criteria.matches(&ann));
    /// # Ok::<_, backwire_records::criteria::Bad>(())
    /// ```
    pub fn read(parameters: Parameters, language: Language) -> Result<Self, Bad> {
        Self::of_request("id", parameters, language)
    }

    /// The same, for records whose key has another name.
    pub fn of_request(
        key: &str,
        mut parameters: Parameters,
        language: Language,
    ) -> Result<Self, Bad> {
        let is_old = language == Language::Sails09;
        no_populate(parameters.take("populate"))?;
        let sort = parameters.take_either("sort", is_old.then_some("order"))?;
        let skip = parameters.take_either("skip", is_old.then_some("offset"))?;
        let limit = parameters.take("limit");
        let (select, omit) = (parameters.take("select"), parameters.take("omit"));
        Ok(Self {
            sort: sort
                .map_or_else(|| Ok(Sort::default()), |(name, sort)| Sort::read(name, sort))?,
            window: Window::read(skip, limit, language)?,
            projection: Projection::read(select, omit, key)?,
            filter: Reader::new(key, language).filter(parameters)?,
            within: Filter::default(),
            key: key.into(),
            most: None,
            populate: BTreeSet::new(),
            case: language.case(),
        })
    }

    /// Reads what came beside the id of a record: there is nothing left to say but how much of it.
    pub fn of_one(key: &str, mut parameters: Parameters) -> Result<Projection, Bad> {
        no_populate(parameters.take("populate"))?;
        let (select, omit) = (parameters.take("select"), parameters.take("omit"));
        parameters.refuse("a record that is named is not chosen by criteria")?;
        Projection::read(select, omit, key)
    }

    /// Of those that are meant, the ones that have one of these ids in an attribute.
    pub fn and_holding<'a>(
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

    /// Is this record one of those that are meant? Whether it falls into the window is another question.
    pub fn matches(&self, record: &impl Look) -> bool {
        self.within.matches(record, Case::Sensitive) && self.filter.matches(record, self.case)
    }

    /// The criteria with the server's own limit as their limit, if that limit may have shortened an
    /// answer of `count` records.
    pub fn cut_at(&self, count: usize) -> Option<Self> {
        let most = self.most.filter(|most| count >= *most)?;
        let is_cut = self.window.limit.is_none_or(|limit| limit > most);
        let window = Window { limit: Some(most), ..self.window };
        is_cut.then(|| Self { window, ..self.clone() })
    }

    /// How many, at most as many as are given at once.
    pub fn window(&self) -> Window {
        let limit = self.window.limit.into_iter().chain(self.most).min();
        Window { limit, ..self.window }
    }

    /// What comes first of all in the order, and from which end.
    pub fn first(&self) -> (&str, Direction) {
        let first = self.sort.0.first();
        first.map_or((&self.key, Direction::Ascending), |(name, direction)| (name, *direction))
    }

    /// How many of those that match, in their order, decide what is picked; `None` if all of them do.
    pub fn reach(&self) -> Option<usize> {
        let Window { limit, skip } = self.window();
        limit.map(|limit| if limit == 0 { 0 } else { limit.saturating_add(skip) })
    }

    /// Picks from records that come in the order of their ids. No more are taken than are needed.
    pub fn pick<E>(
        &self,
        records: impl Iterator<Item = Result<Arc<Attributes>, E>>,
    ) -> Result<Vec<Arc<Attributes>>, E> {
        // Looked at in the end, so that a failure among those that are passed over is one, too.
        let mut failure = None;
        let sound = records.map_while(|record| record.map_err(|error| failure = Some(error)).ok());
        let mut matching = sound.filter(|record| self.matches(record));
        let picked = self.arrange(&mut matching).into_iter();
        let picked = picked.map(|record| self.projection.of(record)).collect();
        drop(matching);
        failure.map_or(Ok(picked), Err)
    }

    /// Of those that match and come in the order of their ids, the ones that are picked, in their order.
    pub fn arrange<R: Look>(&self, matching: impl Iterator<Item = R>) -> Vec<R> {
        if self.sort.is_by_id() {
            return self.window().of(matching).collect();
        }
        let mut best = Best::new(&self.sort, self.reach(), |_| 0);
        matching.for_each(|record| best.push(record));
        self.window().of(best.finish().into_iter()).collect()
    }

    /// Whether every record is meant.
    pub fn is_everything(&self) -> bool {
        let everything = Filter::default();
        self.filter == everything && self.within == everything
    }

    /// The attributes that are looked at to choose a record.
    pub fn names(&self) -> BTreeSet<&str> {
        let sorted = self.sort.0.iter().map(|(name, _)| name.as_str());
        let within = self.within.names().into_iter();
        self.filter.names().into_iter().chain(within).chain(sorted).collect()
    }
}

/// Criteria pick records of one resource; what comes along from others is taken out before.
fn no_populate(populate: Option<Value>) -> Result<(), Bad> {
    match populate {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(Value::String(text)) if text == "false" => Ok(()),
        Some(_) => Err(Bad::new("populate", Problem::Expected("false: nothing is filled in here"))),
    }
}

#[cfg(test)]
mod tests;
