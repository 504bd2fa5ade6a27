//! Criteria for the records of a model: its defaults and limits are added to the request.

use serde_json::Value;

use super::kind::CriteriaType;
use super::{Ids, Kind, Model, TIMES, Timestamps};
use crate::change::{Attributes, Id};
use crate::criteria::{Criteria, CriteriaError, Filter, Language, Parameters, Problem, Window};
use crate::nearest::nearest;

impl Criteria {
    /// Parses the parameters of a request for records of this model. The model has the name of the
    /// key, the defaults of a read and the limit of records, and decides whether undeclared
    /// attributes are allowed.
    pub fn read_for(
        model: &Model,
        parameters: Parameters,
        language: Language,
    ) -> Result<Self, CriteriaError> {
        let mut parameters = parameters;
        let direction = model.normalize(&mut parameters, language)?;
        let mut criteria = Self::of_request(&model.key, parameters, language)?;
        direction.into_iter().for_each(|direction| criteria.set_direction(direction));
        criteria.all_known(model)?;
        if criteria.filter == Filter::default()
            && let Some(filter) = &model.find.filter
        {
            let filter = Value::Object(filter.clone());
            let data = Attributes::from_iter([("where".to_owned(), filter)]);
            let defaults = Parameters::read(Vec::new(), data)?;
            criteria.filter = Self::of_request(&model.key, defaults, language)?.filter;
        }
        // Sails 0.9 compares texts with values of any type.
        if language == Language::Current {
            criteria.filter = criteria.filter.coerced(&|name| model.type_in_criteria(name))?;
        }
        let Window { limit, .. } = criteria.window;
        criteria.window.limit = limit.or(model.default_limit());
        criteria.max_records = model.most.records;
        Ok(criteria)
    }

    /// Parses the parameters of a read of one record of this model.
    pub fn read_of_one(
        model: &Model,
        id: &Id,
        mut parameters: Parameters,
    ) -> Result<Self, CriteriaError> {
        model.normalize_one(&mut parameters);
        let projection = Self::of_one(&model.key, parameters)?;
        let criteria = Self { projection, ..Self::with_attribute_in(model, &model.key, [id]) };
        criteria.all_known(model)?;
        Ok(criteria)
    }

    /// Checks that the model allows all attributes in the criteria.
    fn all_known(&self, model: &Model) -> Result<(), CriteriaError> {
        let names = self.names().into_iter().chain(self.projection.names());
        match names.into_iter().find(|name| model.refuses_criteria_on(name)) {
            Some(name) => {
                let nearest = nearest(name, model.names()).map(str::to_owned);
                Err(CriteriaError::new(name, Problem::Undeclared(nearest)))
            }
            None => Ok(()),
        }
    }

    /// Returns criteria for all records that have one of these ids in an attribute, which may be
    /// the key.
    pub fn with_attribute_in<'a>(
        model: &Model,
        attribute: &str,
        ids: impl IntoIterator<Item = &'a Id>,
    ) -> Self {
        let all = Self { key: model.key.as_str().into(), ..Self::default() };
        all.and_attribute_in(attribute, ids)
    }
}

