//! How a client knows its own changes again.

/// An idempotency key as others may see it: FNV-1a 64 of its bytes, lowest 53 bits, so that it is
/// exact as a JavaScript number. Never 0, which stands for "no key".
pub fn mark(key: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash =
        key.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    (hash & ((1 << 53) - 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn a_mark_is_exact_in_javascript_and_never_zero() {
        for key in ["", "a", "5f0c-1", "5f0c-2"] {
            assert!((1..1 << 53).contains(&mark(key)), "{key}");
        }
        assert_ne!(mark("5f0c-1"), mark("5f0c-2"));
    }
}
