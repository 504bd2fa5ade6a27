//! A WebSocket is closed with the same code for the same bytes, in all partitions of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = backwire::close_code(bytes, usize::MAX);
    for size in [1, 3, 8] {
        assert_eq!(backwire::close_code(bytes, size), whole);
    }
});
