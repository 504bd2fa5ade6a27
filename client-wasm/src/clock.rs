//! Time that goes on while the laptop sleeps and never runs backwards.
//!
//! `performance.now` stands still during sleep in some browsers, and is slow to ask. `Date.now` goes
//! on but may be set back: then no time has passed since it was last asked, and a deadline comes as much
//! later, which is no more than the time between two of the server's pings.

use std::cell::Cell;

use backwire_protocol::Instant;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn wall() -> f64;
}

/// Milliseconds since it was made.
#[derive(Debug)]
pub(crate) struct Clock {
    elapsed: Cell<f64>,
    seen: Cell<f64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { elapsed: Cell::new(0.0), seen: Cell::new(wall()) }
    }

    // Called for every input: once in the module is enough.
    #[inline(never)]
    pub(crate) fn now(&self) -> Instant {
        let now = wall();
        let step = (now - self.seen.replace(now)).max(0.0);
        self.elapsed.set(self.elapsed.get() + step);
        Instant::from_millis(self.elapsed.get() as u64)
    }
}
