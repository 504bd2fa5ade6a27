//! Which records, in which order, how many and how much of each: the query language of Sails.
//!
//! All of it is pure: what was asked is read once into [`Criteria`], and those pick from any records
//! that are given to them. In reading order:
//!
//! - `parameters`: what a request brought; `reader`: what that says of attributes, within limits;
//! - `filter`, `condition`, `pattern`: which records; `sort`: in which order; `window`: how many;
//!   `projection`: how much of each;
//! - `populate`: what comes along from other resources;
//! - `bad`: what was wrong with it.
//!
//! Invariant: criteria that are not understood are refused. They never select everything.

mod bad;
mod condition;
mod filter;
mod parameters;
mod pattern;
mod populate;
mod projection;
mod reader;
mod scope;
mod sort;
mod window;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Id};
use crate::model::Model;
use crate::nearest::nearest;

pub use bad::{Bad, Problem};
pub use condition::{Comparison, Condition, Operand};
pub use filter::Filter;
pub use parameters::Parameters;
pub use pattern::Pattern;
pub use projection::Projection;
pub use scope::Scope;
pub(crate) use sort::Rank;
pub use sort::{Direction, Sort};
pub use window::Window;

use reader::Reader;

/// How deep `and`, `or` and `not` may be nested.
pub const DEPTH: usize = 8;

/// How many attributes, modifiers and values criteria may have, and how many names `sort`, `select`
/// and `omit`.
pub const SIZE: usize = 512;

/// Whether `Milk` is `milk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Case {
    /// No.
    #[default]
    Sensitive,
    /// Yes, as in Sails 0.9.
    Ignored,
}

impl Case {
    fn fold(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Sensitive => text.into(),
            Self::Ignored => text.to_lowercase().into(),
        }
    }
}

/// The ways a query language was spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Sails 1.x and our own clients.
    Current,
    /// Case does not matter, a string that looks like a number is that number, `offset` is `skip`,
    /// `order` is `sort`, and `limit=0` is no limit.
    Sails09,
}

impl Language {
    fn case(self) -> Case {
        match self {
            Self::Current => Case::Sensitive,
            Self::Sails09 => Case::Ignored,
        }
    }
}

/// What has attributes, of which criteria look at some.
pub trait Look {
    /// The value of an attribute; one that is not there is null.
    fn look(&self, name: &str) -> &Value;
}

impl Look for Attributes {
    fn look(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

impl<R: Look> Look for Arc<R> {
    fn look(&self, name: &str) -> &Value {
        R::look(self, name)
    }
}

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
        }
    }
}

impl Criteria {
    /// Reads what a request brought.
    ///
    /// ```
    /// use backwire::criteria::{Criteria, Language, Parameters};
    ///
    /// let query = vec![("where".to_owned(), r#"{"age":{">=":18}}"#.to_owned())];
    /// let parameters = Parameters::read(query, Default::default())?;
    /// let criteria = Criteria::read(parameters, Language::Current)?;
    /// let ann: serde_json::Map<_, _> = serde_json::from_str(r#"{"name":"Ann","age":30}"#).unwrap();
    /// assert!(criteria.matches(&ann));
    /// # Ok::<_, backwire::criteria::Bad>(())
    /// ```
    pub fn read(parameters: Parameters, language: Language) -> Result<Self, Bad> {
        Self::read_for(&Model::default(), parameters, language)
    }

    /// Reads what a request brought, for records of this model: it says how the key is called, what is
    /// found when nothing is asked for, how much at most, and whether there are other attributes than
    /// it declares.
    pub fn read_for(
        model: &Model,
        parameters: Parameters,
        language: Language,
    ) -> Result<Self, Bad> {
        let mut criteria = Self::of_request(&model.key, parameters, language)?;
        criteria.all_known(model)?;
        if criteria.filter == Filter::default()
            && let Some(filter) = &model.find.filter
        {
            let filter = Value::Object(filter.clone());
            let said = Attributes::from_iter([("where".to_owned(), filter)]);
            let said = Parameters::read(Vec::new(), said)?;
            criteria.filter = Self::of_request(&model.key, said, language)?.filter;
        }
        let Window { limit, .. } = criteria.window;
        criteria.window.limit = limit.or(model.find.limit);
        criteria.most = model.most.records;
        Ok(criteria)
    }

