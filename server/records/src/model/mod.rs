//! Models, the schemas of resources: the key, the attributes, the timestamps.
//!
//! All of it is pure. A [`Model`] is declared in Rust or in the configuration file. A resource that
//! is not declared has the default model, which accepts all records. In reading order: [`Model`];
//! [`Attribute`], the rules for its values; [`Kind`], their types; `format`, the formats of texts;
//! [`Models`], the models of a server; `undeclared`, the keys of undeclared resources;
//! `association`, `declaration` and `pair`, the associations between records; [`Populate`], the
//! associations that a read fills in; `criteria`, the defaults and limits that a model adds to the
//! criteria of a request, and `parameters`, the parameters that are not criteria; `conventions`,
//! those of Backwire and of Sails, and `conventional`, what they decide; `ids`, their source;
//! `model_settings`, a model in a configuration file.

mod association;
mod associations;
mod attribute;
mod conventional;
mod conventions;
mod criteria;
mod declaration;
mod format;
mod ids;
mod kind;
mod membership;
mod model_settings;
mod models;
mod pair;
mod parameters;
mod populate;
mod undeclared;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::access::Access;
use crate::change::{Attributes, Id};

pub use association::{Association, Link};
pub use associations::Associations;
pub use attribute::{Attribute, Pattern, Violation};
pub use conventions::Conventions;
pub use declaration::InvalidAssociation;
pub use ids::Ids;
pub use kind::Kind;
pub use membership::Membership;
pub use model_settings::ModelSettings;
pub use models::{ModelError, Models, Undeclared};
pub use pair::Side;
pub use populate::Populate;

/// The model of one resource: the rules for its records.
///
/// ```
/// use backwire_records::model::{Attribute, Kind, Model};
///
/// let title = Attribute { kind: Some(Kind::String), required: true, ..Attribute::default() };
/// let todo = Model::default().attribute("title", title);
/// let empty = todo.fill(serde_json::Map::new()).unwrap_err();
/// assert_eq!(empty[0].to_string(), "title is required");
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "ModelSettings")]
pub struct Model {
    /// The name of the primary key.
    pub key: String,
    /// The source of ids.
    pub ids: Ids,
    /// The declared attributes, by name. Records may have others.
    pub attributes: BTreeMap<String, Attribute>,
    /// Whether the declared attributes are all: then others are dropped from writes and refused in
    /// criteria. `None` leaves it to the conventions.
    pub schema: Option<bool>,
    /// How undeclared attributes are handled.
    pub unknown: Unknown,
    /// `createdAt` and `updatedAt`.
    pub timestamps: Timestamps,
    /// Whether a `PUT` creates a record that does not exist.
    pub upsert: bool,
    /// The name in urls, if it is not the name of the resource: `todos`.
    pub plural: Option<String>,
    /// The defaults of a read.
    pub find: Find,
    /// The limits of one request.
    pub most: RequestLimits,
    /// The access rules.
    pub access: Access,
    /// Whether a refused write may reveal a record that the caller cannot read, by an id or a
    /// unique value that is taken. Then unique values are unique among all records, and not per
    /// owner.
    pub reveals: bool,
    /// The conventions for what is left open. The server sets them when it starts.
    pub conventions: Conventions,
}

/// How undeclared attributes are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// As the conventions have it: kept, or dropped if the model has a [`schema`](Model::schema).
    #[default]
    #[serde(skip)]
    Conventional,
    /// They are kept as they are.
    Keep,
    /// They are removed.
    Drop,
    /// Writes that set them are refused, and so are reads with criteria on them.
    Refuse,
}

/// The format of the times at which a record was created and last updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// Unix milliseconds.
    #[default]
    Ms,
    /// `2026-11-21T09:30:00.000Z`
    Iso,
    /// The server sets no timestamps.
    Off,
}

/// The defaults of a read.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Find {
    /// The limit if the request has no `limit`. `None` leaves it to the conventions: there is none,
    /// or 30 with those of Sails.
    pub limit: Option<usize>,
    /// The filter if the request has none.
    #[serde(rename = "where")]
    pub filter: Option<Attributes>,
    /// The associations to fill in if the request has no `populate`.
    pub populate: Populate,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestLimits {
    /// The maximum number of records in an answer. A request for more gets this many.
    pub records: Option<usize>,
    /// The maximum bytes of a body, if that is less than the server's own limit.
    pub body: Option<usize>,
}

