//! Whatever a client sends as an event is a request or a refusal, in every dialect.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|event: &str| {
    backwire::count_accepting_dialects(event);
});
