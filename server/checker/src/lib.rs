//! Pages that check the guarantees of the server, for the simulation and for `backwire chaos`.
//!
//! A page is the real core of the client with its live queries, and with what the shim does in
//! JavaScript. It compares everything that it receives with the history of the run. A [`World`] has
//! the connections of the pages, simulated or real.
//!
//! Modules in reading order: `world` is what surrounds the pages; `act` is what they do, as data;
//! `browser` and `page` are the clients; `history`, `writes`, `messages` and `people` are what
//! everything is compared with, and `observations` what waits for that; `recorder` reads the log as
//! clients do; `view` is what a read must return, and `lists` checks what lists show.
//!
//! [`World`]: world::World
#![allow(missing_docs, reason = "only the simulation and the command use this crate")]

pub mod act;
pub mod browser;
pub mod history;
mod json;
pub mod lists;
pub mod log_position;
pub mod messages;
pub mod observations;
pub mod page;
pub mod people;
pub mod recorder;
pub mod view;
pub mod world;
pub mod writes;