    /// Whether there may be everything that is asked about.
    fn all_known(&self, model: &Model) -> Result<(), Bad> {
        let names = self.names().into_iter().chain(self.projection.names());
        match names.into_iter().find(|name| model.refuses(name)) {
            Some(name) => {
                let nearest = nearest(name, model.names()).map(str::to_owned);
                Err(Bad::new(name, Problem::Undeclared(nearest)))
            }
            None => Ok(()),
        }
    }

    fn of_request(key: &str, mut parameters: Parameters, language: Language) -> Result<Self, Bad> {
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
            case: language.case(),
        })
    }

    /// Reads what came beside the id of a record: there is nothing left to say.
    pub fn of_one(mut parameters: Parameters) -> Result<(), Bad> {
        no_populate(parameters.take("populate"))?;
        parameters.refuse("a record that is named is not chosen by criteria")
    }

    /// All that have one of these ids in an attribute, which may be their key.
    pub(crate) fn holding<'a>(
        model: &Model,
        attribute: &str,
        ids: impl IntoIterator<Item = &'a Id>,
    ) -> Self {
        let all = Self { key: model.key.as_str().into(), ..Self::default() };
        all.and_holding(attribute, ids)
    }

    /// Of those that are meant, the ones that have one of these ids in an attribute.
    pub(crate) fn and_holding<'a>(
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

    fn window(&self) -> Window {
        let limit = self.window.limit.into_iter().chain(self.most).min();
        Window { limit, ..self.window }
    }

    /// What comes first of all in the order, and from which end.
    pub(crate) fn first(&self) -> (&str, Direction) {
        let first = self.sort.0.first();
        first.map_or((&self.key, Direction::Ascending), |(name, direction)| (name, *direction))
    }

    /// How many of those that match, in their order, decide what is picked; `None` if all of them do.
    pub(crate) fn reach(&self) -> Option<usize> {
        let Window { limit, skip } = self.window();
        limit.map(|limit| if limit == 0 { 0 } else { limit.saturating_add(skip) })
    }

    /// Picks from records that come in the order of their ids. No more are taken than are needed.
    pub fn pick<E>(
        &self,
        records: impl Iterator<Item = Result<Arc<Attributes>, E>>,
    ) -> Result<Vec<Arc<Attributes>>, E> {
        Ok(self.show(self.choose(records)?))
    }

    /// The same, of what has all the attributes that are [looked at](Self::names), and shows nothing.
    pub(crate) fn choose<R: Look, E>(
        &self,
        records: impl Iterator<Item = Result<R, E>>,
    ) -> Result<Vec<R>, E> {
        // Looked at in the end, so that a failure among those that are passed over is one, too.
        let mut failure = None;
        let sound = records.map_while(|record| record.map_err(|error| failure = Some(error)).ok());
        let mut matching = sound.filter(|record| self.matches(record));
        let chosen = if self.sort.is_by_id() {
            self.window().of(&mut matching).collect()
        } else {
            self.window().of(self.sort.sort(matching.by_ref().collect())).collect()
        };
        drop(matching);
        failure.map_or(Ok(chosen), Err)
    }

    /// What is to be seen of the first that match.
    pub(crate) fn cut(&self, first: Vec<Arc<Attributes>>) -> Vec<Arc<Attributes>> {
        self.show(self.window().of(first.into_iter()))
    }

    /// What is to be seen of records.
    pub(crate) fn show(
        &self,
        records: impl IntoIterator<Item = Arc<Attributes>>,
    ) -> Vec<Arc<Attributes>> {
        records.into_iter().map(|record| self.projection.of(record)).collect()
    }

    /// The attributes that are looked at to choose a record.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
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
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn attributes(value: Value) -> Attributes {
        serde_json::from_value(value).unwrap()
    }

    fn pairs(query: &[(&str, &str)]) -> Vec<(String, String)> {
        query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn from_data(data: Value, language: Language) -> Result<Criteria, Bad> {
        Criteria::read(Parameters::read(Vec::new(), attributes(data))?, language)
    }

    fn from_query(query: &[(&str, &str)]) -> Result<Criteria, Bad> {
        Criteria::read(Parameters::read(pairs(query), Attributes::new())?, Language::Current)
    }

    fn people() -> Vec<Arc<Attributes>> {
        let people = [
            json!({"id": 1, "name": "Ann", "age": 30, "note": null, "done": true}),
            json!({"id": 2, "name": "bob", "age": 4, "tag": "50%"}),
            json!({"id": 3, "name": "Bea", "age": "4", "done": false}),
            json!({"id": "x", "age": 4.5, "list": ["Ann"], "done": "true"}),
        ];
        people.map(|person| Arc::new(attributes(person))).into()
    }

    fn picked(criteria: &Criteria) -> Vec<Arc<Attributes>> {
        let Ok(picked) = criteria.pick(people().into_iter().map(Ok::<_, Infallible>));
        picked
    }

    fn ids(criteria: Result<Criteria, Bad>) -> Value {
        picked(&criteria.unwrap()).iter().map(|record| record["id"].clone()).collect()
    }

    fn selected(filter: Value) -> Value {
        ids(from_data(json!({ "where": filter }), Language::Current))
    }

    fn old(data: Value) -> Value {
        ids(from_data(data, Language::Sails09))
    }

    fn queried(query: &[(&str, &str)]) -> Value {
        ids(from_query(query))
    }

    fn refused(data: Value) -> String {
        from_data(data, Language::Current).unwrap_err().to_string()
    }

    #[test]
    fn each_modifier_means_what_it_says() {
        assert_eq!(selected(json!({})), json!([1, 2, 3, "x"]));
        assert_eq!(selected(json!({"age": 4})), json!([2]));
        assert_eq!(selected(json!({"age": 4.0})), json!([2]));
        assert_eq!(selected(json!({"age": "4"})), json!([3]));
        assert_eq!(selected(json!({"age": [4, 30]})), json!([1, 2]));
        assert_eq!(selected(json!({"age": []})), json!([]));
        for (modifier, word) in [("<", "lessThan"), ("!", "not"), ("!=", "!"), ("=", "equals")] {
            let [sign, word] = [modifier, word].map(|name| selected(json!({"age": {name: 30}})));
            assert_eq!(sign, word);
        }
        assert_eq!(selected(json!({"age": {"<": 4.5}})), json!([2]));
        assert_eq!(selected(json!({"age": {"<=": 4.5}})), json!([2, "x"]));
        assert_eq!(selected(json!({"age": {"greaterThan": 4, "<": 30}})), json!(["x"]));
        assert_eq!(selected(json!({"age": {"greaterThanOrEqual": 4.5}})), json!([1, "x"]));
        assert_eq!(selected(json!({"age": {"lessThanOrEqual": "4"}})), json!([3]));
        assert_eq!(selected(json!({"age": {"!=": [4, "4"]}})), json!([1, "x"]));
        assert_eq!(selected(json!({"age": {"nin": [4, "4"]}})), json!([1, "x"]));
        assert_eq!(selected(json!({"age": {"in": [4, "4"]}})), json!([2, 3]));
        assert_eq!(selected(json!({"name": {"contains": "n"}})), json!([1]));
        assert_eq!(selected(json!({"name": {"startsWith": "B"}})), json!([3]));
        assert_eq!(selected(json!({"name": {"endsWith": "b"}})), json!([2]));
        assert_eq!(selected(json!({"name": {"like": "B%a"}})), json!([3]));
        assert_eq!(selected(json!({"tag": {"like": "%\\%"}})), json!([2]));
    }

    #[test]
    fn what_is_not_there_is_null() {
        assert_eq!(selected(json!({"note": null})), json!([1, 2, 3, "x"]));
        assert_eq!(selected(json!({"name": {"!": null}})), json!([1, 2, 3]));
        assert_eq!(selected(json!({"tag": {"!=": "50%"}})), json!([1, 3, "x"]));
        assert_eq!(selected(json!({"tag": {"<": 1}})), json!([]));
    }

    #[test]
    fn filters_are_combined() {
        assert_eq!(
            selected(json!({"or": [{"age": 4}, {"name": "Ann", "age": 30}]})),
            json!([1, 2])
        );
        assert_eq!(selected(json!({"or": []})), json!([]));
        assert_eq!(selected(json!({"not": {"or": [{"id": 1}, {"id": "x"}]}})), json!([2, 3]));
        let nested = json!({"and": [{"or": [{"age": 4}, {"age": 30}]}, {"not": {"id": 1}}]});
        assert_eq!(selected(nested), json!([2]));
    }

    #[test]
    fn an_id_that_reads_as_an_integer_is_that_integer() {
        assert_eq!(selected(json!({"id": ["2", "x", "03"]})), json!([2, "x"]));
        assert_eq!(selected(json!({"id": {">": "1"}})), json!([2, 3]));
    }

    #[test]
    fn in_a_query_numbers_and_strings_look_alike() {
        assert_eq!(queried(&[("age", "4")]), json!([2, 3]));
        assert_eq!(queried(&[("done", "true")]), json!([1, "x"]));
        assert_eq!(queried(&[("age", "4"), ("name", "bob"), ("_", "17")]), json!([2]));
        assert_eq!(queried(&[("id", "1"), ("id", "x")]), json!([1, "x"]));
        assert_eq!(queried(&[("name[]", "Ann"), ("name[]", "bob")]), json!([1, 2]));
        assert_eq!(queried(&[("age", "NaN")]), json!([]));
        assert_eq!(queried(&[("where", r#"{"age":4}"#), ("name", "Ann")]), json!([2]));
        let sorted = [("sort", "name DESC"), ("skip", "1"), ("limit", "2")];
        assert_eq!(queried(&sorted), json!([3, 1]));
    }

    #[test]
    fn records_are_sorted_in_every_spelling() {
        let by = |sort: Value| ids(from_data(json!({ "sort": sort }), Language::Current));
        for sort in [
            json!("age DESC"),
            json!([{"age": "desc"}]),
            json!({"age": -1}),
            json!(r#"{"age":"DESC"}"#),
        ] {
            assert_eq!(by(sort), json!([3, 1, "x", 2]));
        }
        assert_eq!(by(json!("name")), json!(["x", 1, 3, 2]));
        assert_eq!(by(json!(["done", {"age": "ASC"}])), json!([2, 3, 1, "x"]));
        assert_eq!(by(json!("list, id DESC")), json!([3, 2, 1, "x"]));
    }

    #[test]
    fn a_window_is_a_part_and_a_limit_of_0_is_nothing() {
        let part = |data| ids(from_data(data, Language::Current));
        assert_eq!(part(json!({"limit": 2})), json!([1, 2]));
        assert_eq!(part(json!({"limit": "1", "skip": 3})), json!(["x"]));
        assert_eq!(part(json!({"skip": 9})), json!([]));
        assert_eq!(part(json!({"limit": 0})), json!([]));
        assert_eq!(part(json!({"limit": u64::MAX, "skip": u64::MAX})), json!([]));
    }

    #[test]
    fn the_id_is_always_shown() {
        let first = |data: Value| {
            let criteria = from_data(data, Language::Current).unwrap();
            Value::Object(Attributes::clone(&picked(&criteria)[0]))
        };
        assert_eq!(
            first(json!({"select": "name, age"})),
            json!({"id": 1, "name": "Ann", "age": 30})
        );
        assert_eq!(first(json!({"select": ["name"]})), json!({"id": 1, "name": "Ann"}));
        assert_eq!(
            first(json!({"omit": ["id", "note", "done"]})),
            json!({"id": 1, "name": "Ann", "age": 30})
        );
    }

    #[test]
    fn sails_0_9_is_spoken_as_it_was() {
        assert_eq!(old(json!({"name": "ANN"})), json!([1]));
        assert_eq!(old(json!({"where": {"name": {"like": "b%"}}})), json!([2, 3]));
        assert_eq!(old(json!({"where": {"like": {"name": "%B"}}})), json!([2]));
        assert_eq!(old(json!({"where": {"age": 4}})), json!([2, 3]));
        assert_eq!(old(json!({"where": {"age": {"<": "30"}}})), json!([2, 3, "x"]));
        assert_eq!(old(json!({"order": "id desc", "offset": 1, "limit": 0})), json!([3, 2, 1]));
        assert_eq!(
            refused(json!({"where": {"like": {"name": "A%"}}})),
            "like: the modifier name is not understood"
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let table = [
            (json!({"where": "{oops"}), "where: this is not JSON: "),
            (json!({"where": "[]"}), "where: this has to be an object"),
            (json!({"where": null}), "where: this has to be an object"),
            (json!({"where": {"age": {}}}), "age: this has to be a value, a list or modifiers"),
            (json!({"where": {"age": {"~": 1}}}), "age: the modifier ~ is not understood"),
            (
                json!({"where": {"age": {"<": null}}}),
                "age: this has to be a number or a string after",
            ),
            (json!({"where": {"age": {"in": 1}}}), "age: this has to be a list after"),
            (json!({"where": {"age": [[1]]}}), "age: this has to be a string, a number, true"),
            (json!({"age": {"like": 1}}), "age: this has to be a string after"),
            (json!({"where": {"or": {}}}), "or: this has to be a list of objects"),
            (json!({"where": {"and": [1]}}), "and: this has to be a list of objects"),
            (json!({"where": {"not": []}}), "not: this has to be an object"),
            (json!({"limit": -1}), "limit: this has to be a whole number, 0 or more"),
            (json!({"skip": "many"}), "skip: this has to be a whole number, 0 or more"),
            (json!({"limit": null}), "limit: "),
            (json!({"sort": "-age"}), "sort: this has to be \"attribute DESC\" rather than"),
            (json!({"sort": "age down"}), "sort: this has to be ASC, DESC, 1 or -1"),
            (json!({"sort": ""}), "sort: "),
            (json!({"sort": "{oops"}), "sort: this is not JSON: "),
            (json!({"sort": [[]]}), "sort: "),
            (json!({"select": [1]}), "select: "),
            (json!({"select": ""}), "select: "),
            (json!({"select": "a", "omit": "b"}), "omit: select says already what is wanted"),
            (json!({"populate": "pets"}), "populate: this has to be false"),
        ];
        for (data, message) in table {
            let refusal = refused(data.clone());
            assert!(refusal.starts_with(message), "{data}: {refusal}");
        }
        let nested = from_query(&[("where[age]", "4")]).unwrap_err().to_string();
        assert_eq!(nested, "where[age]: what is nested goes into where, as JSON");
        assert!(from_query(&[("or", "[]")]).unwrap_err().to_string().starts_with("or: "));
        let twice = Parameters::read(pairs(&[("age", "4")]), attributes(json!({"age": 4})));
        assert_eq!(twice.unwrap_err().to_string(), "age: this is in the url and in the data");
        let both = from_data(json!({"skip": 1, "offset": 1}), Language::Sails09).unwrap_err();
        assert_eq!(both.to_string(), "offset: this is said by two parameters");
    }

    #[test]
    fn what_is_too_deep_or_too_much_is_refused_with_the_limit() {
        let deep = |levels| (0..levels).fold(json!({"a": 1}), |inner, _| json!({"not": inner}));
        let limit = |filter| match from_data(json!({ "where": filter }), Language::Current) {
            Ok(_) => None,
            Err(bad) => bad.limit(),
        };
        assert_eq!(limit(deep(DEPTH)), None);
        assert_eq!(limit(deep(DEPTH + 1)), Some(DEPTH));
        assert_eq!(limit(json!({"a": vec![1; SIZE - 1]})), None);
        assert_eq!(limit(json!({"a": vec![1; SIZE]})), Some(SIZE));
        assert_eq!(limit(json!({"or": vec![json!({}); SIZE]})), Some(SIZE));
        let names = from_data(json!({"select": vec!["a"; SIZE + 1]}), Language::Current);
        assert_eq!(names.unwrap_err().limit(), Some(SIZE));
    }

    #[test]
    fn a_failure_is_a_failure_also_where_it_is_passed_over() {
        let criteria = from_data(json!({"skip": 1, "limit": 1}), Language::Current).unwrap();
        let records = people().into_iter().map(Ok);
        assert!(criteria.pick([Err("disk")].into_iter().chain(records)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_makes_it_panic(
            pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..4),
            name in "where|sort|limit|skip|select|omit|populate|id|[a-z]",
            text in "[\\[\\]{}:,\"a-z0-9<>=!%\\\\ -]{0,40}",
        ) {
            let mut query = pairs;
            query.push((name, text));
            for language in [Language::Current, Language::Sails09] {
                let parameters = Parameters::read(query.clone(), Attributes::new());
                if let Ok(criteria) = parameters.and_then(|said| Criteria::read(said, language)) {
                    picked(&criteria);
                }
            }
        }
    }
}
