//! `backwire migrate`: copies everything to another engine.

use std::io;
use std::time::SystemTime;

use backwire::engine::{MigrationReport, WaitingMessages};
use backwire::settings::{Settings, Store};
use clap::Args;

use super::settings::SettingsArgs;
use crate::output::print_line;

/// `backwire migrate`
#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    args: SettingsArgs,

    /// `FROM` is the Redis of a SocketIO Web Service: its waiting messages are copied, for the
    /// sites of `--sites`
    #[arg(long)]
    web_service: bool,

    /// The source: sqlite:FILE or redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]; the variable hides a
    /// password from other programs
    #[arg(value_name = "FROM", env = "BACKWIRE_MIGRATE_FROM", value_parser = parse_store, hide_env_values = true)]
    from: Store,

    /// The target in the same form, which has to be empty
    #[arg(value_name = "TO", env = "BACKWIRE_MIGRATE_TO", value_parser = parse_store, hide_env_values = true)]
    to: Store,
}

impl Migrate {
    pub(super) async fn run(self) -> io::Result<()> {
        let Self { args, web_service, from, to } = self;
        let at = SystemTime::UNIX_EPOCH.elapsed().map_err(io::Error::other)?;
        let at = u64::try_from(at.as_millis()).map_err(io::Error::other)?;
        let migrated = match (web_service, &from) {
            (false, _) => from.migrate(&to, at).await,
            (true, Store::Redis(url)) => {
                let messages = waiting_messages(&args.without_engine()?);
                to.migrate_from_web_service(url, messages, at).await
            }
            (true, _) => {
                return Err(io::Error::other("--web-service: FROM has to be redis://HOST[:PORT]"));
            }
        };
        let MigrationReport { counts, checksum, left_out } = migrated.map_err(io::Error::other)?;
        for reason in left_out {
            tracing::warn!("left out: {reason}");
        }
        for (kind, count) in counts {
            print_line(format_args!("{kind}: {count}"))?;
        }
        print_line(format_args!("{from} is copied to {to}, checksum {checksum}"))
    }
}

/// Returns what the settings say about the queues of a web service.
fn waiting_messages(settings: &Settings) -> WaitingMessages {
    let sites = settings.sites.all();
    let prefixes = sites.iter().filter_map(|(name, site)| {
        Some((name.as_str().to_owned(), site.user_room_prefix.clone()?))
    });
    WaitingMessages { user_room_prefixes: prefixes.collect(), ttl: settings.ttl() }
}

fn parse_store(text: &str) -> Result<Store, String> {
    text.parse()
}
