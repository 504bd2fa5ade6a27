//! Runs clients and servers of Backwire in a simulation, and checks the promises.
//!
//! A run has the real core of the client with its live queries, the real logic of the server and
//! the engine in memory. The network, the clock, the disk, the back end and the shim are simulated.
//! One seed decides everything, so a run can be repeated to the byte.
//!
//! Modules in reading order: `story` is what happens, as data; `run` performs a story and checks
//! the end; `world` has the servers and what all parts share; `network` carries packets. One server
//! stores on the disk of `engine`. Several share the store of `store`, each by an engine of `node`.
//! The clients, and what everything is compared with, are those of `backwire-checker`.
//! `trace` is what happened. `shrink` makes a story shorter, and `planted` has bugs that the checks
//! must find.

mod engine;
mod network;
mod node;
pub mod planted;
mod run;
mod shrink;
mod store;
mod story;
mod trace;
mod world;

pub use run::Outcome;
pub use shrink::{Shortened, shorten};

/// Runs the story of a seed. With `is_traced` the outcome has all packets.
pub fn run_seed(seed: u64, is_traced: bool) -> Outcome {
    run::run(&story::Story::of(seed), is_traced)
}
