//! Secrets: `key: 0123`, `key: {file: /run/secrets/key}`, `key: {env: KEY}`.
//!
//! A secret without a value (`key:`, `key: ~`, `key: null`) is an error. Read as a text it would be
//! the secret `~` or `null`, which anybody can guess.

use std::env;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{EnumAccess, Error as _, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::secret_files;

/// Reads a required secret: its text, or the file or variable that contains it.
pub(crate) fn secret<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    Secret::deserialize(deserializer).map(|Secret(secret)| secret)
}

/// Reads an optional secret.
pub(crate) fn maybe_secret<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    Ok(Option::<Secret<T>>::deserialize(deserializer)?.map(|Secret(secret)| secret))
}

struct Secret<T>(T);

/// Reads an option, because for serde only an option distinguishes `~` from `"~"`.
impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Reader<T> {
    type Value = Secret<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, {file: …} or {env: …}")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Secret<T>, E> {
        Err(E::custom("a secret is missing: expected a text, {file: …} or {env: …}"))
    }

    /// Reads an enum, because serde-saphyr gives an enum the text of a number as it is written:
    /// `0123` stays `0123`.
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret<T>, D::Error> {
        deserializer.deserialize_enum("secret", &["file", "env"], self)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Secret<T>, A::Error> {
        let (text, content): (String, _) = data.variant()?;
        let secret = match text.as_str() {
            "file" => read_file(&content.newtype_variant::<String>()?),
            "env" => read_variable(&content.newtype_variant::<String>()?),
            _ => {
                content.unit_variant().map_err(|_| {
                    A::Error::custom("a secret is a text, {file: …} or {env: …}, and nothing else")
                })?;
                text.parse().map_err(|error: T::Err| error.to_string())
            }
        };
        secret.map(Secret).map_err(A::Error::custom)
    }
}

/// Reads a secret from a file. Spaces and newlines around it are ignored.
fn read_file<T: FromStr<Err: fmt::Display>>(file: &str) -> Result<T, String> {
    let text = secret_files::read(file).map_err(|error| format!("{file}: {error}"))?;
    text.trim().parse().map_err(|error| format!("{file}: {error}"))
}

fn read_variable<T: FromStr<Err: fmt::Display>>(name: &str) -> Result<T, String> {
    let text = env::var(name).map_err(|error| format!("{name}: {error}"))?;
    text.parse().map_err(|error| format!("{name}: {error}"))
}
