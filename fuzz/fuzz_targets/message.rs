//! All input of a back end, as JSON, lines or a form, is parsed as messages or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    backwire::count_messages(body);
});
