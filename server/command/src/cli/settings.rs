//! The options for settings, and the files with settings.

use std::env;
use std::io;
use std::path::PathBuf;

use backwire::config::{self, Config};
use backwire::settings::Settings;
use backwire::sites::{self, Sites};
use clap::Args;

use super::setting_options::SettingOptions;

/// The options for settings. They override the configuration file.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// File with settings; without it config/config.yml, if there is one
    #[arg(long, env = "BACKWIRE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// File with the sites of the push service; without it config/sites.yml, if there is one. It is
    /// read again at SIGHUP
    #[arg(long, env = "BACKWIRE_SITES", value_name = "FILE")]
    sites: Option<PathBuf>,

    #[command(flatten)]
    options: SettingOptions,
}

impl SettingsArgs {
    /// Returns the settings. Options and variables override the file, and the file overrides the
    /// defaults.
    pub(super) fn settings(self) -> io::Result<Settings> {
        let (mut settings, has_engine) = self.read()?;
        settings.select_redis(has_engine).map_err(io::Error::other)?;
        Ok(settings)
    }

    /// Returns the settings, for a command that does not use the engine.
    pub(super) fn without_engine(self) -> io::Result<Settings> {
        self.read().map(|(settings, _)| settings)
    }

    /// Returns the settings, and whether they have an engine.
    fn read(self) -> io::Result<(Settings, bool)> {
        let sites = match find_file(self.sites, sites::DEFAULT_PATH) {
            Some(file) => Some(Sites::read(&file).map_err(io::Error::other)?),
            None => None,
        };
        let (mut settings, has_engine) = read_settings(self.config, sites)?;
        if !self.options.has("port")
            && let Some(port) = port_of_platform()?
        {
            settings.port = port;
        }
        let has_engine = has_engine || self.options.has("engine");
        self.options.apply_to(&mut settings);
        Ok((settings, has_engine))
    }
}

/// Returns the port in the variable `PORT`, which hosting platforms set.
fn port_of_platform() -> io::Result<Option<u16>> {
    let Some(text) = env::var_os("PORT").filter(|text| !text.is_empty()) else { return Ok(None) };
    let port = text.to_str().and_then(|text| text.parse().ok());
    let refused =
        || io::Error::other(format!("PORT: {} is not a port, 0 to 65535", text.display()));
    port.map(Some).ok_or_else(refused)
}

/// Returns the defaults, overridden by the configuration file, and whether that sets the engine.
fn read_settings(file: Option<PathBuf>, sites: Option<Sites>) -> io::Result<(Settings, bool)> {
    let file = find_file(file, config::DEFAULT_PATH);
    let config = match &file {
        Some(file) => Config::read(file).map_err(io::Error::other)?,
        None => Config::default(),
    };
    for warning in file.iter().flat_map(|file| config.warnings(file)) {
        tracing::warn!("{warning}");
    }
    let mut settings = match sites.is_some() && !config.has_resources() {
        true => Settings::push_service(),
        false => Settings::default(),
    };
    settings.sites = sites.unwrap_or_default();
    settings.private_files.extend(file);
    let has_engine = config.has_engine();
    Ok((config.apply_to(settings).map_err(io::Error::other)?, has_engine))
}

