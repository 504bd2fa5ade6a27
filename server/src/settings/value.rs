//! The types of settings: how a value is read from a file and from a text, and how it is shown.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use backwire_records::model::Conventions;
use serde::{Deserialize, Deserializer};

use super::{ApiKey, SessionSecret, Store};
use crate::duration;
use crate::route::Shortcuts;
use crate::yaml;

/// The type of a setting.
pub(crate) trait SettingValue: Sized {
    /// The value that an option of the command line and a method of the builder set.
    type Item: Clone + Send + Sync + 'static;

    /// Whether options and methods may be repeated, each with one item of a list.
    const IS_LIST: bool = false;

    /// Parses an item from an option or a variable.
    fn parse(text: &OsStr) -> Result<Self::Item, String>;

    /// Replaces the value by an item, or adds the item to a list.
    fn set(&mut self, item: Self::Item);

    /// Removes the items that those of another source replace.
    fn clear(&mut self) {}

    /// Reads the value from a configuration file. `None` means that the key has no value.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error>;

    /// Returns the value as a configuration file has it, without secrets. `None` means that the
    /// summary of the settings leaves it out.
    fn show(&self) -> Option<String>;
}

/// Reads a setting from a configuration file.
pub(crate) fn read<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: SettingValue,
{
    T::read(deserializer)
}

fn parse_text<T: FromStr<Err: fmt::Display>>(text: &OsStr) -> Result<T, String> {
    utf8(text)?.parse().map_err(|error: T::Err| error.to_string())
}

fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "it is not UTF-8".to_owned())
}

/// Implements the trait for values that an item replaces.
macro_rules! setting_values {
    ($($type:ty, parse: $parse:expr, read: $read:expr, show: $show:expr;)+) => {$(
        impl SettingValue for $type {
            type Item = Self;

            fn parse(text: &OsStr) -> Result<Self, String> {
                $parse(text)
            }

            fn set(&mut self, item: Self) {
                *self = item;
            }

            fn read<'de, D: Deserializer<'de>>(it: D) -> Result<Option<Self>, D::Error> {
                $read(it)
            }

            fn show(&self) -> Option<String> {
                Some($show(self))
            }
        }
    )+};
}

setting_values! {
    bool, parse: parse_text, read: Option::deserialize, show: Self::to_string;
    IpAddr, parse: parse_text, read: yaml::maybe_address, show: Self::to_string;
    u16, parse: port, read: yaml::maybe_port, show: Self::to_string;
    u64, parse: parse_text, read: Option::deserialize, show: Self::to_string;
    usize, parse: parse_text, read: Option::deserialize, show: Self::to_string;
    String, parse: parse_text, read: Option::deserialize, show: |text| format!("{text:?}");
    Store, parse: parse_text, read: yaml::parse_optional_text, show: Self::to_string;
    Conventions, parse: parse_text, read: yaml::parse_optional_text, show: Self::to_string;
    Duration, parse: |text| duration::duration(utf8(text)?), read: yaml::duration,
        show: |duration: &Self| format!("{}s", duration.as_secs());
}

/// Parses a port. 0 means any free port.
fn port(text: &OsStr) -> Result<u16, String> {
    let number: i64 = parse_text(text)?;
    u16::try_from(number).map_err(|_| format!("{number} is not in 0..={}", u16::MAX))
}

/// Implements the trait for values that may be missing.
macro_rules! optional_setting_values {
    ($($type:ty, parse: $parse:expr, item: $item:expr, read: $read:expr, show: $show:expr;)+) => {$(
        impl SettingValue for Option<$type> {
            type Item = $type;

            fn parse(text: &OsStr) -> Result<$type, String> {
                $parse(text)
            }

            fn set(&mut self, item: $type) {
                *self = $item(item);
            }

            fn read<'de, D: Deserializer<'de>>(it: D) -> Result<Option<Self>, D::Error> {
                let value: Option<$type> = $read(it)?;
                Ok(value.map($item))
            }

            fn show(&self) -> Option<String> {
                $show(self.as_ref())
            }
        }
    )+};
}

optional_setting_values! {
    PathBuf, parse: |text| Ok(PathBuf::from(text)), item: Some, read: Option::deserialize,
        show: |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    ApiKey, parse: parse_text, item: Some, read: yaml::maybe_secret, show: show_secret;
    SessionSecret, parse: parse_text, item: Some, read: yaml::maybe_secret, show: show_secret;
    Shortcuts, parse: parse_text, item: Some, read: Option::deserialize,
        show: |shortcuts: Option<&Shortcuts>| shortcuts.map(|it| format!("{it:?}").to_lowercase());
    Duration, parse: |text| duration::seconds(utf8(text)?), item: unless_zero, read: yaml::seconds,
        show: |duration: Option<&Duration>| {
            Some(duration.map_or(0, Duration::as_secs).to_string())
        };
}

/// Zero means for ever.
fn unless_zero(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

/// Shows whether a secret is set.
#[expect(clippy::unnecessary_wraps, reason = "other values may be left out")]
fn show_secret<T>(secret: Option<&T>) -> Option<String> {
    Some(if secret.is_some() { "(set)" } else { "~" }.to_owned())
}

impl<T> SettingValue for Vec<T>
where
    T: FromStr<Err: fmt::Display> + fmt::Display + Clone + Send + Sync + 'static,
    T: for<'de> Deserialize<'de>,
{
    type Item = T;

    const IS_LIST: bool = true;

    fn parse(text: &OsStr) -> Result<T, String> {
        parse_text(text)
    }

    fn set(&mut self, item: T) {
        self.push(item);
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        yaml::maybe_list(deserializer)
    }

    fn show(&self) -> Option<String> {
        let items: Vec<_> = self.iter().map(ToString::to_string).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}
