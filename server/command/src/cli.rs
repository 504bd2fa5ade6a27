//! The command line, whose options can also be set in `BACKWIRE_…` variables.

mod send;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use backwire::Server;
use backwire::config::{self, Config};
use backwire::duration::{duration, seconds};
use backwire::engine::Window;
use backwire::route::{Paths, Shortcuts};
use backwire::settings::{AllowedHost, AllowedOrigin, ApiKey, SessionSecret, Settings, Store};
use backwire::sites::{self, Sites};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::descriptors;

/// The push server that makes Backbone apps live.
#[derive(Debug, Parser)]
#[command(name = "backwire", version, about)]
pub struct Command {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// Serves resources over HTTP and sockets until it is stopped
    Serve(Serve),
    /// Prints the settings of `serve` with the same options and file, or the error in them
    Check(SettingsArgs),
    /// Copies the database to a file, also while a server uses it
    Backup(CopyArgs),
    /// Replaces the database by a copy that `backup` has made. Stop the server first
    Restore(CopyArgs),
    /// Sends a message to people's browsers, or many from the standard input
    Send(send::Send),
}

/// `backwire serve`
#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    args: SettingsArgs,

    /// Stops by itself after this many seconds
    #[arg(long, env = "BACKWIRE_OPEN_FOR", value_name = "SECONDS")]
    open_for: Option<u64>,
}

/// `backwire backup`, `backwire restore`
#[derive(Debug, Args)]
struct CopyArgs {
    #[command(flatten)]
    args: SettingsArgs,

    /// The copy
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// The options for settings. They override the configuration file.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// File with settings; without it config/config.yml, if there is one
    #[arg(long, env = "BACKWIRE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// File with the sites of the push service; without it config/sites.yml, if there is one. It is
    /// read again at SIGHUP
    #[arg(long, env = "BACKWIRE_SITES", value_name = "FILE")]
    sites: Option<PathBuf>,

    /// Port to listen on; 0 takes any free port. Without it, the variable PORT is used
    /// [default: 1337]
    #[arg(long, env = "BACKWIRE_PORT")]
    port: Option<u16>,

    /// Address to listen on; with 0.0.0.0 other machines can connect, without a password
    /// [default: 127.0.0.1, or 0.0.0.0 with sites and no declared resources]
    #[arg(long, env = "BACKWIRE_HOST")]
    host: Option<IpAddr>,

    /// Where records live: memory or sqlite:FILE [default: sqlite:data/backwire.db]
    #[arg(long, env = "BACKWIRE_ENGINE")]
    engine: Option<Store>,

    /// Directory of pages to serve beside the resources
    #[arg(long = "static", env = "BACKWIRE_STATIC", value_name = "DIR")]
    pages: Option<PathBuf>,

    /// Origin whose pages may use this server, beyond its own host and localhost; may be repeated.
    /// * is any origin, without cookies
    #[arg(long = "origin", env = "BACKWIRE_ORIGIN", value_name = "URL", value_delimiter = ',')]
    origins: Option<Vec<AllowedOrigin>>,

    /// Host name of this server, beside localhost and addresses; requests for other names are
    /// refused. May be repeated; .example includes all subdomains of example
    #[arg(
        long = "allowed-host",
        env = "BACKWIRE_ALLOWED_HOST",
        value_name = "HOST",
        value_delimiter = ','
    )]
    allowed_hosts: Option<Vec<AllowedHost>>,

    /// Key that back ends need for POST /publish; without it they cannot publish
    #[arg(long, env = "BACKWIRE_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<ApiKey>,

    /// File with the secret that session cookies are signed with, 32 characters or more; it may be
    /// in BACKWIRE_SESSION_SECRET itself. Without either one is made and kept with the records
    #[arg(long, env = "BACKWIRE_SESSION_SECRET_FILE", value_name = "FILE",
          value_parser = SessionSecret::read)]
    session_secret_file: Option<SessionSecret>,

    // For the environment: everybody on the machine can read a command line.
    #[arg(long, env = "BACKWIRE_SESSION_SECRET", hide = true, value_parser = SecretParser,
          conflicts_with = "session_secret_file")]
    session_secret: Option<SessionSecret>,

    /// How long an unused session is kept [default: 24h]
    #[arg(long, env = "BACKWIRE_SESSION_AGE", value_name = "DURATION", value_parser = duration)]
    session_age: Option<Duration>,

    /// Changes kept per resource for clients that were away [default: 10000]
    #[arg(long, env = "BACKWIRE_LOG_COUNT", value_name = "N")]
    log_count: Option<u64>,

    /// Bytes of these changes per resource; the oldest are forgotten first [default: 1073741824]
    #[arg(long, env = "BACKWIRE_LOG_BYTES", value_name = "BYTES")]
    log_bytes: Option<u64>,

    /// How long a change is kept: a number with s, m, h or d [default: 24h]
    #[arg(long, env = "BACKWIRE_LOG_AGE", value_name = "DURATION", value_parser = duration)]
    log_age: Option<Duration>,

    /// How long an Idempotency-Key is known: a number with s, m, h or d [default: 7d]
    #[arg(long, env = "BACKWIRE_LEDGER_AGE", value_name = "DURATION", value_parser = duration)]
    ledger_age: Option<Duration>,

    /// Bytes of all stored idempotency keys; the oldest are deleted first
    /// [default: 1073741824]
    #[arg(long, env = "BACKWIRE_LEDGER_BYTES", value_name = "BYTES")]
    ledger_bytes: Option<u64>,

    /// How long messages wait for a person whose last device has disconnected: seconds, or a number
    /// with s, m, h or d; 0 is for ever [default: 3600]
    #[arg(long, env = "BACKWIRE_CLIENT_TTL", value_name = "DURATION", value_parser = seconds)]
    client_ttl: Option<Duration>,

    /// Bytes that the body of a request may have [default: 1048576]
    #[arg(long, env = "BACKWIRE_BODY_LIMIT", value_name = "BYTES")]
    body_limit: Option<usize>,

    /// Prefix of all paths of resources, such as /api
    #[arg(long, env = "BACKWIRE_PREFIX", value_name = "PATH")]
    prefix: Option<String>,

    /// Second prefix of these paths, except shortcuts, such as /v1
    #[arg(long, env = "BACKWIRE_REST_PREFIX", value_name = "PATH")]
    rest_prefix: Option<String>,

    /// Whether there are paths such as /todo/find [default: read]
    #[arg(long, env = "BACKWIRE_SHORTCUTS")]
    shortcuts: Option<Shortcuts>,
}

