//! The attributes of a record that criteria read. Criteria read many records of which the answer
//! contains few, so the others are not parsed as a whole.

use std::collections::BTreeSet;
use std::fmt;

use backwire_records::criteria::HasAttributes;
use backwire_records::dangling::Dangling;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Some attributes of a record.
#[derive(Debug)]
pub(super) struct PartialRecord<'n>(NamedValues<'n>);

type NamedValues<'n> = Vec<(&'n str, Value)>;

impl<'n> PartialRecord<'n> {
    /// Parses the attributes with these names from a record's JSON.
    pub(super) fn read(json: &str, names: &BTreeSet<&'n str>) -> serde_json::Result<Self> {
        AttributesSeed(names).deserialize(&mut serde_json::Deserializer::from_str(json)).map(Self)
    }

    /// Removes dangling references. Returns `None` for a dangling pair.
    pub(super) fn resolve(mut self, dangling: &Dangling) -> Option<Self> {
        match dangling {
            Dangling::Nothing => Some(self),
            Dangling::Pair => None,
            Dangling::Attributes(names) => {
                self.0.retain(|(name, _)| !names.iter().any(|dangling| dangling == name));
                Some(self)
            }
        }
    }

    /// Removes all attributes except these.
    pub(super) fn keep(&mut self, names: &BTreeSet<&str>) {
        self.0.retain(|(name, _)| names.contains(name));
        self.0.shrink_to_fit();
    }

    /// Returns the approximate bytes that it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let each = self.0.iter().map(|(_, value)| size_of::<(&str, Value)>() + heap(value));
        size_of::<Self>() + each.sum::<usize>()
    }
}

/// Returns the approximate bytes that a value has on the heap.
fn heap(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|value| size_of::<Value>() + heap(value)).sum(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| 2 * size_of::<Value>() + name.len() + heap(value)).sum()
        }
        _ => 0,
    }
}

impl HasAttributes for PartialRecord<'_> {
    fn attribute(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|(own, _)| *own == name);
        found.map_or(&Value::Null, |(_, value)| value)
    }
}

/// Deserializes the attributes with these names.
struct AttributesSeed<'s, 'n>(&'s BTreeSet<&'n str>);

/// Deserializes a name, if it is one of these.
struct NameSeed<'s, 'n>(&'s BTreeSet<&'n str>);

impl<'de, 'n> DeserializeSeed<'de> for AttributesSeed<'_, 'n> {
    type Value = NamedValues<'n>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<NamedValues<'n>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, 'n> Visitor<'de> for AttributesSeed<'_, 'n> {
    type Value = NamedValues<'n>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedValues<'n>, A::Error> {
        let mut values = NamedValues::new();
        while let Some(name) = map.next_key_seed(NameSeed(self.0))? {
            match name {
                Some(name) => values.push((name, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

impl<'de, 'n> DeserializeSeed<'de> for NameSeed<'_, 'n> {
    type Value = Option<&'n str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for NameSeed<'_, 'n> {
    type Value = Option<&'n str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.get(name).copied())
    }
}
