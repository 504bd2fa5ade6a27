//! An attribute and the rules for its values.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

use super::kind::CriteriaType;
use super::{Conventions, Ids, Kind, format};
use crate::change::Id;

/// The rules for the values of one attribute. Neither `null` nor `""` is a value: only [`null`] and
/// [`required`] are rules about them, besides the type.
///
/// [`null`]: Self::null
/// [`required`]: Self::required
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Attribute {
    /// The type; any by default. A value of another type is coerced if it can be, as in Sails.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Whether a value is required; neither `null` nor `""` counts as one.
    pub required: bool,
    /// Whether `null` is allowed. `None` leaves it to the conventions: it is, but with those of
    /// Sails only for an association, and for anything but a string, a number or a boolean.
    pub null: Option<bool>,
    /// The value of a new record that has none. It may be `null`.
    #[serde(deserialize_with = "some_value")]
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
    /// The ids of the resource in `model`. The server sets it when it starts.
    #[serde(skip)]
    pub target_ids: Ids,
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
    pub(super) fn to_stored(
        &self,
        name: &str,
        value: Value,
        conventions: Conventions,
    ) -> Result<Value, Violation> {
        if self.collection.is_some() {
            return Err(Violation::collection(name));
        }
        if self.required && (value.is_null() || value == "") {
            return Err(Violation::missing(name));
        }
        if value.is_null() {
            let is_allowed = self.allows_null(conventions);
            return if is_allowed { Ok(value) } else { Err(Violation::null(name)) };
        }
        let broken = |rule: String| Violation { attribute: name.to_owned(), rule, limit: None };
        let value = match &self.model {
            None => value,
            Some(model) => {
                let id = self.id_in(value, conventions);
                id.ok_or_else(|| broken(format!("is the id of a {model}")))?
            }
        };
        let value = match self.kind {
            None => value,
            Some(kind) => {
                kind.coerce(value).ok_or_else(|| broken(format!("is {}", kind.name())))?
            }
        };
        if value == "" {
            return Ok(value);
        }
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

    fn allows_null(&self, conventions: Conventions) -> bool {
        let has_simple_type = self.kind.is_some_and(|kind| kind != Kind::Json);
        let is_default = self.default == Some(Value::Null);
        let by_convention = !conventions.are_of_sails() || !has_simple_type || is_default;
        self.null.unwrap_or(by_convention || self.model.is_some())
    }

    /// Returns the value as the id of a record of the associated resource.
    fn id_in(&self, value: Value, conventions: Conventions) -> Option<Value> {
        if self.target_ids != Ids::Integer {
            return Id::from_json(&value).map(|id| id.to_json());
        }
        let integer = match &value {
            Value::String(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            value => value.as_i64()?,
        };
        let is_id = Id::Integer(integer).is_exact();
        (is_id && (integer > 0 || !conventions.are_of_sails())).then(|| integer.into())
    }

    /// Returns the value of a new record that has none.
    pub(super) fn value_if_missing(&self, conventions: Conventions) -> Option<Value> {
        if self.required || self.collection.is_some() || !conventions.are_of_sails() {
            return None;
        }
        Some(match self.kind {
            Some(kind) if self.model.is_none() && !self.allows_null(conventions) => kind.empty(),
            _ => Value::Null,
        })
    }

    /// Returns the type that criteria compare the values with; `None` if they may have any type.
    pub(super) fn type_in_criteria(&self, conventions: Conventions) -> Option<CriteriaType> {
        match self.kind {
            _ if self.target_ids == Ids::Integer => Some(CriteriaType::Kind(Kind::Number)),
            None if self.model.is_some() => Some(CriteriaType::Id),
            Some(Kind::Json) if conventions.are_of_sails() => Some(CriteriaType::Elements),
            None | Some(Kind::Json) => None,
            // A whole number may be compared with any number.
            Some(Kind::Integer) => Some(CriteriaType::Kind(Kind::Number)),
            Some(kind) => Some(CriteriaType::Kind(kind)),
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

impl Violation {
    pub(super) fn missing(name: &str) -> Self {
        Self { attribute: name.to_owned(), rule: "is required".to_owned(), limit: None }
    }

    fn null(name: &str) -> Self {
        Self { attribute: name.to_owned(), rule: "cannot be null".to_owned(), limit: None }
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

/// Deserializes a default. `null` is a default, too.
fn some_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
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
        stored_by(Conventions::Backwire, rules, value)
    }

    fn stored_by(by: Conventions, rules: Value, value: Value) -> Result<Value, String> {
        let attribute: Attribute = serde_json::from_value(rules).unwrap();
        attribute.to_stored("it", value, by).map_err(|violation| violation.to_string())
    }

    #[test]
    fn value_that_cannot_be_coerced_to_its_type_is_refused() {
        assert_eq!(stored(json!({ "type": "number" }), json!("05")), Ok(json!(5)));
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
    fn id_of_an_integer_key_is_an_integer() {
        let owner = |by, value| {
            let owner = Attribute { target_ids: Ids::Integer, ..Attribute::model("user") };
            owner.to_stored("it", value, by).map_err(|violation| violation.to_string())
        };
        for by in [Conventions::Backwire, Conventions::Sails] {
            assert_eq!(owner(by, json!("07")), Ok(json!(7)));
            assert_eq!(owner(by, json!(7)), Ok(json!(7)));
            assert_eq!(owner(by, Value::Null), Ok(Value::Null));
            let exact = Id::MAX_SAFE_INTEGER;
            for invalid in [json!("abc"), json!(""), json!("7.0"), json!(1.5), json!(exact + 1)] {
                assert_eq!(owner(by, invalid), Err("it is the id of a user".into()));
            }
        }
        assert_eq!(owner(Conventions::Backwire, json!(0)), Ok(json!(0)));
        assert!(owner(Conventions::Sails, json!(0)).is_err());
    }

    #[test]
    fn null_is_allowed_unless_the_model_or_the_conventions_forbid_it() {
        let (own, sails) = (Conventions::Backwire, Conventions::Sails);
        let refused = || Err("it cannot be null".to_owned());
        for (rules, by_own, by_sails) in [
            (json!({ "type": "string", "email": true }), true, false),
            (json!({ "type": "number" }), true, false),
            (json!({ "type": "boolean", "null": true }), true, true),
            (json!({ "type": "boolean", "null": false }), false, false),
            (json!({ "type": "json" }), true, true),
            (json!({ "type": "json", "null": false }), false, false),
            (json!({ "type": "string", "default": null }), true, true),
            (json!({ "model": "user", "type": "integer" }), true, true),
            (json!({}), true, true),
        ] {
            let expected = |is_allowed| if is_allowed { Ok(Value::Null) } else { refused() };
            assert_eq!(stored_by(own, rules.clone(), Value::Null), expected(by_own), "{rules}");
            assert_eq!(stored_by(sails, rules.clone(), Value::Null), expected(by_sails), "{rules}");
        }
        let required = json!({ "required": true, "null": true });
        assert_eq!(stored(required, Value::Null), Err("it is required".into()));
    }

    #[test]
    fn empty_string_is_no_value_for_the_rules() {
        for rules in [
            json!({ "type": "string", "email": true }),
            json!({ "enum": ["cat", "dog"], "min": 3 }),
            json!({ "url": true, "regex": "^x$" }),
        ] {
            assert_eq!(stored(rules.clone(), json!("")), Ok(json!("")));
            assert!(stored(rules, json!(" ")).is_err());
        }
        assert_eq!(stored(json!({ "required": true }), json!("")), Err("it is required".into()));
        assert_eq!(stored(json!({ "type": "number" }), json!("")), Err("it is a number".into()));
    }
}
