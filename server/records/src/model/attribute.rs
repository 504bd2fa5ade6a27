//! An attribute and the rules for its values.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

use super::format;
use crate::change::Id;

/// The rules for the values of one attribute. `null` counts as no value, and is allowed unless the
/// attribute is required.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attribute {
    /// The type; any by default. A value of another type is coerced if nothing is lost.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Whether a value is required; neither `null` nor `""` counts as one.
    pub required: bool,
    /// The value of a new record that has none.
    pub default: Option<Value>,
    /// Whether no two records may have the same value.
    pub unique: bool,
    /// Whether records are looked up by the attribute: SQLite keeps an index.
    pub indexed: bool,
    /// The allowed values.
    #[serde(rename = "enum")]
    pub one_of: Option<Vec<Value>>,
    /// The minimum; for a string, its length in characters.
    pub min: Option<Number>,
    /// The maximum; for a string, its length in characters.
    pub max: Option<Number>,
    /// Whether the value has to be an e-mail address.
    pub email: bool,
    /// Whether the value has to be a url with http or https.
    pub url: bool,
    /// A regular expression that the value has to match. It matches any part of the value unless it
    /// has `^` and `$`.
    pub regex: Option<Pattern>,
    /// The attribute holds the id of a record of this resource. SQLite keeps an index.
    pub model: Option<String>,
    /// The attribute is a collection of records of this resource, and not stored.
    pub collection: Option<String>,
    /// The attribute of the members of the collection that leads back.
    pub via: Option<String>,
    /// The `dominant` of Sails, for one side of a many-to-many association. It has no effect here.
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

/// A value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// The name of the attribute.
    #[serde(rename = "field")]
    pub attribute: String,
    /// The rule that the value breaks.
    pub rule: String,
    /// The number in the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Number>,
}

impl Attribute {
    /// Returns an attribute that holds the id of a record of a resource.
    pub fn model(resource: impl Into<String>) -> Self {
        Self { model: Some(resource.into()), ..Self::default() }
    }

    /// Returns a collection of records of a resource, whose attribute `via` leads back.
    pub fn collection(resource: impl Into<String>, via: impl Into<String>) -> Self {
        Self { collection: Some(resource.into()), via: Some(via.into()), ..Self::default() }
    }

    pub(super) fn is_association(&self) -> bool {
        self.model.is_some() || self.collection.is_some()
    }

    /// Whether there are no rules for values.
    pub(super) fn has_no_rules(&self) -> bool {
        let own = self.clone();
        let rules = Self { model: None, collection: None, via: None, dominant: false, ..own };
        rules == Self::default()
    }