impl Default for Model {
    /// Returns a model that accepts all records.
    fn default() -> Self {
        Self {
            key: "id".to_owned(),
            ids: Ids::default(),
            attributes: BTreeMap::new(),
            schema: None,
            unknown: Unknown::default(),
            timestamps: Timestamps::default(),
            upsert: false,
            plural: None,
            find: Find::default(),
            most: RequestLimits::default(),
            access: Access::default(),
            reveals: false,
            conventions: Conventions::default(),
        }
    }
}

impl Model {
    /// Declares one more attribute.
    pub fn attribute(mut self, name: impl Into<String>, attribute: Attribute) -> Self {
        self.attributes.insert(name.into(), attribute);
        self
    }

    /// Returns the attributes that are associations.
    pub fn associations(&self) -> impl Iterator<Item = &str> + Clone {
        let associations = self.attributes.iter().filter(|(_, it)| it.is_association());
        associations.map(|(name, _)| name.as_str())
    }

    /// Returns the id in the attributes of a create; `None` leaves it to the server.
    pub fn id_of(&self, attributes: &Attributes) -> Result<Option<Id>, BadId> {
        let id = match attributes.get(&self.key) {
            None | Some(Value::Null) if self.id_source() == Ids::Client => {
                return Err(BadId::Missing);
            }
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => self.id_in_url(text).ok_or(BadId::None)?,
            Some(value) => Id::from_json(value).ok_or(BadId::None)?,
        };
        if self.accepts_id(&id) { Ok(Some(id)) } else { Err(BadId::OtherKind(self.id_source())) }
    }

    /// Returns the id in a url. If the ids are integers, `01` is 1.
    pub fn id_in_url(&self, text: &str) -> Option<Id> {
        let integer = match self.id_source() {
            Ids::Integer => Kind::Integer.coerce(Value::from(text)),
            _ => None,
        };
        integer.as_ref().and_then(Id::from_json).or_else(|| Id::parse(text))
    }

    /// Whether a new record may have this id, as far as its kind goes.
    pub fn accepts_id(&self, id: &Id) -> bool {
        match (self.id_source(), id) {
            (Ids::Integer, Id::Text(_)) | (Ids::Uuid, Id::Integer(_)) => false,
            (Ids::Integer, Id::Integer(integer)) if self.conventions.are_of_sails() => *integer > 0,
            (Ids::Uuid, Id::Text(text)) => uuid::Uuid::try_parse(text).is_ok(),
            _ => true,
        }
    }

    /// Returns the attributes of a new record as they are stored: checked, with defaults filled in.
    /// The error has all violations.
    pub fn fill(&self, mut given: Attributes) -> Result<Attributes, Vec<Violation>> {
        let is_given = |name: &str| given.contains_key(name);
        let absent = self.attributes.iter().filter(|(name, _)| !is_given(name));
        let absent: Vec<_> = absent.collect();
        for (name, attribute) in &absent {
            if let Some(default) = &attribute.default {
                given.insert((*name).clone(), default.clone());
            }
        }
        let missing = absent.iter().filter(|(_, it)| it.required && it.default.is_none());
        let missing: Vec<_> = missing.map(|(name, _)| Violation::missing(name)).collect();
        let mut record = match self.check(given) {
            Ok(record) if missing.is_empty() => record,
            Ok(_) => return Err(missing),
            Err(wrong) => return Err(missing.into_iter().chain(wrong).collect()),
        };
        // The values that Sails fills in need not fulfil the rules.
        for (name, attribute) in absent.into_iter().filter(|(_, it)| it.default.is_none()) {
            if let Some(value) = attribute.value_if_missing(self.conventions) {
                record.insert(name.clone(), value);
            }
        }
        Ok(record)
    }

    /// Returns the attributes of an update as they are stored. The error has all violations.
    pub fn check(&self, given: Attributes) -> Result<Attributes, Vec<Violation>> {
        let (mut checked, mut wrong) = (Attributes::new(), Vec::new());
        let unknown = self.unknown();
        for (name, value) in given {
            match (self.attributes.get(&name), unknown) {
                (Some(attribute), _) => match attribute.to_stored(&name, value, self.conventions) {
                    Ok(value) => drop(checked.insert(name, value)),
                    Err(violation) => wrong.push(violation),
                },
                (None, Unknown::Refuse) if !self.is_known(&name) => {
                    wrong.push(Violation::unknown(&name));
                }
                (None, Unknown::Drop) if !self.is_known(&name) => {}
                (None, _) => drop(checked.insert(name, value)),
            }
        }
        if wrong.is_empty() { Ok(checked) } else { Err(wrong) }
    }

