//! `backwire chaos`: clients that check what a deployment promises, while connections are cut and
//! servers are killed.
//!
//! In reading order:
//!
//! - `run`: a run from its begin to its verdict;
//! - `deployment`: the server as the clients see it, and their connections;
//! - `own_server`: a server of the run itself, which can be killed;
//! - `back_end`: the back end of that server, which knows its people and sends them messages;
//! - `proxy`: the proxy between the clients and the server, with its faults;
//! - `faults`: what goes wrong, and when;
//! - `load`: what the clients do;
//! - `meter`: what is counted and measured, by the second;
//! - `verdict`: what was checked, and what was found;
//! - `report`: the verdict as a page.

mod back_end;
mod deployment;
mod fault;
mod faults;
mod load;
mod meter;
mod own_server;
mod proxy;
mod report;
mod run;
mod verdict;

use std::path::PathBuf;

use url::Url;

pub use fault::Fault;
pub use run::run;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub clients: usize,
    pub seconds: u64,
    pub seed: u64,
    pub faults: Vec<Fault>,
    /// The server of the user, instead of one that is started.
    pub url: Option<Url>,
    /// The engine of the server that is started. Without one, it is SQLite in a temporary file.
    pub engine: Option<String>,
    /// The resource, instead of one with a random name.
    pub resource: Option<String>,
    pub report: Option<PathBuf>,
}
