//! Secrets: `key: 0123`, `key: {file: /run/secrets/key}`, `key: {env: KEY}`.

use std::env;
use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{EnumAccess, Error as _, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads one, from where it is said to be.
pub(crate) fn secret<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    Secret::deserialize(deserializer).map(|Secret(secret)| secret)
}

/// Reads one that there need not be.
pub(crate) fn maybe_secret<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    Ok(Option::<Secret<T>>::deserialize(deserializer)?.map(|Secret(secret)| secret))
}

struct Secret<T>(T);

/// An enum for serde, because to one the text of a number is given as it is written: `0123` stays that.
impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("secret", &["file", "env"], Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Reader<T> {
    type Value = Secret<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, {file: …} or {env: …}")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, said: A) -> Result<Secret<T>, A::Error> {
        let (text, place): (String, _) = said.variant()?;
        let text = match text.as_str() {
            "file" => of_file(place.newtype_variant()?),
            "env" => of_variable(place.newtype_variant()?),
            _ => place.unit_variant().map(|()| Ok(text)).map_err(|_| {
                A::Error::custom("a secret is a text, {file: …} or {env: …}, and nothing else")
            })?,
        };
        let secret = text.and_then(|text| text.parse().map_err(|error| format!("{error}")));
        secret.map(Secret).map_err(A::Error::custom)
    }
}

/// Spaces and newlines around it do not count.
fn of_file(file: String) -> Result<String, String> {
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    Ok(text.trim().to_owned())
}

fn of_variable(name: String) -> Result<String, String> {
    env::var(&name).map_err(|error| format!("{name}: {error}"))
}
