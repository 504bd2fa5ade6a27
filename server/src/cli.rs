//! The command: what can be said on the command line, or in `BACKWIRE_…` variables.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Window;
use crate::server::Server;
use crate::settings::{ApiKey, SessionSecret, Settings, Store};

/// The push server that makes Backbone apps live.
#[derive(Debug, Parser)]
#[command(name = "backwire", version, about)]
pub struct Command {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Serves resources over HTTP and sockets until it is told to stop
    Serve(Serve),
}

/// `backwire serve`
#[derive(Debug, Args)]
struct Serve {
    /// Port to listen on; 0 takes any that is free
    #[arg(long, env = "BACKWIRE_PORT", default_value_t = 1337)]
    port: u16,

    /// Address to listen on; 0.0.0.0 lets other machines in, and nobody is asked for a password
    #[arg(long, env = "BACKWIRE_HOST", default_value = "127.0.0.1")]
    host: IpAddr,

    /// Where records live: memory or sqlite:FILE
    #[arg(long, env = "BACKWIRE_ENGINE", default_value_t = Store::default())]
    engine: Store,

    /// Directory of pages to serve beside the resources
    #[arg(long = "static", env = "BACKWIRE_STATIC", value_name = "DIR")]
    pages: Option<PathBuf>,

    /// Origin whose pages may use this server, beyond its own host and localhost; may be repeated
    #[arg(long = "origin", env = "BACKWIRE_ORIGIN", value_name = "URL", value_delimiter = ',')]
    origins: Vec<String>,

    /// Key that back ends show to POST /publish; without it they can not
    #[arg(long, env = "BACKWIRE_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<ApiKey>,

    /// File with the secret that session cookies are signed with, 32 characters or more; it may be in
    /// BACKWIRE_SESSION_SECRET itself. Without either one is made and kept with the records
    #[arg(long, env = "BACKWIRE_SESSION_SECRET_FILE", value_name = "FILE",
          value_parser = SessionSecret::read)]
    session_secret_file: Option<SessionSecret>,

    // For the environment: what is on a command line, everybody on the machine can read.
    #[arg(long, env = "BACKWIRE_SESSION_SECRET", hide = true, value_parser = Unshown,
          conflicts_with = "session_secret_file")]
    session_secret: Option<SessionSecret>,

    /// How long a session is kept that nothing is done with
    #[arg(long, env = "BACKWIRE_SESSION_AGE", value_name = "DURATION", default_value = "24h",
          value_parser = duration)]
    session_age: Duration,

    /// Changes kept per resource for clients that were away
    #[arg(long, env = "BACKWIRE_LOG_COUNT", value_name = "N", default_value_t = 10_000)]
    log_count: u64,

    /// How long a change is kept: a number with s, m, h or d
    #[arg(long, env = "BACKWIRE_LOG_AGE", value_name = "DURATION", default_value = "24h",
          value_parser = duration)]
    log_age: Duration,

    /// Bytes a request's body may have
    #[arg(long, env = "BACKWIRE_BODY_LIMIT", value_name = "BYTES", default_value_t = 1 << 20)]
    body_limit: usize,

    /// Stops by itself after this many seconds
    #[arg(long, env = "BACKWIRE_OPEN_FOR", value_name = "SECONDS")]
    open_for: Option<u64>,
}

impl Command {
    /// Does what was said. Returns when it is done.
    pub async fn run(self) -> io::Result<()> {
        match self.deed {
            Deed::Serve(serve) => serve.run().await,
        }
    }
}

impl Serve {
    async fn run(self) -> io::Result<()> {
        // Taken before anybody can know of us, so that no signal is missed.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let open_for = self.open_for.map(Duration::from_secs);
        let server = Server::builder().settings(self.settings()).bind().await?;
        // The one line on stdout: whoever started us waits for it.
        writeln!(io::stdout(), "listening on {}", server.url())?;
        let time_is_up = async {
            match open_for {
                Some(open_for) => tokio::time::sleep(open_for).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = time_is_up => {}
        }
        tracing::info!("stopping");
        server.shutdown().await;
        Ok(())
    }

    fn settings(self) -> Settings {
        Settings {
            host: self.host,
            port: self.port,
            store: self.engine,
            window: Window { count: self.log_count, age: self.log_age },
            pages: self.pages,
            origins: self.origins,
            api_key: self.api_key,
            session_secret: self.session_secret_file.or(self.session_secret),
            session_age: self.session_age,
            body_limit: self.body_limit,
            ..Settings::default()
        }
    }
}

/// Reads `90s`, `30m`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let not_one = || format!("{text:?} is no duration; 90s, 30m, 24h and 7d are");
    let unit = text.chars().next_back().ok_or_else(not_one)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(not_one()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| not_one())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(not_one)
}

/// Reads a secret. One that is no good is not shown with the reason, as clap would do.
#[derive(Clone)]
struct Unshown;

impl TypedValueParser for Unshown {
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
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "s", "24", "1y", "-1s", "99999999999999999999d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_may_be_repeated() {
        let command = Command::parse_from([
            "backwire",
            "serve",
            "--origin",
            "https://a.example",
            "--origin",
            "https://b.example",
            "--engine",
            "memory",
            "--port",
            "0",
        ]);
        let Deed::Serve(serve) = command.deed;
        let settings = serve.settings();
        assert_eq!(settings.origins, ["https://a.example", "https://b.example"]);
        assert_eq!(settings.store, Store::Memory);
    }
    #[test]
    fn a_secret_is_not_shown_also_when_it_is_no_good() {
        let parse = |secret: &str| {
            Command::try_parse_from(["backwire", "serve", "--session-secret", secret])
        };
        let refused = parse("too short").unwrap_err().to_string();
        assert!(refused.contains("at least 32 characters"), "{refused}");
        assert!(!refused.contains("too short"), "{refused}");
        let good = "good secrets are long and are random";
        let Deed::Serve(serve) = parse(good).unwrap().deed;
        assert!(!format!("{serve:?}").contains("good"));
        assert!(serve.settings().session_secret.is_some());
    }
}
