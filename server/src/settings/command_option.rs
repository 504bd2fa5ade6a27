//! The options of a command line that set settings, for programs that have one.
//!
//! The library parses no command line. A program adds [`CommandOption::ALL`] to its own options,
//! parses each given text, and applies the results to the settings.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backwire_records::model::Conventions;

use super::table::for_each_setting;
use super::value::SettingValue;
use super::{AllowedHost, AllowedOrigin, ApiKey, SessionSecret, Settings, Store};
use crate::route::Shortcuts;
use crate::secret_files;

/// An option that sets a setting.
///
/// ```
/// use backwire::Settings;
/// use backwire::settings::CommandOption;
///
/// let mut settings = Settings::default();
/// let option = CommandOption::ALL.iter().find(|option| option.name == "log-age").unwrap();
/// option.apply([&option.parse("90s".as_ref())?], &mut settings);
/// assert_eq!(settings.log_age.as_secs(), 90);
/// # Ok::<_, String>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandOption {
    /// The key of the setting in a configuration file.
    pub key: &'static str,
    /// The long name, without dashes before it.
    pub name: &'static str,
    /// The environment variable that sets it, too.
    pub variable: &'static str,
    /// The name of its value in a help text.
    pub value_name: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The kind of its text.
    pub kind: TextKind,
    /// Whether it may be repeated. Each text may have several items, separated by commas.
    pub is_list: bool,
    parse: fn(TextKind, &OsStr) -> Result<Assignment, String>,
    clear: fn(&mut Settings),
}

/// The kind of the text of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextKind {
    /// The value.
    Value,
    /// A key, or a value that may contain one. Help texts do not show the value of its variable,
    /// and errors do not show the text.
    Key,
    /// A secret that should be in the variable, because everybody on the machine can read a command
    /// line. Help texts do not show the option, and errors do not show the secret.
    Variable,
    /// A path, which may be any text of the operating system.
    Path,
    /// The path of a file that contains a secret. The server never serves this file.
    File,
}

/// A parsed item of an option.
#[derive(Clone)]
pub struct Assignment(Arc<dyn Fn(&mut Settings) + Send + Sync>);

impl CommandOption {
    /// Parses one item.
    pub fn parse(&self, text: &OsStr) -> Result<Assignment, String> {
        (self.parse)(self.kind, text)
    }

    /// Applies all given items of the option. They replace the value that the setting had.
    pub fn apply<'a>(
        &self,
        items: impl IntoIterator<Item = &'a Assignment>,
        settings: &mut Settings,
    ) {
        (self.clear)(settings);
        items.into_iter().for_each(|Assignment(assign)| assign(settings));
    }
}

macro_rules! define_options {
    ($(
        $(#[$doc:meta])+
        $field:ident: $type:ty = $default:expr => {
            key: $key:literal,
            builder: $verb:literal $method:ident($parameter:ty),
            options: [$($kind:ident($name:literal, $variable:literal, $value_name:literal, $help:literal)),* $(,)?],
        }
    )+) => {
        impl CommandOption {
            /// All options.
            pub const ALL: &[Self] = &[$($(Self {
                key: $key,
                name: $name,
                variable: $variable,
                value_name: $value_name,
                help: $help,
                kind: TextKind::$kind,
                is_list: <$type>::IS_LIST,
                parse: |kind, text| {
                    let item = parse::<$type>(kind, text)?;
                    Ok(Assignment(Arc::new(move |settings| settings.$field.set(item.clone()))))
                },
                clear: |settings| SettingValue::clear(&mut settings.$field),
            },)*)+];
        }
    };
}

for_each_setting!(define_options);

fn parse<T: SettingValue>(kind: TextKind, text: &OsStr) -> Result<T::Item, String> {
    if kind != TextKind::File {
        return T::parse(text);
    }
    let file = text.display();
    let secret = secret_files::read(text).map_err(|error| format!("{file}: {error}"))?;
    T::parse(secret.trim().as_ref()).map_err(|reason| format!("{file}: {reason}"))
}

/// It may be a secret, so the item is not shown.
impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assignment(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_page_lists_each_option_with_its_variable_and_key() {
        let page = include_str!("../../../docs/reference/configuration.md");
        let mentions = |word: &str| page.contains(&format!("`{word}`"));
        for CommandOption { key, name, variable, kind, .. } in CommandOption::ALL {
            assert!(mentions(key) && mentions(variable), "{key} {variable}");
            assert!(*kind == TextKind::Variable || mentions(&format!("--{name}")), "{name}");
        }
    }

    #[test]
    fn items_of_an_option_replace_a_list() {
        let option = CommandOption::ALL.iter().find(|option| option.name == "origin").unwrap();
        let items = ["http://b", "http://c"].map(|text| option.parse(text.as_ref()).unwrap());
        let mut settings = Settings::default();
        settings.origins.push("http://a".parse().unwrap());
        option.apply(&items, &mut settings);
        assert_eq!(settings.origins, ["http://b", "http://c"].map(|it| it.parse().unwrap()));
    }
}
