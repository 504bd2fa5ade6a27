//! Facts about the server, each shown on a server of its own with the memory engine.

#![allow(clippy::unwrap_used, reason = "whatever fails in a test fails the test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests have clocks, tasks and sockets"
)]

mod back_end;
mod browser;
#[allow(dead_code, reason = "the tests of the command use the rest of it")]
mod client;
mod intercepted;
#[path = "../../engine/tests/engines/polling.rs"]
mod polling;
#[allow(dead_code, reason = "the tests of the engines use the rest of it")]
#[path = "../../engine/tests/engines/redis_server.rs"]
mod redis_server;

mod access;
mod answer_memory;
mod associations;
mod bad_input;
mod concurrent_requests;
mod conformance;
mod connections;
mod constant_urls;
mod criteria;
mod csrf;
mod deliveries;
mod edges;
mod embedding;
mod emulation;
mod examples;
mod failed_reads;
mod filtered;
mod growth;
mod http;
mod large_packets;
mod layers;
mod limits;
mod limits_reached;
mod many_nodes;
mod memberships;
mod memory;
mod node;
mod order;
mod own_handlers;
mod pages;
mod parameters;
mod private_files;
mod publish;
mod pubsub;
mod query_header;
mod read_limits;
mod readers;
mod request_memory;
mod resources;
mod resume;
mod resume_fairness;
mod resume_memory;
mod resume_work;
mod runtime;
mod sails;
mod sails09;
mod sails_mode;
mod sessions;
mod sites;
mod socket_events;
mod sockets;
mod subscribing;
mod subscription_limits;
mod transcripts;
mod unchanged;
mod underscore_id;
mod unread_memory;
mod values;
mod watched;
