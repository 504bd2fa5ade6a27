//! What the records of a resource are like: the key, the attributes, the timestamps.
//!
//! All of it is pure. A [`Model`] is declared in Rust or in the configuration file; a resource that
//! nobody declared has the default one, which takes whatever comes. In reading order: [`Model`];
//! [`Attribute`], one of them and what its values may be; `format`, the forms of texts; [`Models`],
//! those of a server; `undeclared`, the keys of undeclared resources; `association`, `half` and
//! `pair`, which of their records belong together; [`Populate`], which of those a read brings along; `criteria`,
//! what a declaration adds to the criteria of a request, and `parameters`, the parameters that are no criteria.

mod association;
mod associations;
mod attribute;
mod criteria;
mod format;
mod half;
mod membership;
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
pub use attribute::{Attribute, Kind, Pattern, Violation};
pub use half::Unfit;
pub use membership::Membership;
pub use models::{Models, Undeclarable, Undeclared};
pub use pair::Side;
pub use populate::Populate;

/// What the records of one resource are like.
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
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// The name of the primary key.
    pub key: String,
    /// Where ids come from.
    pub ids: Ids,
    /// What is known of attributes, by name; there may be others.
    #[serde(deserialize_with = "attribute::by_name")]
    pub attributes: BTreeMap<String, Attribute>,
    /// What becomes of the others.
    pub unknown: Unknown,
    /// `createdAt` and `updatedAt`.
    pub timestamps: Timestamps,
    /// Whether a `PUT` of a record that is not there creates it.
    pub upsert: bool,
    /// The name in urls, where it is another than the resource's own: `todos`.
    pub plural: Option<String>,
    /// What is found when nothing is asked for.
    pub find: Find,
    /// How much at once.
    pub most: Most,
    /// Who may do what.
    pub access: Access,
    /// Whether a refused write may tell of records that the caller cannot read, by an id or a unique value that
    /// is taken. A unique value is then had by one of all records, and not by one of each owner.
    pub reveals: bool,
}

/// Where ids come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// The next free integer, unless the client gives one of any kind.
    #[default]
    Any,
    /// The next free integer, unless the client gives one.
    Integer,
    /// A version 7 UUID, unless the client gives one.
    Uuid,
    /// The client has to give one.
    Client,
}

/// What becomes of attributes that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// They are kept as they are.
    #[default]
    Keep,
    /// They are left out.
    Drop,
    /// The write is refused, and so is a read that asks about them.
    Refuse,
}

/// How the server notes when a record was created and last updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// Unix milliseconds.
    #[default]
    Ms,
    /// `2026-11-21T09:30:00.000Z`
    Iso,
    /// It does not.
    Off,
}

/// What a read gets that does not say.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Find {
    /// How many records, where the request has no `limit`; all by default.
    pub limit: Option<usize>,
    /// Which, where the request selects none.
    #[serde(rename = "where")]
    pub filter: Option<Attributes>,
    /// Which associations, where the request does not say.
    pub populate: Populate,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Most {
    /// Records in an answer: whoever asks for more gets these.
    pub records: Option<usize>,
    /// Bytes of a body, where that is less than the server's own limit.
    pub body: Option<usize>,
}

impl Default for Model {
    /// Anything goes.
    fn default() -> Self {
        Self {
            key: "id".to_owned(),
            ids: Ids::default(),
            attributes: BTreeMap::new(),
            unknown: Unknown::default(),
            timestamps: Timestamps::default(),
            upsert: false,
            plural: None,
            find: Find::default(),
            most: Most::default(),
            access: Access::default(),
            reveals: false,
        }
    }
}

impl Model {
    /// Declares one more attribute.
    pub fn attribute(mut self, name: impl Into<String>, attribute: Attribute) -> Self {
        self.attributes.insert(name.into(), attribute);
        self
    }

    /// The attributes that are associations.
    pub fn associations(&self) -> impl Iterator<Item = &str> + Clone {
        let associations = self.attributes.iter().filter(|(_, it)| it.is_association());
        associations.map(|(name, _)| name.as_str())
    }