    /// Whether the model refuses criteria on an attribute with this name.
    pub fn refuses_criteria_on(&self, name: &str) -> bool {
        (self.unknown == Unknown::Refuse || self.has_schema()) && !self.is_known(name)
    }

    /// Whether records have an attribute with this name, as far as the model knows.
    fn is_known(&self, name: &str) -> bool {
        let is_owner = self.access.owner.as_deref() == Some(name);
        is_owner || self.attributes.contains_key(name) || self.is_server_set(name)
    }

    /// Returns the known attributes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str).chain(self.server_set())
    }

    /// Returns the attributes that the server sets.
    fn server_set(&self) -> impl Iterator<Item = &str> {
        let times = TIMES.into_iter().filter(|_| self.timestamps != Timestamps::Off);
        times.chain([&*self.key])
    }

    fn is_server_set(&self, name: &str) -> bool {
        self.server_set().any(|own| own == name)
    }

    /// Sets the timestamps, and then the key. An update cannot set `createdAt`.
    pub fn stamp(&self, attributes: &mut Attributes, id: &Id, at: u64, is_new: bool) {
        attributes.shift_remove(&self.key);
        if let Some(now) = self.time(at) {
            if is_new {
                attributes.insert(TIMES[0].to_owned(), now.clone());
            } else {
                attributes.shift_remove(TIMES[0]);
            }
            attributes.insert(TIMES[1].to_owned(), now);
        }
        attributes.insert(self.key.clone(), id.to_json());
    }

    /// Whether these values change a record. The timestamps that the server sets do not count.
    pub fn is_changed(&self, record: &Attributes, set: &Attributes) -> bool {
        let is_time = |name: &str| self.timestamps != Timestamps::Off && TIMES.contains(&name);
        let mut set = set.iter().filter(|(name, _)| !is_time(name));
        set.any(|(name, value)| record.get(name) != Some(value))
    }

    fn time(&self, at: u64) -> Option<Value> {
        match self.timestamps {
            Timestamps::Ms => Some(Value::from(at)),
            Timestamps::Iso => Some(Value::from(format::iso(at))),
            Timestamps::Off => None,
        }
    }

    /// Returns the values of unique attributes as they would be stored, without nulls, empty
    /// strings and invalid values.
    pub fn unique_values(&self, given: &Attributes) -> Vec<(String, Value)> {
        let unique = self.attributes.iter().filter(|(_, attribute)| attribute.unique);
        let claim = |(name, attribute): (&String, &Attribute)| {
            let value = given.get(name)?.clone();
            let value = attribute.to_stored(name, value, self.conventions).ok()?;
            (!value.is_null() && value != "").then(|| (name.clone(), value))
        };
        unique.filter_map(claim).collect()
    }

    /// Returns the attribute with the owner, if values are unique per owner.
    pub fn isolating_owner(&self) -> Option<&str> {
        self.access.isolating_owner().filter(|_| !self.reveals)
    }

    /// Returns the attributes that records are looked up by.
    pub fn indexed(&self) -> impl Iterator<Item = &str> {
        let owner = self.access.owner.as_ref();
        let is_indexed = |it: &Attribute| it.indexed || it.unique || it.model.is_some();
        let indexed = self.attributes.iter().filter(move |(_, it)| is_indexed(it));
        let indexed = indexed.filter(move |(name, _)| Some(*name) != owner);
        indexed.map(|(name, _)| name.as_str()).chain(owner.map(String::as_str))
    }
}

/// Whether two values of an attribute are the same. Numbers are compared as doubles, as in
/// JavaScript.
pub fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The names of the timestamps.
const TIMES: [&str; 2] = ["createdAt", "updatedAt"];

