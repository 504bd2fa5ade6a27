//! Blocks in which a key that is none is no mistake: those that once were handed to a library as they are.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::{Bad, keys_of, unknown};
use crate::settings::PAGE;

/// What the library understood that a block was handed to.
pub(crate) trait Options: DeserializeOwned {
    /// Its options that have no meaning here, and what is so instead.
    const IGNORED: &'static [(&'static str, &'static str)];
}

/// What is understood of a block, and what is not.
#[derive(Debug, Default)]
pub(crate) struct Block<T> {
    pub(crate) known: T,
    pub(crate) strays: Vec<Stray>,
}

/// A key that changes nothing.
#[derive(Debug)]
pub(crate) struct Stray {
    name: String,
    at: (u64, u64),
    what: String,
}

impl Stray {
    /// What is to be told of it, in which block it stands.
    pub(crate) fn within(&self, block: &str) -> Bad {
        let (line, column) = self.at;
        Bad::new(format!("{block}.{} changes nothing: {}", self.name, self.what)).at(line, column)
    }
}

impl<'de, T: Options> Deserialize<'de> for Block<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: Options> Visitor<'de> for Reader<T> {
    type Value = Block<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Block<T>, A::Error> {
        let mut strays = Vec::new();
        let keys = keys_of::<T>();
        let known = Known { entries, keys, ignored: T::IGNORED, strays: &mut strays };
        let known = T::deserialize(MapAccessDeserializer::new(known))?;
        Ok(Block { known, strays })
    }
}

/// The entries with keys that are known; the others are only written down.
struct Known<'a, A> {
    entries: A,
    keys: Vec<&'static str>,
    ignored: &'static [(&'static str, &'static str)],
    strays: &'a mut Vec<Stray>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Known<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.entries.next_key::<Spanned<String>>()? {
            if self.keys.contains(&key.value.as_str()) {
                return seed.deserialize(key.value.into_deserializer()).map(Some);
            }
            self.entries.next_value::<IgnoredAny>()?;
            let at = (key.referenced.line(), key.referenced.column());
            let ignored = self.ignored.iter().find(|(name, _)| *name == key.value);
            let what = match ignored {
                Some((_, instead)) => format!("{instead} ({PAGE})"),
                None => unknown("key", &key.value, &self.keys),
            };
            self.strays.push(Stray { name: key.value, at, what });
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.entries.next_value_seed(seed)
    }
}
