//! Attacks on a release server, one after the other, each beside an innocent client.
//!
//! In reading order:
//!
//! - [`verdict`]: what an attack may do to the server and to the innocent client;
//! - [`server`]: a fresh server for each attack, and its memory;
//! - [`innocent`]: a client that reads and writes one record and asks for `/health`;
//! - [`attack`]: how an attack is run, and what the attacker gets;
//! - [`attacks`]: all of them;
//! - [`wire`]: requests and connections of the attackers.
//!
//! Attackers come from another address than the innocent client, because limits are per address.

mod attack;
mod attacks;
mod innocent;
mod server;
mod verdict;
mod wire;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use attack::Attack;
use innocent::Innocent;
use server::Server;
use verdict::Measured;

/// How long the innocent client is measured before the attack, at most.
const IDLE: Duration = Duration::from_secs(5);

/// The exit code if the reader of the standard output has closed it: 128 and the number of SIGPIPE.
const CLOSED: u8 = 141;

/// Runs attacks against a server, and fails if one of them hurts an innocent client.
#[derive(Parser)]
struct Cli {
    /// The program `backwire`
    #[arg(long)]
    backwire: PathBuf,

    /// The directory of the databases
    #[arg(long)]
    directory: PathBuf,

    /// How long each attack takes
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// Only this attack; may be given several times
    #[arg(long, value_parser = attack_named)]
    only: Vec<&'static Attack>,
}

fn attack_named(name: &str) -> Result<&'static Attack, String> {
    let found = attacks::ALL.iter().find(|attack| attack.name == name);
    let names = || attacks::ALL.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("expected one of: {}", names()))
}

impl Cli {
    fn attacks(&self) -> Vec<&'static Attack> {
        match &self.only[..] {
            [] => attacks::ALL.iter().collect(),
            only => only.to_vec(),
        }
    }

    /// Runs the attacks and prints the table. Returns whether the server withstands all of them, or
    /// `None` if the reader of the table has closed the output.
    async fn run(&self) -> Result<Option<bool>> {
        let mut all_passed = true;
        if writeln!(io::stdout(), "{}", verdict::HEADER).is_err() {
            return Ok(None);
        }
        for attack in self.attacks() {
            eprintln!("{}: {}", attack.name, attack.about);
            let measured = self.measure(attack).await.with_context(|| attack.name)?;
            all_passed &= measured.problems().is_empty();
            if writeln!(io::stdout(), "| {} | {measured}", attack.name).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(all_passed))
    }

    async fn measure(&self, attack: &'static Attack) -> Result<Measured> {
        let server = Server::start(&self.backwire, &self.directory, attack).await?;
        let target = attack::Target::new(&server.address);
        (attack.prepare)(target.clone()).await.context("the data of the attack")?;
        let innocent = Innocent::start(&server.address)?;
        let time = Duration::from_secs(self.seconds);
        tokio::time::sleep(time.min(IDLE)).await;
        let idle = innocent.take();
        ensure!(!idle.is_empty(), "the innocent client gets no answer before the attack");
        let before = server.reset_memory_peak()?;
        attack.run(&target, time).await;
        let under_attack = innocent.stop();
        Ok(Measured {
            memory: server.memory_peak().map(|peak| peak.saturating_sub(before)),
            idle,
            under_attack,
            outcomes: target.outcomes(),
        })
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    server::raise_open_file_limit()?;
    Ok(match cli.run().await? {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => ExitCode::from(CLOSED),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attack_has_a_name_of_its_own() {
        let mut names: Vec<_> = attacks::ALL.iter().map(|attack| attack.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), attacks::ALL.len());
        assert!(attack_named("no-such-attack").unwrap_err().contains(names[0]));
    }
}
