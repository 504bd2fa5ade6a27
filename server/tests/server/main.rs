//! Facts about the server, each shown on a server of its own with the memory engine.

#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]

mod client;

mod associations;
mod bad_input;
mod criteria;
mod examples;
mod filtered;
#[cfg(target_os = "linux")]
mod flood;
mod http;
mod limits;
mod memberships;
mod node;
mod order;
mod pages;
mod publish;
mod pubsub;
mod readers;
mod resources;
mod resume;
mod runtime;
mod sails;
mod sails09;
mod sessions;
mod sockets;
mod subscribing;
mod transcripts;
mod watched;