    /// What a create says of the record's id; `None` leaves it to the server.
    pub fn id_of(&self, attributes: &Attributes) -> Result<Option<Id>, BadId> {
        let id = match attributes.get(&self.key) {
            None | Some(Value::Null) if self.ids == Ids::Client => return Err(BadId::Missing),
            None | Some(Value::Null) => return Ok(None),
            Some(value) => Id::from_json(value).ok_or(BadId::None)?,
        };
        if self.takes(&id) { Ok(Some(id)) } else { Err(BadId::OtherKind(self.ids)) }
    }

    /// Whether a new record may have this id, as far as its kind goes.
    pub fn takes(&self, id: &Id) -> bool {
        match (self.ids, id) {
            (Ids::Integer, Id::Text(_)) | (Ids::Uuid, Id::Integer(_)) => false,
            (Ids::Uuid, Id::Text(text)) => uuid::Uuid::try_parse(text).is_ok(),
            _ => true,
        }
    }

    /// A new record's attributes as they are stored: declared ones checked and filled in. All that is
    /// wrong with them is told at once.
    pub fn fill(&self, mut given: Attributes) -> Result<Attributes, Vec<Violation>> {
        for (name, attribute) in &self.attributes {
            if let (false, Some(default)) = (given.contains_key(name), &attribute.default) {
                given.insert(name.clone(), default.clone());
            }
        }
        let names = self.attributes.iter();
        let missing = names.filter(|(name, it)| it.required && !given.contains_key(*name));
        let missing: Vec<_> = missing.map(|(name, _)| Violation::missing(name)).collect();
        match self.check(given) {
            Ok(record) if missing.is_empty() => Ok(record),
            Ok(_) => Err(missing),
            Err(wrong) => Err(missing.into_iter().chain(wrong).collect()),
        }
    }

    /// Attributes that are to be set, as they are stored.
    pub fn check(&self, given: Attributes) -> Result<Attributes, Vec<Violation>> {
        let (mut checked, mut wrong) = (Attributes::new(), Vec::new());
        for (name, value) in given {
            match (self.attributes.get(&name), self.unknown) {
                (Some(attribute), _) => match attribute.take(&name, value) {
                    Ok(value) => drop(checked.insert(name, value)),
                    Err(violation) => wrong.push(violation),
                },
                (None, Unknown::Refuse) if self.refuses(&name) => {
                    wrong.push(Violation::unknown(&name));
                }
                (None, Unknown::Drop) if !self.is_own(&name) => {}
                (None, _) => drop(checked.insert(name, value)),
            }
        }
        if wrong.is_empty() { Ok(checked) } else { Err(wrong) }
    }

    /// Whether there can be no such attribute.
    pub fn refuses(&self, name: &str) -> bool {
        self.unknown == Unknown::Refuse && !self.attributes.contains_key(name) && !self.is_own(name)
    }

    /// The attributes that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str).chain(self.own())
    }

    /// The attributes that are the server's to set.
    fn own(&self) -> impl Iterator<Item = &str> {
        let times = TIMES.into_iter().filter(|_| self.timestamps != Timestamps::Off);
        times.chain([&*self.key])
    }

    fn is_own(&self, name: &str) -> bool {
        self.own().any(|own| own == name)
    }

    /// Sets what the server decides: timestamps, then the key. `createdAt` is not an update's to set.
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

    /// The values among these of which no two records may have the same, as they would be stored.
    pub fn claims(&self, given: &Attributes) -> Vec<(String, Value)> {
        let unique = self.attributes.iter().filter(|(_, attribute)| attribute.unique);
        let claim = |(name, attribute): (&String, &Attribute)| {
            let value = attribute.take(name, given.get(name)?.clone()).ok()?;
            (!value.is_null()).then(|| (name.clone(), value))
        };
        unique.filter_map(claim).collect()
    }

    /// The attribute with the owner, where each owner has unique values of their own.
    pub fn keeps_apart(&self) -> Option<&str> {
        self.access.keeps_apart().filter(|_| !self.reveals)
    }

    /// The attributes records are looked up by.
    pub fn indexed(&self) -> impl Iterator<Item = &str> {
        let owner = self.access.owner.as_ref();
        let is_indexed = |it: &Attribute| it.indexed || it.unique || it.model.is_some();
        let indexed = self.attributes.iter().filter(move |(_, it)| is_indexed(it));
        let indexed = indexed.filter(move |(name, _)| Some(*name) != owner);
        indexed.map(|(name, _)| name.as_str()).chain(owner.map(String::as_str))
    }
}

