//! As much of a record as criteria look at: of many that are looked at, few are shown.

use std::collections::BTreeSet;
use std::fmt;

use rusqlite::types::{FromSqlError, ValueRef};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::change::Attributes;
use crate::criteria::Look;

/// Some attributes of a record, and its text.
pub(super) struct Sketch<'n> {
    seen: Seen<'n>,
    json: String,
}

type Seen<'n> = Vec<(&'n str, Value)>;

impl<'n> Sketch<'n> {
    pub(super) fn read(json: ValueRef<'_>, names: &BTreeSet<&'n str>) -> rusqlite::Result<Self> {
        let json = json.as_str()?.to_owned();
        let seen = Named(names).deserialize(&mut serde_json::Deserializer::from_str(&json));
        Ok(Self { seen: seen.map_err(FromSqlError::other)?, json })
    }

    /// The record, whole.
    pub(super) fn record(&self) -> rusqlite::Result<Attributes> {
        Ok(serde_json::from_str(&self.json).map_err(FromSqlError::other)?)
    }
}

impl Look for Sketch<'_> {
    fn look(&self, name: &str) -> &Value {
        let seen = self.seen.iter().find(|(seen, _)| *seen == name);
        seen.map_or(&Value::Null, |(_, value)| value)
    }
}

/// Reads the attributes with these names, and of a name which of them it is.
struct Named<'s, 'n>(&'s BTreeSet<&'n str>);

struct Name<'s, 'n>(&'s BTreeSet<&'n str>);

impl<'de, 'n> DeserializeSeed<'de> for Named<'_, 'n> {
    type Value = Seen<'n>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Seen<'n>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, 'n> Visitor<'de> for Named<'_, 'n> {
    type Value = Seen<'n>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen<'n>, A::Error> {
        let mut seen = Seen::new();
        while let Some(name) = map.next_key_seed(Name(self.0))? {
            match name {
                Some(name) => seen.push((name, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(seen)
    }
}

impl<'de, 'n> DeserializeSeed<'de> for Name<'_, 'n> {
    type Value = Option<&'n str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Name<'_, 'n> {
    type Value = Option<&'n str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(name).copied())
    }
}
