//! Whatever a back end sends as JSON, as lines or as a form is messages or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    backwire::count_messages(body);
});