    /// Checks a value, and returns it as it is stored.
    pub(super) fn to_stored(&self, name: &str, value: Value) -> Result<Value, Violation> {
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
            Some(kind) => {
                kind.coerce(value).ok_or_else(|| broken(format!("is {}", kind.name())))?
            }
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

    /// Coerces a value in criteria as if it were stored. Other rules are not checked.
    pub(super) fn coerce(&self, value: Value) -> Option<Value> {
        let value = match &self.model {
            None => value,
            Some(_) => Id::from_json(&value)?.to_json(),
        };
        match self.kind {
            None => Some(value),
            Some(kind) => kind.coerce(value),
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

    /// Checks the rules for texts. A value that is not a text breaks all of them.
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
    /// Coerces a value to this type, if nothing is lost: forms send everything as text.
    fn coerce(self, value: Value) -> Option<Value> {
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

/// Converts `3` and `3.0`, but neither `3.5` nor numbers that JavaScript cannot represent exactly.
fn whole(number: &Number) -> Option<Value> {
    const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
    let exact = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() <= MAX_SAFE_INTEGER)?;
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

    /// Returns the violation with the index of its record in a list.
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

/// Deserializes the attributes in a file. Each is an object with rules, or only a type.
pub(super) fn by_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Attribute>, D::Error> {
    struct RawAttribute(Attribute);

    impl<'de> Deserialize<'de> for RawAttribute {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(AttributeVisitor).map(Self)
        }
    }

    let raw = BTreeMap::<String, RawAttribute>::deserialize(deserializer)?;
    Ok(raw.into_iter().map(|(name, RawAttribute(attribute))| (name, attribute)).collect())
}

struct AttributeVisitor;

impl<'de> Visitor<'de> for AttributeVisitor {
    type Value = Attribute;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type, or {type: …} and what else there is to say")
    }

    fn visit_str<E: de::Error>(self, kind: &str) -> Result<Attribute, E> {
        let kind = Kind::deserialize(kind.into_deserializer())?;
        Ok(Attribute { kind: Some(kind), ..Attribute::default() })
    }

    /// Accepts an attribute without any rules.
    fn visit_unit<E: de::Error>(self) -> Result<Attribute, E> {
        Ok(Attribute::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Attribute, A::Error> {
        Attribute::deserialize(MapAccessDeserializer::new(map))
    }
}

impl Pattern {
    /// Parses a regular expression in the syntax of the crate `regex`, which needs linear time for
    /// any text.
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

    fn stored(rules: Value, value: Value) -> Result<Value, String> {
        let attribute: Attribute = serde_json::from_value(rules).unwrap();
        attribute.to_stored("it", value).map_err(|violation| violation.to_string())
    }

    #[test]
    fn value_is_coerced_to_its_type_if_nothing_is_lost() {
        for (kind, given, expected) in [
            ("number", json!("4.5"), json!(4.5)),
            ("integer", json!("4"), json!(4)),
            ("integer", json!(4.0), json!(4)),
            ("string", json!(123), json!("123")),
            ("boolean", json!("true"), json!(true)),
            ("json", json!([1]), json!([1])),
        ] {
            assert_eq!(stored(json!({ "type": kind }), given), Ok(expected));
        }
        assert_eq!(
            stored(json!({ "type": "integer" }), json!(4.5)),
            Err("it is a whole number".into())
        );
        assert_eq!(
            stored(json!({ "type": "boolean" }), json!("yes")),
            Err("it is true or false".into())
        );
        assert_eq!(stored(json!({ "type": "string" }), json!({})), Err("it is a string".into()));
    }

    #[test]
    fn message_states_the_broken_rule() {
        let email = json!({ "email": true });
        assert!(stored(email.clone(), json!("ann@example.org")).is_ok());
        assert_eq!(stored(email, json!("ann")), Err("it is an e-mail address".into()));
        let short = json!({ "type": "string", "max": 3 });
        assert_eq!(stored(short, json!("Ünic")), Err("it is at most 3 characters long".into()));
        let zip = json!({ "regex": "^[0-9]{5}$" });
        assert!(stored(zip.clone(), json!("12345")).is_ok());
        assert_eq!(stored(zip, json!("1234")), Err("it looks like ^[0-9]{5}$".into()));
    }

    #[test]
    fn association_is_an_id_and_a_collection_cannot_be_set() {
        let owner = json!({ "model": "user" });
        assert_eq!(stored(owner.clone(), json!("7")), Ok(json!(7)));
        assert_eq!(stored(owner.clone(), Value::Null), Ok(Value::Null));
        assert_eq!(stored(owner, json!({ "id": 7 })), Err("it is the id of a user".into()));
        let pets = json!({ "collection": "pet", "via": "owner" });
        assert!(stored(pets, json!([])).unwrap_err().starts_with("it is a collection"));
    }

    #[test]
    fn null_is_allowed_and_empty_string_is_not_if_required() {
        assert_eq!(
            stored(json!({ "type": "string", "email": true }), Value::Null),
            Ok(Value::Null)
        );
        assert_eq!(stored(json!({ "required": true }), json!("")), Err("it is required".into()));
    }
}
