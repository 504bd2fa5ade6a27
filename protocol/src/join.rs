//! Constant texts that are joined while the crate is compiled. To join them at run time would add
//! code to the wasm module.

/// Joins constant texts to one.
macro_rules! join {
    ($($part:expr),+) => {{
        const PARTS: &[&str] = &[$($part),+];
        const BYTES: [u8; $crate::join::length(PARTS)] = $crate::join::bytes(PARTS);
        const TEXT: &str = match core::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("joined texts are text"),
        };
        TEXT
    }};
}

pub(crate) use join;

/// Returns the length of all parts together.
pub(crate) const fn length(parts: &[&str]) -> usize {
    let (mut length, mut at) = (0, 0);
    while at < parts.len() {
        length += parts[at].len();
        at += 1;
    }
    length
}

/// Returns the bytes of all parts, which are `N` together.
pub(crate) const fn bytes<const N: usize>(parts: &[&str]) -> [u8; N] {
    let (mut bytes, mut end, mut at) = ([0; N], 0, 0);
    while at < parts.len() {
        let part = parts[at].as_bytes();
        let mut index = 0;
        while index < part.len() {
            bytes[end] = part[index];
            end += 1;
            index += 1;
        }
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn joined_text_has_all_parts_in_order() {
        const NAME: &str = "größe";
        assert_eq!(join!("\"", NAME, "", "\":"), "\"größe\":");
    }
}
