//! The FNV-1a 64 hash of bytes. It distinguishes inputs; it is not cryptographic.

/// Returns the fingerprint of bytes.
pub(crate) fn of(bytes: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(OFFSET_BASIS, step)
}

#[cfg(test)]
mod tests {
    #[test]
    fn fingerprint_is_fnv_1a() {
        assert_eq!(super::of(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::of(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
