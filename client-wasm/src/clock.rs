//! A clock that continues while the device sleeps and never runs backwards.
//!
//! `performance.now` stops during sleep in some browsers, and is slow to call. `Date.now`
//! continues, but may be set back. Then the clock assumes that no time has passed since the last
//! call, and a deadline is late by at most the time between two pings of the server.

use std::cell::Cell;

use backwire_protocol::Instant;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn wall() -> f64;
}

/// A clock in milliseconds since its creation.
#[derive(Debug)]
pub(crate) struct Clock {
    elapsed: Cell<f64>,
    seen: Cell<f64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { elapsed: Cell::new(0.0), seen: Cell::new(wall()) }
    }

    // Every input calls this. One copy in the module is enough.
    #[inline(never)]
    pub(crate) fn now(&self) -> Instant {
        let now = wall();
        let step = (now - self.seen.replace(now)).max(0.0);
        self.elapsed.set(self.elapsed.get() + step);
        Instant::from_millis(self.elapsed.get() as u64)
    }
}
