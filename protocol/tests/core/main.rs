//! Tests of the core. They need no browser and no server.

mod conversation;
mod http;
#[path = "../shared/json.rs"]
mod json;
mod links;
mod lost_changes;
mod online;
mod packets;
mod retries;
mod rooms;
mod schedules;
mod support;
mod waking;
mod wire;
