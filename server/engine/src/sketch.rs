//! As much of a record as criteria look at: of many that are looked at, few are shown.

use std::collections::BTreeSet;
use std::fmt;

use backwire_records::criteria::Look;
use backwire_records::dangling::Dangling;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Some attributes of a record.
#[derive(Debug)]
pub(super) struct Sketch<'n>(Seen<'n>);

type Seen<'n> = Vec<(&'n str, Value)>;

impl<'n> Sketch<'n> {
    /// Of a record's JSON.
    pub(super) fn read(json: &str, names: &BTreeSet<&'n str>) -> serde_json::Result<Self> {
        Named(names).deserialize(&mut serde_json::Deserializer::from_str(json)).map(Self)
    }

    /// As it is read where references dangle.
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

    /// Forgets all but these.
    pub(super) fn keep(&mut self, names: &BTreeSet<&str>) {
        self.0.retain(|(name, _)| names.contains(name));
        self.0.shrink_to_fit();
    }

    /// About the bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let each = self.0.iter().map(|(_, value)| size_of::<(&str, Value)>() + heap(value));
        size_of::<Self>() + each.sum::<usize>()
    }
}

/// About the bytes that a value has beside itself. A list or an object is only sorted by being one.
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

impl Look for Sketch<'_> {
    fn look(&self, name: &str) -> &Value {
        let seen = self.0.iter().find(|(seen, _)| *seen == name);
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
