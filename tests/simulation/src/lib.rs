//! Runs clients and servers of Backwire in a simulation, and checks the guarantees.
//!
//! A run has the real core of the client with its live queries, the real logic of the server and
//! the engine in memory. The network, the clock, the disk, the back end and the JavaScript of the
//! pages are simulated. One seed decides everything, so two runs of a seed are identical to the
//! byte.
//!
//! Modules in reading order: `story` is the list of actions and faults of a run; `run` performs a
//! story and checks the end; `world` has the servers and the state that all parts share; `network`
//! carries packets. A single server stores its data on the simulated disk of `engine`. Several
//! servers share a `store`, and each has an engine of `node` with a `follower` of the store. The
//! clients and the checks are those of `backwire-checker`. `trace` records what happened. `shrink`
//! makes a story shorter, and `planted` has bugs that the checks must find.

mod engine;
mod follower;
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

/// Runs the story of a seed. With `is_traced` the outcome contains all packets.
pub fn run_seed(seed: u64, is_traced: bool) -> Outcome {
    run::run(&story::Story::of(seed), is_traced)
}
