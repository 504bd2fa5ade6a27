//! The bytes of an old client are read in the same way in all partitions of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = backwire::rewrite_old_client(bytes, usize::MAX);
    for size in [1, 3, 8] {
        assert_eq!(backwire::rewrite_old_client(bytes, size), whole);
    }
});
