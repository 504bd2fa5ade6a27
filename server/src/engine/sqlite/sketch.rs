//! As much of a record as criteria look at: of many that are looked at, few are shown.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use rusqlite::Result;
use rusqlite::types::{FromSqlError, ValueRef};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::change::Attributes;

/// Some attributes of a record, and its text.
pub(super) struct Sketch {
    seen: Attributes,
    json: String,
}

impl Sketch {
    pub(super) fn read(json: ValueRef<'_>, names: &BTreeSet<&str>) -> Result<Self> {
        let json = json.as_str()?.to_owned();
        let seen = Named(names).deserialize(&mut serde_json::Deserializer::from_str(&json));
        Ok(Self { seen: seen.map_err(FromSqlError::other)?, json })
    }

    /// The record, whole.
    pub(super) fn record(&self) -> Result<Attributes> {
        Ok(serde_json::from_str(&self.json).map_err(FromSqlError::other)?)
    }
}

impl AsRef<Attributes> for Sketch {
    fn as_ref(&self) -> &Attributes {
        &self.seen
    }
}

/// The attributes with these names.
struct Named<'n>(&'n BTreeSet<&'n str>);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = Attributes;

    fn deserialize<D: Deserializer<'de>>(
        self,
        json: D,
    ) -> std::result::Result<Attributes, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = Attributes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Attributes, A::Error> {
        let mut seen = Attributes::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if self.0.contains(&*name) {
                seen.insert(name.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(seen)
    }
}
