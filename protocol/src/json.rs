//! Small functions for text. The core writes some JSON itself, and never parses any. `str::find`
//! and `str::parse` would add much code to the wasm module.

/// Returns a decimal number and the text after it, or `None` if there is none or it is too large.
pub(crate) fn read_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number: Option<u64> = None;
    let mut rest = text;
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        let tens = number.unwrap_or(0).checked_mul(10)?;
        number = Some(tens.checked_add(u64::from(digit - b'0'))?);
        rest = after;
    }
    Some((number?, rest))
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => push_escape(out, character),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Returns the members of a JSON object without white space around it. The text may be empty.
pub(crate) fn members(object: &str) -> &str {
    object.get(1..object.len().max(2) - 1).unwrap_or_default()
}

/// Appends the members of an object to the members at the end of `out`.
pub(crate) fn push_members(out: &mut String, object: &str) {
    let members = members(object);
    if !members.is_empty() {
        if out.as_bytes().last() != Some(&b'{') {
            out.push(',');
        }
        out.push_str(members);
    }
}

/// Appends an integer. `format!` would add half of `core::fmt` to the wasm module.
pub(crate) fn push_number(out: &mut String, number: u64) {
    if number >= 10 {
        push_number(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

fn push_escape(out: &mut String, control: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let code = control as usize;
    out.push_str("\\u00");
    out.push(char::from(HEX[code >> 4]));
    out.push(char::from(HEX[code & 15]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn string_survives_a_round_trip(text: String) {
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn number_survives_a_round_trip(number: u64) {
            let mut out = String::new();
            push_number(&mut out, number);
            prop_assert_eq!(out, number.to_string());
        }
    }
}
