//! The options that set settings. They are derived from the definition of the settings.

use std::ffi::OsStr;

use backwire::settings::{Assignment, CommandOption, Settings, TextKind};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// The options that were given, on the command line or in variables.
#[derive(Debug, Default)]
pub(super) struct SettingOptions(Vec<(&'static CommandOption, Vec<Assignment>)>);

impl SettingOptions {
    /// Whether an option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(option, _)| option.name == name)
    }

    /// Sets the settings of the options that were given.
    pub(super) fn apply_to(&self, settings: &mut Settings) {
        self.0.iter().for_each(|(option, items)| option.apply(items, settings));
    }
}

impl Args for SettingOptions {
    fn augment_args(command: Command) -> Command {
        let mut options: Vec<_> = CommandOption::ALL.iter().collect();
        // Most people look for the port, so the help text begins with it.
        options.sort_by_key(|option| option.name != "port");
        command.args(options.into_iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let given = |option: &'static CommandOption| {
            let items = matches.get_many::<Assignment>(option.name)?;
            Some((option, items.cloned().collect()))
        };
        self.0.extend(CommandOption::ALL.iter().filter_map(given));
        Ok(())
    }
}

fn argument(option: &'static CommandOption) -> Arg {
    let argument = Arg::new(option.name)
        .long(option.name)
        .env(option.variable)
        .value_name(option.value_name)
        .help(option.help)
        .hide(option.kind == TextKind::Variable)
        .hide_env_values(option.kind == TextKind::Key)
        .conflicts_with_all(others_of_setting(option))
        .value_parser(OptionParser(option));
    match option.is_list {
        true => argument.action(ArgAction::Append).value_delimiter(','),
        false => argument,
    }
}

/// Returns the names of the other options for the same setting.
fn others_of_setting(option: &CommandOption) -> impl Iterator<Item = &'static str> {
    let (key, name) = (option.key, option.name);
    let others = CommandOption::ALL.iter().map(|other| (other.key, other.name));
    others.filter(move |other| other.0 == key && other.1 != name).map(|(_, name)| name)
}

/// Parses the text of an option.
#[derive(Clone)]
struct OptionParser(&'static CommandOption);

impl TypedValueParser for OptionParser {
    type Value = Assignment;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        text: &OsStr,
    ) -> Result<Assignment, Error> {
        let Self(option) = *self;
        let parse = |text: &str| option.parse(text.as_ref());
        match option.kind {
            TextKind::Path => {
                let parser = PathBufValueParser::new().try_map(|path| option.parse(path.as_ref()));
                parser.parse_ref(command, argument, text)
            }
            // Unlike clap's own errors, this one does not show the secret.
            TextKind::Key | TextKind::Variable => {
                parse(text.to_str().unwrap_or_default()).map_err(|reason| {
                    let reason = match option.kind {
                        TextKind::Key => format!("--{}: {reason}\n", option.name),
                        _ => format!("{}: {reason}\n", option.variable),
                    };
                    Error::raw(ErrorKind::InvalidValue, reason).with_cmd(command)
                })
            }
            _ => parse.parse_ref(command, argument, text),
        }
    }
}
