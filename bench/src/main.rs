//! Backwire's server and its peers under the same load, side by side in one run.
//!
//! In reading order:
//!
//! - [`table`]: what comes out;
//! - [`load`]: the work, the same for everyone;
//! - [`lists`]: what Backwire alone does, out of many records;
//! - [`push`]: the push service, which has work, peers and a table of its own;
//! - [`peer`]: a server as a child process, and what it used of the machine;
//! - [`socket`]: a client that does next to nothing, so that the load costs little.
//!
//! All peers speak Socket.IO and answer the same events, so one load drives them all. In each round
//! every peer does everything once: what else the machine is doing disturbs all of them alike. What
//! a round measured is compared within the round; of all rounds the median counts.

mod lists;
mod load;
mod peer;
mod push;
mod socket;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::time::timeout;

use lists::List;
use load::{Deed, Heard, Load};
use peer::{Kind, Peer};
use table::{Table, Wrote};

/// Measures the server beside a bare socketioxide program, npm's socket.io and lists in Redis.
#[derive(Parser)]
struct Cli {
    /// The program `backwire`
    #[arg(long)]
    backwire: PathBuf,

    /// The program made of examples/bare.rs
    #[arg(long)]
    bare: PathBuf,

    /// The script peers/node.mjs, with the package socket.io in reach
    #[arg(long)]
    node: PathBuf,

    /// The script peers/relay.mjs, with the package socket.io in reach
    #[arg(long)]
    relay: PathBuf,

    /// How often everything is done
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Sockets that listen
    #[arg(long, default_value_t = 1_000)]
    listeners: usize,

    /// Creates that all of them hear of
    #[arg(long, default_value_t = 240)]
    creates: usize,

    /// Creates, writes and destroys that nobody hears of, of each
    #[arg(long, default_value_t = 10_000)]
    writes: usize,

    /// Lists that are read, of each kind
    #[arg(long, default_value_t = 4_000)]
    lists: usize,

    /// People who are told something by the push service
    #[arg(long, default_value_t = 200)]
    persons: usize,

    /// Messages that are sent to them one by one
    #[arg(long, default_value_t = 10_000)]
    singles: usize,

    /// Messages that are sent to them many at once
    #[arg(long, default_value_t = 40_000)]
    batched: usize,

    /// The push service alone
    #[arg(long)]
    push: bool,
}

/// In how many filters the listeners are, when they are in any.
const FILTERS: usize = 10;

/// What one peer may take for one round.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    if !cli.push {
        println!("{}", records(&cli).await?);
    }
    println!("{}", pushes(&cli).await?);
    Ok(())
}

/// Records that are written, read and told to those who listen.
async fn records(cli: &Cli) -> Result<Table> {
    let &Cli { listeners, creates, writes, .. } = cli;
    let load = Load { listeners, creates, writes, filters: 0 };
    let filtered = Load { filters: FILTERS, ..load };
    let mut table = Table::default();
    for round in 1..=cli.rounds {
        for kind in Kind::ALL {
            let program = match kind {
                Kind::Backwire => &cli.backwire,
                Kind::Bare => &cli.bare,
                Kind::Node => &cli.node,
            };
            eprintln!("round {round} of {}: {}", cli.rounds, kind.name());
            let (heard, wrote) = timeout(PATIENCE, measure(&load, kind, program))
                .await
                .with_context(|| format!("{} does not answer", kind.name()))?
                .with_context(|| kind.name())?;
            table.add(kind, heard, wrote);
        }
        eprintln!("round {round} of {}: Backwire, with filters", cli.rounds);
        let peer = Peer::start(Kind::Backwire, &cli.backwire).await?;
        table.add_filtered(timeout(PATIENCE, filtered.listen(&peer)).await??);
        peer.stop().await?;
        eprintln!("round {round} of {}: Backwire, lists", cli.rounds);
        table.add_lists(timeout(PATIENCE, read_lists(cli)).await??);
    }
    Ok(table)
}

/// Messages that are stored, told and acked.
async fn pushes(cli: &Cli) -> Result<push::table::Table> {
    let &Cli { persons, singles, batched, .. } = cli;
    let load = push::Load { persons, singles, batched };
    let programs = push::Programs { backwire: &cli.backwire, relay: &cli.relay };
    let has_redis = peer::has_redis().await;
    if !has_redis {
        eprintln!(
            "\nTHERE IS NO redis-server HERE: the push service is measured beside nothing.\n"
        );
    }
    let mut table = push::table::Table::default();
    for round in 1..=cli.rounds {
        let kinds = push::Kind::ALL.into_iter();
        for kind in kinds.filter(|kind| has_redis || *kind == push::Kind::Backwire) {
            eprintln!("round {round} of {}: push service, {}", cli.rounds, kind.name());
            let measured = timeout(PATIENCE, load.measure(kind, programs))
                .await
                .with_context(|| format!("{} does not answer", kind.name()))?
                .with_context(|| kind.name())?;
            table.add(kind, measured);
        }
    }
    Ok(table)
}

/// One round of one peer. Each kind of work gets a server that has done nothing else.
async fn measure(load: &Load, kind: Kind, program: &Path) -> Result<(Heard, Wrote)> {
    let peer = Peer::start(kind, program).await?;
    let heard = load.listen(&peer).await?;
    peer.stop().await?;
    let mut wrote = Vec::new();
    for deed in [Deed::Create, Deed::Update, Deed::Destroy] {
        let peer = Peer::start(kind, program).await?;
        wrote.push(load.write(&peer, deed).await?);
        peer.stop().await?;
    }
    let [create, update, destroy] = wrote.try_into().ok().context("three deeds")?;
    Ok((heard, Wrote { create, update, destroy }))
}

/// One round of lists, in the order of [`List::ALL`].
async fn read_lists(cli: &Cli) -> Result<Vec<Duration>> {
    let peer = Peer::start_with(Kind::Backwire, &cli.backwire, lists::CONFIG).await?;
    lists::fill(&peer).await?;
    let mut each = Vec::new();
    for list in List::ALL {
        each.push(list.read(&peer, cli.lists).await?);
    }
    peer.stop().await?;
    Ok(each)
}
