//! The mark by which a client recognizes its own changes.

/// Returns the public hash of an idempotency key: the lowest 53 bits of its FNV-1a 64 hash, which
/// JavaScript represents exactly. It is never 0, which stands for "no key".
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
    fn mark_is_a_safe_integer_and_never_zero() {
        for key in ["", "a", "5f0c-1", "5f0c-2"] {
            assert!((1..1 << 53).contains(&mark(key)), "{key}");
        }
        assert_ne!(mark("5f0c-1"), mark("5f0c-2"));
    }
}
