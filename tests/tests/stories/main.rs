//! Stories that need real browsers, a real server and unreliable connections.

#[path = "../../../server/engine/tests/engines/polling.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest of it")]
mod polling;
#[path = "../../../server/engine/tests/engines/redis_server.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the tests of the engine use the rest of it")]
mod redis_server;

mod access;
mod ajax_layer;
mod comparison;
mod deliveries;
mod documentation;
mod embedded;
mod everything;
mod filtered;
mod firefox;
mod garbage;
mod interop;
mod live;
mod live_queries;
mod long_polling;
mod members;
mod offline;
mod other_back_end;
mod page_setup;
mod phone;
mod picture;
mod random_live;
mod random_writes;
mod refused;
mod restart;
mod sails;
mod script_tag;
mod several_servers;
mod shared;
mod socket_events;
mod tutorial;
mod users;
mod versions;
mod waking;
mod writes;
