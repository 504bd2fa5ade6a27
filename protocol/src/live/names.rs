//! Lists in a text, hashes of attribute names, and parts of room names.
//!
//! Attribute names are only compared, so hashes are enough. If two names have the same hash, a
//! query is sent again unnecessarily.

/// The separator of list items in a text. The empty text is the empty list.
pub const SEPARATOR: u8 = 0;

const FNV_OFFSET_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// Returns the FNV-1a hash of a text.
pub(super) fn hash(text: &str) -> u32 {
    text.bytes().fold(FNV_OFFSET_BASIS, add_byte)
}

/// Returns the hash of a percent-encoded text.
pub(super) fn hash_encoded(text: &str) -> u32 {
    let mut hash = FNV_OFFSET_BASIS;
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        hash = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                rest = tail;
                add_byte(hash, value_of(*high) << 4 | value_of(*low))
            }
            _ => {
                rest = tail;
                add_byte(hash, *first)
            }
        };
    }
    hash
}

fn add_byte(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME)
}

/// Returns the value of a hexadecimal digit.
fn value_of(digit: u8) -> u8 {
    (digit & 15) + if digit > b'9' { 9 } else { 0 }
}

/// Removes the first item and the separator after it from a list, and returns the item unless it is
/// empty.
pub fn next_item<'a>(list: &mut &'a str, separator: u8) -> Option<&'a str> {
    let text = *list;
    let end = text.bytes().position(|byte| byte == separator).unwrap_or(text.len());
    *list = text.get(end + 1..).unwrap_or_default();
    text.get(..end).filter(|_| !text.is_empty())
}

/// Returns the resource of a room: `todo` for `todo`, `todo/7` and `todo?…`.
pub(super) fn resource_of(room: &str) -> &str {
    let end = room.bytes().position(|byte| byte == b'/' || byte == b'?');
    end.and_then(|end| room.get(..end)).unwrap_or(room)
}