impl Model {
    /// Returns the type of an attribute in criteria; `None` if it may be any.
    fn type_in_criteria(&self, name: &str) -> Option<CriteriaType> {
        let number = CriteriaType::Kind(Kind::Number);
        let has_times = self.timestamps == Timestamps::Ms && TIMES.contains(&name);
        match self.attributes.get(name) {
            Some(attribute) => attribute.type_in_criteria(self.conventions),
            None if name == self.key && self.id_source() == Ids::Integer => Some(number),
            None => has_times.then_some(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::criteria::Scope;
    use crate::model::{Attribute, Conventions};

    fn model(kind: Kind) -> Model {
        Model::default().attribute("a", Attribute { kind: Some(kind), ..Attribute::default() })
    }

    fn selects(model: &Model, query: Parameters, record: &Attributes) -> Result<bool, String> {
        let criteria = Criteria::read_for(model, query, Language::Current);
        criteria.map(|criteria| criteria.matches(record)).map_err(|error| error.to_string())
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            (0..3).prop_map(Value::from),
            any::<f64>().prop_filter("JSON", |it| it.is_finite()).prop_map(Value::from),
            "[-+.0-9eExX]{0,5}".prop_map(Value::from),
            "true|false|[01]|0[01]|[a-c]{0,2}".prop_map(Value::from),
        ]
    }

    proptest! {
        /// A value selects the record that is stored with it, and is refused where a write is.
        #[test]
        fn criteria_and_writes_coerce_alike(value in scalar(), kind in 0..4_usize) {
            let kind = [Kind::String, Kind::Number, Kind::Boolean, Kind::Integer][kind];
            let model = model(kind);
            let stored = model.check(Map::from_iter([("a".to_owned(), value.clone())]));
            let parameters = || {
                let data = json!({ "where": { "a": value.clone() } });
                Parameters::read(Vec::new(), data.as_object().unwrap().clone()).unwrap()
            };
            let texts = value.as_str().map(|text| {
                Parameters::read(vec![("a".to_owned(), text.to_owned())], Map::new()).unwrap()
            });
            for query in std::iter::once(parameters()).chain(texts) {
                match &stored {
                    Ok(record) => prop_assert_eq!(selects(&model, query, record), Ok(true)),
                    // A whole number may be compared with any number.
                    Err(_) if kind == Kind::Integer => {}
                    Err(_) => prop_assert!(selects(&model, query, &Map::new()).is_err()),
                }
            }
        }
    }

    #[test]
    fn only_criteria_of_sails09_may_have_another_type() {
        let query = || vec![("a".to_owned(), "x".to_owned())];
        let read = |language| {
            let parameters = Parameters::read(query(), Map::new()).unwrap();
            Criteria::read_for(&model(Kind::Number), parameters, language).is_ok()
        };
        assert_eq!([Language::Current, Language::Sails09].map(read), [false, true]);
    }

    /// The expected records are those that Sails 1.5.18 finds with `sails-disk`.
    #[test]
    fn criteria_select_values_of_the_type_json_as_in_sails() {
        let values = json!([
            null, 5, "x", true, { "a": 1 }, { "a": 1, "b": [2] }, {}, [], [5], [1, "x"], [[5]],
            [{ "a": 1 }], [null], "5", [[]],
        ]);
        let model = Model { conventions: Conventions::Sails, ..model(Kind::Json) };
        for (condition, expected) in [
            (json!(null), json!([0, 12])),
            (json!(5), json!([1, 8, 10])),
            (json!("5"), json!([13])),
            (json!("x"), json!([2, 9])),
            (json!(true), json!([3])),
            (json!({ "!=": null }), json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13])),
            (json!({ "!=": 5 }), json!([0, 2, 3, 4, 5, 6, 9, 11, 12, 13])),
            (json!({ "!=": "x" }), json!([0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13])),
            (json!({ "in": [5, "x"] }), json!([1, 2, 8, 9, 10])),
            (json!({ "nin": [5, "x"] }), json!([0, 3, 4, 5, 6, 9, 11, 12, 13])),
            (json!({ "nin": [] }), json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])),
            (json!({ "in": [] }), json!([])),
            (json!({ "in": [{ "a": 1 }] }), json!([4, 11])),
            (json!({ "in": [{ "b": [2], "a": 1.0 }] }), json!([5])),
            (json!({ "in": [{}] }), json!([6])),
            (json!({ "in": [[5]] }), json!([])),
            (json!({ "in": [{ "a": "1" }] }), json!([])),
            (json!({ "!=": { "a": 1 } }), json!([0, 1, 2, 3, 5, 6, 8, 9, 10, 12, 13])),
            (json!({ "!=": {} }), json!([0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13])),
            (json!({ "nin": [{ "a": 1 }, 5] }), json!([0, 2, 3, 5, 6, 9, 12, 13])),
            (json!({ "nin": [[5]] }), json!([0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13])),
            (json!({ "!=": [5] }), json!([0, 2, 3, 4, 5, 6, 9, 11, 12, 13])),
            (json!({ ">": 1 }), json!([1, 8, 10])),
            (json!({ "<=": 5 }), json!([1, 8, 9, 10])),
            (json!({ ">": "" }), json!([2, 9, 13])),
            (json!({ "startsWith": "x" }), json!([2, 9])),
            (json!({ "contains": "5" }), json!([13])),
            (json!({ "like": "%" }), json!([2, 9, 13])),
            (json!({ "!=": { "a": 1 }, ">": 1 }), json!([1, 8, 10])),
        ] {
            let data = json!({ "where": { "a": condition } });
            let query = Parameters::read(Vec::new(), data.as_object().unwrap().clone()).unwrap();
            let criteria = Criteria::read_for(&model, query, Language::Current).unwrap();
            // A client of the runtime follows what it has read by the name of a room.
            let text = Scope::of(&criteria).encode();
            assert_eq!(Scope::decode(&text), Some(Scope::of(&criteria)), "{text}");
            let values = values.as_array().unwrap().iter().enumerate();
            let selected = values.filter(|(_, value)| {
                criteria.matches(&Map::from_iter([("a".to_owned(), (*value).clone())]))
            });
            assert_eq!(
                json!(selected.map(|(at, _)| at).collect::<Vec<_>>()),
                expected,
                "{condition}"
            );
        }
        let has = |text: &str, value: Value| {
            let query = vec![("a".to_owned(), text.to_owned())];
            let record = Map::from_iter([("a".to_owned(), value)]);
            selects(&model, Parameters::read(query, Map::new()).unwrap(), &record).unwrap()
        };
        assert_eq!([has("5", json!(5)), has("5", json!("5"))], [false, true]);
        assert_eq!([has("true", json!(true)), has("true", json!(["true"]))], [false, true]);
    }

    #[test]
    fn key_times_and_associations_have_a_type_if_it_is_known() {
        let owner = Attribute { target_ids: Ids::Integer, ..Attribute::model("user") };
        let typed = Model { ids: Ids::Integer, ..Model::default() }.attribute("owner", owner);
        let any = Model { timestamps: Timestamps::Iso, ..Model::default() }
            .attribute("owner", Attribute::model("user"));
        let record = json!({ "id": 1, "owner": 1, "createdAt": 5 });
        let record = record.as_object().unwrap();
        for name in ["id", "owner", "createdAt"] {
            let read = |model: &Model, value: Value| {
                let data = json!({ "where": { name: value } });
                let query = Parameters::read(Vec::new(), data.as_object().unwrap().clone());
                selects(model, query.unwrap(), record)
            };
            assert!(read(&typed, json!("x")).is_err(), "{name}");
            assert_eq!(read(&typed, json!(null)), Ok(false), "{name}");
            assert_eq!(read(&any, json!("x")), Ok(false), "{name}");
        }
        let id = |model: &Model, text: &str| model.id_in_url(text).unwrap();
        let query = Parameters::read(vec![("owner".to_owned(), "1".to_owned())], Map::new());
        assert_eq!(selects(&any, query.unwrap(), record), Ok(true));
        assert_eq!([id(&typed, "01"), id(&any, "1")], [Id::Integer(1), Id::Integer(1)]);
        assert_eq!(id(&any, "01"), Id::Text("01".into()));
    }
}
