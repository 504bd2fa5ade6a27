//! Time that goes on while the laptop sleeps and never runs backwards.
//!
//! `performance.now` is steady but stands still during sleep in some browsers; `Date.now` goes on
//! but may be set back. Each step takes the larger of the two.

use std::cell::Cell;

use backwire_protocol::Instant;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    // Not `web_sys::window().performance()`: a worker has no window, and this is smaller.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn steady() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn wall() -> f64;
}

/// Milliseconds since it was made.
#[derive(Debug)]
pub(crate) struct Clock {
    elapsed: Cell<f64>,
    seen: Cell<(f64, f64)>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { elapsed: Cell::new(0.0), seen: Cell::new((steady(), wall())) }
    }

    // Called for every input: once in the module is enough.
    #[inline(never)]
    pub(crate) fn now(&self) -> Instant {
        let (steady_before, wall_before) = self.seen.get();
        let (steady, wall) = (steady(), wall());
        self.seen.set((steady, wall));
        let step = (steady - steady_before).max(wall - wall_before).max(0.0);
        self.elapsed.set(self.elapsed.get() + step);
        Instant::from_millis(self.elapsed.get() as u64)
    }
}
