//! One attribute, and what its values may be.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

use super::format;
use crate::change::Id;

/// What the values of one attribute may be. `null` is none, and allowed unless it is required.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attribute {
    /// Of which type; any by default. What is sent as another is brought to it where nothing is lost.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Whether there must be one; neither `null` nor `""` is.
    pub required: bool,
    /// What a new record gets that has none.
    pub default: Option<Value>,
    /// Whether no two records may have the same.
    pub unique: bool,
    /// Whether records are looked up by it: SQLite keeps an index.
    pub indexed: bool,
    /// The only values.
    #[serde(rename = "enum")]
    pub one_of: Option<Vec<Value>>,
    /// The least; of a string, its length in characters.
    pub min: Option<Number>,
    /// The most; of a string, its length in characters.
    pub max: Option<Number>,
    /// Whether it is the address of a mailbox.
    pub email: bool,
    /// Whether it is the address of a page, with http or https.
    pub url: bool,
    /// What it looks like: a regular expression, for any part of it unless it has `^` and `$`.
    pub regex: Option<Pattern>,
    /// It holds the id of a record of this resource. SQLite keeps an index.
    pub model: Option<String>,
    /// It is a collection of records of this resource, and not stored.
    pub collection: Option<String>,
    /// The attribute of those in the collection that leads back.
    pub via: Option<String>,
    /// As Sails has it of one side of a many-to-many association. Here both are the same.
    pub dominant: bool,
}

/// A type of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text.
    String,
    /// Any number.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// Anything.
    Json,
}

/// A regular expression.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// Of which attribute.
    #[serde(rename = "field")]
    pub attribute: String,
    /// What its value has to be.
    pub rule: String,
    /// The number the rule is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Number>,
}

impl Attribute {
    /// Holds the id of a record of a resource.
    pub fn model(resource: impl Into<String>) -> Self {
        Self { model: Some(resource.into()), ..Self::default() }
    }

    /// A collection of records of a resource, whose attribute `via` leads back.
    pub fn collection(resource: impl Into<String>, via: impl Into<String>) -> Self {
        Self { collection: Some(resource.into()), via: Some(via.into()), ..Self::default() }
    }

    pub(super) fn is_association(&self) -> bool {
        self.model.is_some() || self.collection.is_some()
    }

    /// Whether it says nothing of values.
    pub(super) fn has_no_rules(&self) -> bool {
        let said = self.clone();
        let other = Self { model: None, collection: None, via: None, dominant: false, ..said };
        other == Self::default()
    }

    /// The value as it is stored.
    pub(super) fn take(&self, name: &str, value: Value) -> Result<Value, Violation> {
        if self.collection.is_some() {
            return Err(Violation::collection(name));
        }
        if value.is_null() || (self.required && value == "") {
            return if self.required { Err(Violation::missing(name)) } else { Ok(value) };
        }
        let broken = |rule: String| Violation { attribute: name.to_owned(), rule, limit: None };
        let value = match &self.model {
            None => value,
            Some(model) => Id::from_json(&value)
                .map(|id| id.to_json())
                .ok_or_else(|| broken(format!("is the id of a {model}")))?,
        };
        let value = match self.kind {
            None => value,
            Some(kind) => kind.bring(value).ok_or_else(|| broken(format!("is {}", kind.name())))?,
        };
        if let Some(allowed) = &self.one_of
            && !allowed.contains(&value)
        {
            let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            return Err(broken(format!("is one of {}", allowed.join(", "))));
        }
        self.measure(name, &value)?;
        self.shape(&value).map_err(broken)?;
        Ok(value)
    }

    /// What criteria compare with it: as it would be stored, whatever else is asked of values.
    pub(super) fn bring(&self, value: Value) -> Option<Value> {
        let value = match &self.model {
            None => value,
            Some(_) => Id::from_json(&value)?.to_json(),
        };
        match self.kind {
            None => Some(value),
            Some(kind) => kind.bring(value),
        }
    }

    fn measure(&self, name: &str, value: &Value) -> Result<(), Violation> {
        let (size, unit) = match value {
            Value::String(text) => (text.chars().count() as f64, " characters long"),
            Value::Number(number) => (number.as_f64().unwrap_or(f64::NAN), ""),
            _ => return Ok(()),
        };
        let broken = |word, limit: &Number| Violation {
            attribute: name.to_owned(),
            rule: format!("is at {word} {limit}{unit}"),
            limit: Some(limit.clone()),
        };
        let of = |limit: &Number| limit.as_f64().unwrap_or(f64::NAN);
        match (&self.min, &self.max) {
            (Some(min), _) if size < of(min) => Err(broken("least", min)),
            (_, Some(max)) if size > of(max) => Err(broken("most", max)),
            _ => Ok(()),
        }
    }

    /// Rules of texts; what is none keeps none of them.
    fn shape(&self, value: &Value) -> Result<(), String> {
        let keeps = |rule: fn(&str) -> bool| value.as_str().is_some_and(rule);
        if self.email && !keeps(format::is_email) {
            return Err("is an e-mail address".to_owned());
        }
        if self.url && !keeps(format::is_url) {
            return Err("is an address with http or https".to_owned());
        }
        match &self.regex {
            Some(Pattern(regex)) if !value.as_str().is_some_and(|text| regex.is_match(text)) => {
                Err(format!("looks like {regex}"))
            }
            _ => Ok(()),
        }
    }
}

