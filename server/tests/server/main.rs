//! Facts about the server, each shown on a server of its own with the memory engine.

#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]

mod client;

mod http;
mod limits;
mod pages;
mod resume;
mod runtime;
mod sails;
mod sockets;
mod subscribing;
