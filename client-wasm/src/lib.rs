//! Backwire's client in a browser: `backwire-protocol` carried by a WebSocket and one timer.
//!
//! In reading order:
//!
//! - [`shell`]: the loop between the core and the page;
//! - `socket`: the one door to `WebSocket`;
//! - `value`: JavaScript values as the core wants to see them;
//! - `listener`: what the page has to offer;
//! - `clock`: a time that continues while the device sleeps;
//! - [`queries`]: the records that each collection shows, independent of the modules above.
//!
//! The app's own data never enters wasm memory: bodies arrive as JSON text in a JavaScript string
//! and leave as one, what the server sends is parsed by the browser and passed on as a handle.

mod clock;
mod listener;
pub mod queries;
pub mod shell;
mod socket;
mod value;

/// Half the size of the default allocator in the module, and quick enough for what little is kept
/// here.
#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