/// The error of a new record with an invalid id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadId {
    /// The value is not an id.
    None,
    /// There is no id, and the client has to give one.
    Missing,
    /// The id is not of the declared kind.
    OtherKind(Ids),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Attributes {
        serde_json::from_value(value).unwrap()
    }

    fn messages(wrong: Vec<Violation>) -> Vec<String> {
        wrong.iter().map(ToString::to_string).collect()
    }

    fn user() -> Model {
        serde_json::from_value(json!({
            "attributes": {
                "name": { "type": "string", "required": true },
                "role": { "type": "string", "enum": ["user", "admin"], "default": "user" },
                "age": { "type": "integer", "min": 0, "max": 150 },
            },
        }))
        .unwrap()
    }

    #[test]
    fn default_model_accepts_any_record() {
        let record = map(json!({ "any": [1, null] }));
        assert_eq!(Model::default().fill(record.clone()), Ok(record));
    }

    #[test]
    fn defaults_are_filled_in_and_values_are_coerced() {
        let record = user().fill(map(json!({ "name": 7, "age": "30" }))).unwrap();
        assert_eq!(record, map(json!({ "name": "7", "age": 30, "role": "user" })));
    }

    #[test]
    fn error_has_all_violations() {
        let wrong = user().fill(map(json!({ "age": 151, "role": "king" }))).unwrap_err();
        assert_eq!(
            messages(wrong),
            ["name is required", "age is at most 150", "role is one of \"user\", \"admin\""]
        );
    }

    #[test]
    fn update_may_omit_required_attributes_but_cannot_unset_them() {
        assert!(user().check(map(json!({ "age": 3 }))).is_ok());
        let wrong = user().check(map(json!({ "name": null }))).unwrap_err();
        assert_eq!(messages(wrong), ["name is required"]);
        assert_eq!(user().check(map(json!({ "age": null }))).unwrap()["age"], Value::Null);
    }

    #[test]
    fn undeclared_attributes_are_kept_dropped_or_refused() {
        let with = |unknown| Model { unknown, ..user() }.check(map(json!({ "x": 1, "id": 7 })));
        assert_eq!(with(Unknown::Keep), Ok(map(json!({ "x": 1, "id": 7 }))));
        assert_eq!(with(Unknown::Drop), Ok(map(json!({ "id": 7 }))));
        assert_eq!(messages(with(Unknown::Refuse).unwrap_err()), ["x is not declared"]);
    }

    #[test]
    fn schema_drops_undeclared_attributes_and_refuses_criteria_on_them() {
        let declared = user();
        assert!(!declared.refuses_criteria_on("x"));
        let owned: Access = serde_json::from_value(json!({ "owner": "by" })).unwrap();
        let model = Model { schema: Some(true), access: owned, ..declared.clone() };
        let checked = model.check(map(json!({ "x": 1, "age": 2, "by": 3, "id": 4 })));
        assert_eq!(checked, Ok(map(json!({ "age": 2, "by": 3, "id": 4 }))));
        let refused = ["x", "age", "by", "id", "createdAt"].map(|it| model.refuses_criteria_on(it));
        assert_eq!(refused, [true, false, false, false, false]);
        let sails = Model { conventions: Conventions::Sails, ..declared };
        assert!(sails.refuses_criteria_on("x"));
        let open = Model { schema: Some(false), ..sails.clone() };
        assert!(!open.refuses_criteria_on("x"));
        assert!(!Model { attributes: BTreeMap::new(), ..sails }.refuses_criteria_on("x"));
    }

    #[test]
    fn id_has_to_be_of_the_declared_kind() {
        let id = |ids, value: Value| {
            let model = Model { ids, key: "_id".to_owned(), ..Model::default() };
            model.id_of(&map(json!({ "_id": value })))
        };
        assert_eq!(id(Ids::Any, json!("a")), Ok(Some(Id::Text("a".into()))));
        assert_eq!(id(Ids::Integer, json!("07")), Ok(Some(Id::Integer(7))));
        assert_eq!(id(Ids::Any, json!("07")), Ok(Some(Id::Text("07".into()))));
        assert_eq!(id(Ids::Integer, json!("a")), Err(BadId::OtherKind(Ids::Integer)));
        assert_eq!(id(Ids::Uuid, json!("a")), Err(BadId::OtherKind(Ids::Uuid)));
        assert_eq!(id(Ids::Uuid, Value::Null), Ok(None));
        assert_eq!(id(Ids::Client, Value::Null), Err(BadId::Missing));
        assert_eq!(id(Ids::Any, json!([])), Err(BadId::None));
    }

    #[test]
    fn timestamps_are_iso_text_or_not_set() {
        let stamped = |timestamps| {
            let model = Model { timestamps, ..Model::default() };
            let mut record = map(json!({ "createdAt": "forged" }));
            model.stamp(&mut record, &Id::Integer(7), 1_795_190_586_817, true);
            Value::Object(record)
        };
        assert_eq!(
            stamped(Timestamps::Iso),
            json!({ "createdAt": "2026-11-20T16:03:06.817Z", "updatedAt": "2026-11-20T16:03:06.817Z", "id": 7 })
        );
        assert_eq!(stamped(Timestamps::Off), json!({ "createdAt": "forged", "id": 7 }));
    }
}