impl Command {
    /// Runs the operation. Returns when it is done.
    pub async fn run(self) -> io::Result<()> {
        match self.operation {
            Operation::Serve(serve) => serve.run().await,
            Operation::Send(send) => send.run().await,
            Operation::Check(args) => write!(io::stdout(), "{}", args.settings()?),
            Operation::Backup(copy) => copy.back_up(),
            Operation::Restore(copy) => copy.restore(),
        }
    }
}

impl CopyArgs {
    fn back_up(self) -> io::Result<()> {
        let store = self.args.settings()?.store;
        store.back_up(&self.file).map_err(io::Error::other)?;
        let size = self.file.metadata()?.len();
        writeln!(io::stdout(), "{store} is copied to {}, {size} bytes", self.file.display())
    }

    fn restore(self) -> io::Result<()> {
        let store = self.args.settings()?.store;
        let former = store.restore(&self.file).map_err(io::Error::other)?;
        writeln!(io::stdout(), "{store} is restored from {}", self.file.display())?;
        match former {
            Some(former) => writeln!(io::stdout(), "the former database is {}", former.display()),
            None => {
                let folder = env::current_dir()?;
                writeln!(io::stdout(), "there was no database before (in {})", folder.display())
            }
        }
    }
}

impl Serve {
    async fn run(self) -> io::Result<()> {
        // Registered before other processes can know of this one, so that no signal is missed.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let open_for = self.open_for.map(Duration::from_secs);
        let settings = self.args.settings()?;
        if let Some(warning) = settings.host_warning() {
            tracing::warn!("{warning}");
        }
        let reloads = reload_sites_on_hangup(settings.sites.clone())?;
        descriptors::raise_descriptor_limit(settings.limits.connections);
        let bind = Server::builder().settings(settings).bind();
        // Binding may wait, also in vain, for a server that is still stopping.
        let server = tokio::select! {
            server = bind => server?,
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        };
        // The only line on stdout. A parent process may wait for it.
        writeln!(io::stdout(), "listening on {}", server.url())?;
        let timer = async {
            match open_for {
                Some(open_for) => tokio::time::sleep(open_for).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = timer => {}
            () = reloads => {}
        }
        tracing::info!("stopping");
        server.shutdown().await;
        Ok(())
    }
}

/// Returns a future that reads the file with the sites again at each SIGHUP, and never resolves.
/// Without a file, SIGHUP ends the process.
fn reload_sites_on_hangup(sites: Sites) -> io::Result<impl Future<Output = ()>> {
    let hangups = sites.file().is_some().then(|| signal(SignalKind::hangup())).transpose()?;
    Ok(async move {
        if let Some(mut hangups) = hangups {
            while hangups.recv().await.is_some() {
                match sites.reload() {
                    Ok(()) => tracing::info!(sites = sites.all().len(), "sites are read again"),
                    Err(error) => tracing::error!(%error, "the sites stay as they are"),
                }
            }
        }
        std::future::pending().await
    })
}

impl SettingsArgs {
    /// Returns the settings. Options and variables override the file, and the file overrides the
    /// defaults.
    fn settings(self) -> io::Result<Settings> {
        let sites = match find_file(self.sites, sites::DEFAULT_PATH) {
            Some(file) => Some(Sites::read(&file).map_err(io::Error::other)?),
            None => None,
        };
        let settings = read_settings(self.config, sites)?;
        let (window, paths) = (settings.window, settings.paths);
        let secret = self.session_secret_file.or(self.session_secret);
        Ok(Settings {
            host: self.host.unwrap_or(settings.host),
            port: self
                .port
                .map_or_else(port_of_platform, |port| Ok(Some(port)))?
                .unwrap_or(settings.port),
            store: self.engine.unwrap_or(settings.store),
            window: Window {
                count: self.log_count.unwrap_or(window.count),
                bytes: self.log_bytes.unwrap_or(window.bytes),
                age: self.log_age.unwrap_or(window.age),
                ledger_age: self.ledger_age.unwrap_or(window.ledger_age),
                ledger_bytes: self.ledger_bytes.unwrap_or(window.ledger_bytes),
            },
            pages: self.pages.or(settings.pages),
            origins: self.origins.unwrap_or(settings.origins),
            allowed_hosts: self.allowed_hosts.unwrap_or(settings.allowed_hosts),
            api_key: self.api_key.or(settings.api_key),
            session_secret: secret.or(settings.session_secret),
            session_age: self.session_age.unwrap_or(settings.session_age),
            client_ttl: self
                .client_ttl
                .map_or(settings.client_ttl, |ttl| Some(ttl).filter(|ttl| !ttl.is_zero())),
            body_limit: self.body_limit.unwrap_or(settings.body_limit),
            paths: Paths {
                prefix: self.prefix.unwrap_or(paths.prefix),
                rest_prefix: self.rest_prefix.unwrap_or(paths.rest_prefix),
                shortcuts: self.shortcuts.unwrap_or(paths.shortcuts),
            },
            ..settings
        })
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

/// Returns the defaults, overridden by the configuration file.
fn read_settings(file: Option<PathBuf>, sites: Option<Sites>) -> io::Result<Settings> {
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
    let settings = config.apply_to(settings).map_err(io::Error::other)?;
    if settings.redis.is_some() {
        tracing::warn!("redis: the setting has no effect: there is no engine yet that uses it");
    }
    Ok(settings)
}

/// Returns the given file, or the default file if it exists.
fn find_file(given: Option<PathBuf>, default: &str) -> Option<PathBuf> {
    given.or_else(|| Some(PathBuf::from(default)).filter(|file| file.exists()))
}

/// Parses a secret. Unlike clap's own errors, the error does not show an invalid secret.
#[derive(Clone)]
struct SecretParser;

impl TypedValueParser for SecretParser {
    type Value = SessionSecret;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        secret: &OsStr,
    ) -> Result<SessionSecret, clap::Error> {
        let secret = secret.to_str().unwrap_or_default().parse();
        secret.map_err(|reason| {
            let reason = format!("BACKWIRE_SESSION_SECRET: {reason}\n");
            clap::Error::raw(ErrorKind::InvalidValue, reason).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn options_are_set_and_origins_may_be_repeated() {
        let command = Command::parse_from([
            "backwire",
            "serve",
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
        let Operation::Serve(serve) = command.operation else { panic!("it says serve") };
        let settings = serve.args.settings().unwrap();
        let origins = ["https://a.example", "https://b.example"].map(|it| it.parse().unwrap());
        assert_eq!(settings.origins, origins);
        assert_eq!(settings.store, Store::Memory);
        assert!(settings.api_key.is_some_and(|key| key.is("secret")));
    }

    #[test]
    fn options_override_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "port: 80\nprefix: /api\nshortcuts: off\nclient_ttl: 60\n")
            .unwrap();
        let config = file.path().to_str().unwrap();
        let words =
            ["backwire", "serve", "--config", config, "--port", "81", "--shortcuts", "write"];
        let Operation::Serve(serve) = Command::parse_from(words).operation else {
            panic!("it says serve")
        };
        let settings = serve.args.settings().unwrap();
        assert_eq!((settings.port, &*settings.paths.prefix), (81, "/api"));
        assert_eq!(settings.paths.shortcuts, Shortcuts::Write);
        assert_eq!(settings.client_ttl, Some(Duration::from_secs(60)));
        let words = ["backwire", "serve", "--config", config, "--client-ttl", "0"];
        let Operation::Serve(serve) = Command::parse_from(words).operation else {
            panic!("it says serve")
        };
        assert_eq!(serve.args.settings().unwrap().client_ttl, None);
    }

    #[test]
    fn secret_is_never_shown_even_if_it_is_invalid() {
        let parse = |secret: &str| {
            Command::try_parse_from(["backwire", "serve", "--session-secret", secret])
        };
        let refused = parse("too short").unwrap_err().to_string();
        assert!(refused.contains("at least 32 characters"), "{refused}");
        assert!(!refused.contains("too short"), "{refused}");
        let good = "good secrets are long and are random";
        let Operation::Serve(serve) = parse(good).unwrap().operation else {
            panic!("it says serve")
        };
        assert!(!format!("{serve:?}").contains("good"));
        assert!(serve.args.settings().unwrap().session_secret.is_some());
    }
}
