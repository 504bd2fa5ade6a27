//! Blocks in which an unknown key is a warning and not an error. The SocketIO Web Service passed
//! these blocks to a library.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::{FileProblem, keys_of, unknown};
use crate::settings::MIGRATION_GUIDE;

/// The options of such a block.
pub(crate) trait Options: DeserializeOwned {
    /// The options of the library that have no effect in Backwire, each with what Backwire does
    /// instead.
    const IGNORED: &'static [(&'static str, &'static str)];
}

/// The known options of a block, and the keys that have no effect.
#[derive(Debug, Default)]
pub(crate) struct Block<T> {
    pub(crate) known: T,
    pub(crate) ignored_keys: Vec<IgnoredKey>,
}

/// A key that has no effect.
#[derive(Debug)]
pub(crate) struct IgnoredKey {
    name: String,
    at: (u64, u64),
    reason: String,
}

impl IgnoredKey {
    /// Returns the warning about the key, which is in this block.
    pub(crate) fn warning(&self, block: &str) -> FileProblem {
        let (line, column) = self.at;
        FileProblem::new(format!("{block}.{} changes nothing: {}", self.name, self.reason))
            .at(line, column)
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
        let mut ignored_keys = Vec::new();
        let keys = keys_of::<T>();
        let known =
            KnownEntries { entries, keys, ignored: T::IGNORED, ignored_keys: &mut ignored_keys };
        let known = T::deserialize(MapAccessDeserializer::new(known))?;
        Ok(Block { known, ignored_keys })
    }
}

/// The entries with known keys. The other keys are added to `ignored_keys`.
struct KnownEntries<'a, A> {
    entries: A,
    keys: Vec<&'static str>,
    ignored: &'static [(&'static str, &'static str)],
    ignored_keys: &'a mut Vec<IgnoredKey>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for KnownEntries<'_, A> {
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
            let reason = match ignored {
                Some((_, instead)) => format!("{instead} ({MIGRATION_GUIDE})"),
                None => unknown("key", &key.value, &self.keys),
            };
            self.ignored_keys.push(IgnoredKey { name: key.value, at, reason });
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.entries.next_value_seed(seed)
    }
}
