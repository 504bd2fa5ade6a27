//! Facts about the core: it needs no browser and no server.

mod conversation;
mod links;
mod packets;
mod schedules;
mod support;
