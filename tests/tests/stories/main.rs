//! The stories that only real browsers, a real server and bad lines can tell.

mod access;
mod deliveries;
mod everything;
mod filtered;
mod garbage;
mod interop;
mod live;
mod members;
mod offline;
mod phone;
mod picture;
mod refused;
mod restart;
mod script_tag;
