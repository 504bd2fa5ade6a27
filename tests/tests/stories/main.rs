//! Stories that need real browsers, a real server and unreliable connections.

mod access;
mod ajax_layer;
mod comparison;
mod deliveries;
mod documentation;
mod everything;
mod filtered;
mod garbage;
mod interop;
mod live;
mod live_queries;
mod members;
mod offline;
mod page_setup;
mod phone;
mod picture;
mod random_live;
mod random_writes;
mod refused;
mod restart;
mod script_tag;
mod tutorial;
mod writes;
