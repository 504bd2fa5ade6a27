//! Ids and values as bytes whose order is theirs. Sorted sets in Redis compare bytes.

use backwire_records::change::Id;
use backwire_records::criteria::Rank;
use serde_json::Value;

use crate::Error;

/// The maximum bytes of a text in an index. Longer texts that begin alike are found together.
const MAX_TEXT_BYTES: usize = 128;

const SIGN: u64 = 1 << 63;

/// Returns an id as bytes: integers before texts.
pub(super) fn id(id: &Id) -> Vec<u8> {
    match id {
        Id::Integer(integer) => format!("i{:016x}", integer.cast_unsigned() ^ SIGN).into_bytes(),
        Id::Text(text) => [b"t", text.as_bytes()].concat(),
    }
}

/// Returns the id that was encoded as these bytes.
pub(super) fn decode_id(bytes: &[u8]) -> Result<Id, Error> {
    let text = bytes.get(1..).and_then(|text| std::str::from_utf8(text).ok());
    let id = match (bytes.first(), text) {
        (Some(b'i'), Some(text)) => {
            let number = u64::from_str_radix(text, 16).ok();
            number.map(|number| Id::Integer((number ^ SIGN).cast_signed()))
        }
        (Some(b't'), Some(text)) => Some(Id::Text(text.into())),
        _ => None,
    };
    id.ok_or_else(|| Error::Unavailable("an id in Redis is malformed".to_owned()))
}

/// Returns a value as bytes, in the order of the ranks and of the values of each. Equal values have
/// the same bytes; a few different ones, too: long texts, lists and objects.
pub(super) fn value(value: &Value) -> Vec<u8> {
    match value {
        Value::Number(number) => {
            number.as_f64().map_or_else(|| self::rank(Rank::Number), self::number)
        }
        Value::String(text) => self::text(text),
        other => rank(Rank::of(other)),
    }
}

/// Returns the first byte of the values of a rank.
pub(super) fn rank(rank: Rank) -> Vec<u8> {
    vec![match rank {
        Rank::Null => b'0',
        Rank::False => b'1',
        Rank::True => b'2',
        Rank::Number => b'3',
        Rank::Text => b'4',
        Rank::Composed => b'5',
    }]
}

/// Returns a number as bytes. In JavaScript, -0 equals 0.
pub(super) fn number(number: f64) -> Vec<u8> {
    let bits = (number + 0.0).to_bits();
    let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    format!("3{ordered:016x}").into_bytes()
}

/// Returns a text as bytes. They end with 0 and 1, which is before any longer text.
pub(super) fn text(text: &str) -> Vec<u8> {
    let mut bytes = rank(Rank::Text);
    for &byte in text.as_bytes().iter().take(MAX_TEXT_BYTES) {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes.extend([0, 1]);
    bytes
}

/// Returns the member of a record in an index: its value and its id.
pub(super) fn member(value: &Value, id: &Id) -> Vec<u8> {
    [self::value(value), self::id(id)].concat()
}

/// Whether different texts may have this value.
pub(super) fn is_truncated(value: &[u8]) -> bool {
    value.starts_with(&rank(Rank::Text)) && value.len() > MAX_TEXT_BYTES
}

/// Returns the value and the id of a member.
pub(super) fn split(member: &[u8]) -> (&[u8], &[u8]) {
    let length = match member.first() {
        Some(b'3') => 17,
        Some(b'4') => {
            // A text ends with 0 and 1, and has no other 0 before a 1.
            let end = member.windows(2).position(|two| two == [0, 1]);
            end.map_or(member.len(), |end| end + 2)
        }
        _ => 1,
    };
    member.split_at(length.min(member.len()))
}

/// Returns the values in which an attribute may hold a reference to an id.
pub(super) fn forms(id: &Id) -> Vec<Vec<u8>> {
    match id {
        #[expect(clippy::cast_precision_loss, reason = "indexes have numbers as doubles")]
        Id::Integer(integer) => vec![number(*integer as f64), text(&integer.to_string())],
        Id::Text(id) => vec![text(id)],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_ranks() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1e300),
            json!(-7),
            json!(-0.5),
            json!(0),
            json!(5e-324),
            json!(1),
            json!(u64::MAX),
            json!(""),
            json!("\u{0}"),
            json!("\u{0}a"),
            json!("a"),
            json!("a\u{0}"),
            json!("a\u{1}"),
            json!("ab"),
            json!("b"),
            json!([]),
        ];
        let encoded: Vec<_> = values.iter().map(value).collect();
        assert!(encoded.is_sorted_by(|one, next| one < next));
        assert_eq!(value(&json!(-0.0)), value(&json!(0)));
        assert_eq!(value(&json!(1.0)), value(&json!(1)));
    }

    proptest! {
        #[test]
        fn ids_keep_their_order_and_are_decoded(one in any::<i64>(), other in any::<i64>(), text in ".{1,9}") {
            let ids = [Id::Integer(one), Id::Integer(other), Id::Text(text.into())];
            for id in &ids {
                prop_assert_eq!(&decode_id(&self::id(id)).unwrap(), id);
            }
            prop_assert_eq!(id(&ids[0]).cmp(&id(&ids[1])), ids[0].cmp(&ids[1]));
            prop_assert!(id(&ids[0]) < id(&ids[2]));
        }

        #[test]
        fn member_is_split_into_value_and_id(number in any::<f64>(), text in "[\u{0}\u{1}ab]{0,5}") {
            for value in [json!(number), json!(text), json!(null), json!([1])] {
                for id in [Id::Integer(1), Id::Text(text.clone().into())] {
                    let member = member(&value, &id);
                    let (split, rest) = split(&member);
                    prop_assert_eq!((split, rest), (&self::value(&value)[..], &self::id(&id)[..]));
                }
            }
        }

        #[test]
        fn texts_keep_their_order(one in "[\u{0}\u{1}ab]{0,5}", other in "[\u{0}\u{1}ab]{0,5}") {
            prop_assert_eq!(text(&one).cmp(&text(&other)), one.cmp(&other));
        }
    }
}