/// Whether two values of an attribute are the same: numbers are what they are in JavaScript.
pub fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The names of the timestamps.
const TIMES: [&str; 2] = ["createdAt", "updatedAt"];

/// Why something is not the id of a new record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadId {
    /// It cannot be an id at all.
    None,
    /// There is none, and the client has to give one.
    Missing,
    /// It is an id, but not of the kind that is declared.
    OtherKind(Ids),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Attributes {
        serde_json::from_value(value).unwrap()
    }

    fn told(wrong: Vec<Violation>) -> Vec<String> {
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
    fn an_undeclared_resource_takes_what_comes() {
        let record = map(json!({ "any": [1, null] }));
        assert_eq!(Model::default().fill(record.clone()), Ok(record));
    }

    #[test]
    fn defaults_are_filled_in_and_values_brought_to_their_type() {
        let record = user().fill(map(json!({ "name": 7, "age": "30" }))).unwrap();
        assert_eq!(record, map(json!({ "name": "7", "age": 30, "role": "user" })));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let wrong = user().fill(map(json!({ "age": 151, "role": "king" }))).unwrap_err();
        assert_eq!(
            told(wrong),
            ["name is required", "age is at most 150", "role is one of \"user\", \"admin\""]
        );
    }

    #[test]
    fn an_update_need_not_say_what_is_required_but_can_not_take_it_away() {
        assert!(user().check(map(json!({ "age": 3 }))).is_ok());
        let wrong = user().check(map(json!({ "name": null }))).unwrap_err();
        assert_eq!(told(wrong), ["name is required"]);
        assert_eq!(user().check(map(json!({ "age": null }))).unwrap()["age"], Value::Null);
    }

    #[test]
    fn what_is_not_declared_is_kept_dropped_or_refused() {
        let with = |unknown| Model { unknown, ..user() }.check(map(json!({ "x": 1, "id": 7 })));
        assert_eq!(with(Unknown::Keep), Ok(map(json!({ "x": 1, "id": 7 }))));
        assert_eq!(with(Unknown::Drop), Ok(map(json!({ "id": 7 }))));
        assert_eq!(told(with(Unknown::Refuse).unwrap_err()), ["x is not declared"]);
    }

    #[test]
    fn an_id_is_of_the_declared_kind() {
        let id = |ids, value: Value| {
            let model = Model { ids, key: "_id".to_owned(), ..Model::default() };
            model.id_of(&map(json!({ "_id": value })))
        };
        assert_eq!(id(Ids::Any, json!("a")), Ok(Some(Id::Text("a".into()))));
        assert_eq!(id(Ids::Integer, json!("7")), Ok(Some(Id::Integer(7))));
        assert_eq!(id(Ids::Integer, json!("a")), Err(BadId::OtherKind(Ids::Integer)));
        assert_eq!(id(Ids::Uuid, json!("a")), Err(BadId::OtherKind(Ids::Uuid)));
        assert_eq!(id(Ids::Uuid, Value::Null), Ok(None));
        assert_eq!(id(Ids::Client, Value::Null), Err(BadId::Missing));
        assert_eq!(id(Ids::Any, json!([])), Err(BadId::None));
    }

    #[test]
    fn timestamps_are_milliseconds_or_text_or_not_there() {
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