impl Kind {
    /// The value in this type, if nothing is lost: forms send everything as text.
    fn bring(self, value: Value) -> Option<Value> {
        match (self, value) {
            (Self::Json, value)
            | (Self::String, value @ Value::String(_))
            | (Self::Number, value @ Value::Number(_))
            | (Self::Boolean, value @ Value::Bool(_)) => Some(value),
            (Self::String, Value::Number(number)) => Some(Value::String(number.to_string())),
            (Self::Integer, Value::Number(number)) => whole(&number),
            (Self::Integer, Value::String(text)) => whole(&text.trim().parse().ok()?),
            (Self::Number, Value::String(text)) => {
                Some(Value::Number(text.trim().parse::<Number>().ok()?))
            }
            (Self::Boolean, Value::String(text)) => Some(Value::Bool(text.parse().ok()?)),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Json => "anything",
        }
    }
}

/// `3` and `3.0`, but not `3.5` nor what JavaScript cannot hold.
fn whole(number: &Number) -> Option<Value> {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    let exact = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() <= LARGEST)?;
    Some(Value::from(exact as i64))
}

impl Violation {
    pub(super) fn missing(name: &str) -> Self {
        Self { attribute: name.to_owned(), rule: "is required".to_owned(), limit: None }
    }

    fn collection(name: &str) -> Self {
        let rule = "is a collection, which is changed under its own path".to_owned();
        Self { attribute: name.to_owned(), rule, limit: None }
    }

    /// The same, of a record in a list.
    pub fn within(self, index: usize) -> Self {
        Self { attribute: format!("{index}.{}", self.attribute), ..self }
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self { attribute: name.to_owned(), rule: "is not declared".to_owned(), limit: None }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.attribute, self.rule)
    }
}

/// Attributes as a file says them: all there is to say of one, or its type alone.
pub(super) fn by_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Attribute>, D::Error> {
    struct Said(Attribute);

    impl<'de> Deserialize<'de> for Said {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(InEitherWay).map(Self)
        }
    }

    let said = BTreeMap::<String, Said>::deserialize(deserializer)?;
    Ok(said.into_iter().map(|(name, Said(attribute))| (name, attribute)).collect())
}

struct InEitherWay;

impl<'de> Visitor<'de> for InEitherWay {
    type Value = Attribute;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type, or {type: …} and what else there is to say")
    }

    fn visit_str<E: de::Error>(self, kind: &str) -> Result<Attribute, E> {
        let kind = Kind::deserialize(kind.into_deserializer())?;
        Ok(Attribute { kind: Some(kind), ..Attribute::default() })
    }

    /// Nothing is said of it but that it is one.
    fn visit_unit<E: de::Error>(self) -> Result<Attribute, E> {
        Ok(Attribute::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Attribute, A::Error> {
        Attribute::deserialize(MapAccessDeserializer::new(map))
    }
}

impl Pattern {
    /// A regular expression in the syntax of the crate `regex`, which needs linear time for any text.
    pub fn new(pattern: &str) -> Result<Self, regex::Error> {
        Regex::new(pattern).map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        Self::new(&pattern).map_err(serde::de::Error::custom)
    }
}

/// Whether a name can stand in a path and in SQL as it is.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(rules: Value, value: Value) -> Result<Value, String> {
        let attribute: Attribute = serde_json::from_value(rules).unwrap();
        attribute.take("it", value).map_err(|violation| violation.to_string())
    }

    #[test]
    fn a_value_is_brought_to_its_type_if_nothing_is_lost() {
        for (kind, given, stored) in [
            ("number", json!("4.5"), json!(4.5)),
            ("integer", json!("4"), json!(4)),
            ("integer", json!(4.0), json!(4)),
            ("string", json!(123), json!("123")),
            ("boolean", json!("true"), json!(true)),
            ("json", json!([1]), json!([1])),
        ] {
            assert_eq!(taken(json!({ "type": kind }), given), Ok(stored));
        }
        assert_eq!(
            taken(json!({ "type": "integer" }), json!(4.5)),
            Err("it is a whole number".into())
        );
        assert_eq!(
            taken(json!({ "type": "boolean" }), json!("yes")),
            Err("it is true or false".into())
        );
        assert_eq!(taken(json!({ "type": "string" }), json!({})), Err("it is a string".into()));
    }

    #[test]
    fn rules_name_what_they_ask_for() {
        let email = json!({ "email": true });
        assert!(taken(email.clone(), json!("ann@example.org")).is_ok());
        assert_eq!(taken(email, json!("ann")), Err("it is an e-mail address".into()));
        let short = json!({ "type": "string", "max": 3 });
        assert_eq!(taken(short, json!("Ünic")), Err("it is at most 3 characters long".into()));
        let zip = json!({ "regex": "^[0-9]{5}$" });
        assert!(taken(zip.clone(), json!("12345")).is_ok());
        assert_eq!(taken(zip, json!("1234")), Err("it looks like ^[0-9]{5}$".into()));
    }

    #[test]
    fn an_association_is_an_id_and_a_collection_is_not_set() {
        let owner = json!({ "model": "user" });
        assert_eq!(taken(owner.clone(), json!("7")), Ok(json!(7)));
        assert_eq!(taken(owner.clone(), Value::Null), Ok(Value::Null));
        assert_eq!(taken(owner, json!({ "id": 7 })), Err("it is the id of a user".into()));
        let pets = json!({ "collection": "pet", "via": "owner" });
        assert!(taken(pets, json!([])).unwrap_err().starts_with("it is a collection"));
    }

    #[test]
    fn null_is_none() {
        assert_eq!(taken(json!({ "type": "string", "email": true }), Value::Null), Ok(Value::Null));
        assert_eq!(taken(json!({ "required": true }), json!("")), Err("it is required".into()));
    }
}