/// Returns the given file, or the default file if it exists.
fn find_file(given: Option<PathBuf>, default: &str) -> Option<PathBuf> {
    given.or_else(|| Some(PathBuf::from(default)).filter(|file| file.exists()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backwire::route::Shortcuts;
    use backwire::settings::Store;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: SettingsArgs,
    }

    fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> Result<Command, clap::Error> {
        Command::try_parse_from(["backwire"].into_iter().chain(options))
    }

    fn settings<'a>(options: impl IntoIterator<Item = &'a str>) -> Settings {
        parse(options).unwrap().args.settings().unwrap()
    }

    #[test]
    fn options_are_set_and_origins_may_be_repeated() {
        let settings = settings([
            "--origin",
            "https://a.example",
            "--origin",
            "https://b.example",
            "--engine",
            "memory",
            "--api-key",
            "secret",
            "--port",
            "0",
        ]);
        let origins = ["https://a.example", "https://b.example"].map(|it| it.parse().unwrap());
        assert_eq!(settings.origins, origins);
        assert_eq!(settings.store, Store::Memory);
        assert!(settings.api_key.is_some_and(|key| key.is("secret")));
    }

    #[test]
    fn options_override_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "port: 80\nprefix: /api\nshortcuts: off\nclient_ttl: 60\norigins: 'http://a'\n",
        )
        .unwrap();
        let config = file.path().to_str().unwrap();
        let overridden = settings(["--config", config, "--port", "81", "--shortcuts", "write"]);
        assert_eq!((overridden.port, &*overridden.prefix), (81, "/api"));
        assert_eq!(overridden.shortcuts, Some(Shortcuts::Write));
        assert_eq!(overridden.client_ttl, Some(Duration::from_secs(60)));
        assert_eq!(settings(["--config", config, "--client-ttl", "0"]).client_ttl, None);
        let origins = settings(["--config", config, "--origin", "http://b,http://c"]).origins;
        assert_eq!(origins, ["http://b", "http://c"].map(|it| it.parse().unwrap()));
    }

    #[test]
    fn redis_of_a_web_service_is_the_engine_unless_another_is_set() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = file.path().to_str().unwrap();
        let write = |yaml: &str| std::fs::write(file.path(), yaml).unwrap();
        write("redis: {host: 10.0.0.1, port: 6380, auth_pass: 0123}\n");
        let selected = settings(["--config", config]).store;
        assert_eq!(selected, "redis://:0123@10.0.0.1:6380".parse().unwrap());
        let store = settings(["--config", config, "--engine", "memory"]).store;
        assert_eq!(store, Store::Memory);
        write("redis: {}\nengine: memory\n");
        assert_eq!(settings(["--config", config]).store, Store::Memory);
    }

    #[test]
    fn secret_is_never_shown_even_if_it_is_invalid() {
        let refused = parse(["--session-secret", "too short"]).unwrap_err().to_string();
        assert!(refused.contains("at least 32 characters"), "{refused}");
        assert!(!refused.contains("too short"), "{refused}");
        let good = parse(["--session-secret", "good secrets are long and are random"]).unwrap();
        assert!(!format!("{good:?}").contains("good"));
        assert!(good.args.settings().unwrap().session_secret.is_some());
    }

    #[test]
    fn secret_is_given_by_itself_or_in_a_file_and_not_twice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "good secrets are long and are random\n").unwrap();
        let file = file.path().to_str().unwrap();
        assert!(settings(["--session-secret-file", file]).session_secret.is_some());
        let secret = "good secrets are long and are random";
        let both = parse(["--session-secret-file", file, "--session-secret", secret]);
        assert_eq!(both.unwrap_err().kind(), clap::error::ErrorKind::ArgumentConflict);
    }

    #[test]
    fn invalid_value_is_an_error_that_names_the_option() {
        for (option, text, expected) in [
            (
                "--port",
                "70000",
                "invalid value '70000' for '--port <PORT>': 70000 is not in 0..=65535",
            ),
            ("--port", "x", "invalid value 'x' for '--port <PORT>': invalid digit found in string"),
            ("--log-count", "x", "invalid value 'x' for '--log-count <N>': invalid digit found"),
            (
                "--log-age",
                "7",
                "invalid value '7' for '--log-age <DURATION>': invalid duration \"7\"",
            ),
            ("--engine", "x", "--engine: unknown engine \"x\"; expected memory, "),
            ("--engine", "redis://:pw@", "--engine: the address of Redis "),
            ("--static", "", "a value is required for '--static <DIR>' but none was supplied"),
            (
                "--session-secret-file",
                "/no",
                "invalid value '/no' for '--session-secret-file <FILE>': /no: ",
            ),
        ] {
            let refused = parse([option, text]).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("error: {expected}")), "{refused}");
        }
    }
}
