//! `backwire chaos`: the options.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use backwire::Error;
use backwire::change::Resource;
use clap::Args;
use url::Url;

use crate::chaos::{Engine, Fault, Outcome, Plan, run};

/// The exit code of a run that has found no violation, but has not checked everything.
const NOT_ALL_CHECKED: u8 = 3;

/// `backwire chaos`
#[derive(Debug, Args)]
pub(super) struct Chaos {
    /// The number of clients
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,

    /// How long the faults last. After that, the clients get up to four minutes to recover
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    seconds: u64,

    /// Decides what clients do and which faults there are; without it a random one. The order in
    /// which things happen also depends on the network and the machine, so two runs differ
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// The faults, separated by commas; without it all that are possible with the server
    #[arg(long, value_name = "FAULTS", value_delimiter = ',', value_enum)]
    faults: Option<Vec<Fault>>,

    /// Url of a server to test, without a path. Otherwise the command starts one in a temporary
    /// folder
    #[arg(long, value_name = "URL", conflicts_with = "engine")]
    url: Option<Url>,

    /// An empty resource of that server; without it a new one with a random name. All its records
    /// are destroyed at the end
    #[arg(long, value_name = "NAME", requires = "url")]
    resource: Option<String>,

    /// Certificates in PEM to trust at that server, instead of those that the machine trusts
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,

    /// Engine of the server that is started: sqlite, memory, redis for a Redis that is started,
    /// too, or the address of a Redis
    #[arg(long, value_name = "ENGINE", default_value = "sqlite")]
    engine: String,

    /// File for a report: one HTML page with plots
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Chaos {
    /// Runs the clients. An error is a violation of a guarantee, too.
    pub(super) async fn run(self) -> io::Result<ExitCode> {
        match run(&self.plan()?).await? {
            Outcome::Kept => Ok(ExitCode::SUCCESS),
            Outcome::NotAllChecked => {
                tracing::error!("not everything was checked: see the standard output");
                Ok(ExitCode::from(NOT_ALL_CHECKED))
            }
            Outcome::Broken => {
                Err(io::Error::other("a guarantee was broken: see the standard output"))
            }
        }
    }

    fn plan(self) -> io::Result<Plan> {
        if let Some(url) = &self.url
            && (url.path() != "/" || !matches!(url.scheme(), "http" | "https"))
        {
            return Err(io::Error::other(format!(
                "--url: {url} is not the address of a server: expected http://HOST or https://HOST"
            )));
        }
        let engine = Engine::parse(&self.engine);
        let engine = engine.map_err(|error| io::Error::other(format!("--engine: {error}")))?;
        let is_allowed = |fault: &Fault| match fault {
            fault if fault.is_of_server() && self.url.is_some() => false,
            fault if fault.is_of_redis() => engine == Engine::OwnRedis,
            // All data would be gone.
            Fault::Kill => engine != Engine::Memory,
            _ => true,
        };
        if let Some(fault) = self.faults.iter().flatten().find(|fault| !is_allowed(fault)) {
            let reason = if fault.is_of_redis() {
                "a Redis has to be started by this command: --engine redis"
            } else {
                "it has to be started by this command, and a killed server must not lose its data"
            };
            return Err(io::Error::other(format!(
                "--faults: {fault} is not possible with this server: {reason}"
            )));
        }
        let faults = self.faults.clone().unwrap_or_else(|| {
            Fault::DEFAULT.into_iter().filter(|fault| is_allowed(fault)).collect()
        });
        let resource = self.resource.as_deref().map(resource_name).transpose()?;
        Ok(Plan {
            clients: self.clients.into(),
            seconds: self.seconds,
            seed: self.seed.unwrap_or_else(|| rand::random::<u64>() >> 32),
            faults,
            url: self.url,
            ca: self.ca,
            engine,
            resource,
            report: self.report,
        })
    }
}

/// Returns the name of a resource as the server knows it: urls ignore case.
fn resource_name(text: &str) -> io::Result<String> {
    let invalid =
        || io::Error::other(format!("--resource: {}", Error::InvalidResourceName(text.to_owned())));
    Resource::parse(text).map(|resource| resource.to_string()).ok_or_else(invalid)
}
