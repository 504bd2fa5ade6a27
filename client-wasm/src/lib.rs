//! Backwire's client in a browser: `backwire-protocol` with a connection of the page and one timer.
//!
//! In reading order:
//!
//! - [`shell`]: the loop between the core and the page;
//! - `socket`: a connection, which the page opens;
//! - `value`: JavaScript values as payloads of the core;
//! - `listener`: the callbacks of the page;
//! - `clock`: a time that continues while the device sleeps;
//! - [`queries`]: the records that each collection shows, independent of the modules above.
//!
//! Pages load two wasm modules: the client, which a page needs before its first request, and the
//! queries, which it needs for the first answer. Each is this crate with one feature.
//!
//! The data of the app never enters wasm memory. Bodies arrive and leave as JSON text in a
//! JavaScript string. The browser parses what the server sends, and the client forwards it as a
//! handle.

#[cfg(feature = "client")]
mod clock;
#[cfg(feature = "client")]
mod listener;
#[cfg(feature = "queries")]
pub mod queries;
#[cfg(feature = "client")]
pub mod shell;
#[cfg(feature = "client")]
mod socket;
#[cfg(feature = "client")]
mod value;

/// This allocator adds half as much to the module as the default one, and is fast enough for the
/// small amount of data here.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
