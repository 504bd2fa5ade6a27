//! All events of a client are parsed as requests or refused, in every dialect.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|event: &str| {
    backwire::count_accepting_dialects(event);
});
