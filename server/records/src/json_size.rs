//! The memory that JSON takes once it is parsed, estimated from its text.
//!
//! A parsed value has many times the size of its text: `[0]` has three bytes as text and more than
//! 300 in memory. So the text is measured before it is parsed. One pass over the text counts what
//! the size depends on; it does not check the syntax.
//!
//! Invariant: valid JSON takes no more memory than the estimate. `Value` has 72 bytes, and a list
//! or an object allocates room for four entries at once. A test measures it.

use memchr::memchr2;
use serde::de::{DeserializeOwned, Error as _};

/// Bytes for one more entry of a list or an object, including the room for entries that do not
/// exist yet.
const ENTRY: usize = 176;

/// Bytes for a list with one entry.
const LIST: usize = 320;

/// Bytes for an object with one entry.
const OBJECT: usize = 400;

/// Bytes for a string, beside its text.
const STRING: usize = 16;

/// The maximum depth of values that are counted. The parser refuses deeper values: it allows a
/// depth of 128, and the data of an event is a few levels deep in it.
const MAX_DEPTH: usize = 160;

/// The counts that the size of some JSON depends on. Its text may arrive in parts.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonSize {
    state: State,
    /// The number of lists and objects that have begun and not ended.
    depth: usize,
    bytes: usize,
    strings: usize,
    commas: usize,
    lists: usize,
    objects: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// At the start of the text, before anything but white space.
    #[default]
    Start,
    Outside,
    InString,
    /// In a string, after a backslash.
    Escaped,
    /// In a value that is neither a list nor an object, so it contains no other values.
    Other,
}

impl JsonSize {
    /// Measures a text.
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        let mut size = Self::default();
        size.add(text.as_ref());
        size
    }

    /// Measures a text, but only roughly if that shows that it takes at most `max_bytes` and has at
    /// most `max_values`. The rough size is never too small: it counts what is in strings as well.
    /// It takes a tenth of the time.
    pub fn rough(text: impl AsRef<[u8]>, max_bytes: usize, max_values: usize) -> Self {
        let text = text.as_ref();
        let rough = Self::upper_bound(text);
        let is_enough = rough.parsed_bytes() <= max_bytes && rough.values() <= max_values;
        if is_enough { rough } else { Self::of(text) }
    }

    fn upper_bound(text: &[u8]) -> Self {
        let [mut strings, mut commas, mut lists, mut objects] = [0; 4];
        // Counters of one byte let the compiler count many bytes at once.
        for part in text.chunks(usize::from(u8::MAX)) {
            let mut counts = [0_u8; 4];
            for byte in part {
                counts[0] += u8::from(*byte == b'"');
                counts[1] += u8::from(*byte == b',');
                counts[2] += u8::from(*byte == b'[');
                counts[3] += u8::from(*byte == b'{');
            }
            strings += usize::from(counts[0]);
            commas += usize::from(counts[1]);
            lists += usize::from(counts[2]);
            objects += usize::from(counts[3]);
        }
        Self { bytes: text.len(), strings, commas, lists, objects, ..Self::default() }
    }

    /// Measures all JSON that may be in the query of a url. It is not known where strings begin and
    /// end there, so every character that could begin a value counts.
    pub fn of_query(query: &str) -> Self {
        let mut size = Self { bytes: query.len(), ..Self::default() };
        let bytes = query.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let encoded = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
            match (byte, encoded.map(<[u8]>::to_ascii_uppercase).as_deref()) {
                (b',', _) | (_, Some(b"2C")) => size.commas += 1,
                (b'[', _) | (_, Some(b"5B")) => size.lists += 1,
                (b'{', _) | (_, Some(b"7B")) => size.objects += 1,
                (b'"', _) | (_, Some(b"22")) => size.strings += 1,
                _ => {}
            }
        }
        size
    }

    /// Adds the next part of the text.
    pub fn add(&mut self, text: &[u8]) {
        self.bytes += text.len();
        let mut rest = text;
        while !rest.is_empty() {
            rest = match self.state {
                State::Start => self.add_start(rest),
                State::Outside => self.add_outside(rest),
                State::InString => self.add_string(rest),
                State::Escaped => {
                    self.state = State::InString;
                    &rest[1..]
                }
                State::Other => &[],
            };
        }
    }

    /// Returns the number of values in the text: the entries of lists and objects, and the lists
    /// and objects themselves.
    pub fn values(&self) -> usize {
        1 + self.commas + self.lists + self.objects
    }

    /// Returns the bytes that the values take in memory.
    pub fn parsed_bytes(&self) -> usize {
        let Self { bytes, strings, commas, lists, objects, .. } = *self;
        bytes + bytes / 4 + strings * STRING + commas * ENTRY + lists * LIST + objects * OBJECT
    }

    /// Returns the sum of both.
    pub fn with(self, other: Self) -> Self {
        Self {
            state: self.state,
            depth: self.depth,
            bytes: self.bytes + other.bytes,
            strings: self.strings + other.strings,
            commas: self.commas + other.commas,
            lists: self.lists + other.lists,
            objects: self.objects + other.objects,
        }
    }

    fn add_start<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let text = text.trim_ascii_start();
        match text.first() {
            None => {}
            Some(b'[' | b'{') => self.state = State::Outside,
            Some(_) => self.state = State::Other,
        }
        text
    }

    /// Counts up to the next string, and returns the text after its quote.
    fn add_outside<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b',' => self.commas += usize::from(self.depth <= MAX_DEPTH),
                b'[' => {
                    self.depth += 1;
                    self.lists += usize::from(self.depth <= MAX_DEPTH);
                }
                b'{' => {
                    self.depth += 1;
                    self.objects += usize::from(self.depth <= MAX_DEPTH);
                }
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                b'"' => {
                    self.strings += 1;
                    self.state = State::InString;
                    return &text[at + 1..];
                }
                _ => {}
            }
        }
        &[]
    }

    /// Returns the text after the quote or the backslash.
    fn add_string<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let Some(at) = memchr2(b'"', b'\\', text) else { return &[] };
        self.state = if text[at] == b'"' { State::Outside } else { State::Escaped };
        &text[at + 1..]
    }
}

/// The maximum number of values in JSON whose memory is not claimed.
const MAX_SMALL: usize = 10_000;

/// Parses JSON that is never large. Its memory is not claimed.
pub fn parse_small<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    match JsonSize::of(text).values() {
        ..=MAX_SMALL => serde_json::from_str(text),
        _ => Err(serde_json::Error::custom("it has too many values")),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use serde_json::{Map, Value, json};

    use super::*;

    /// Returns the minimum bytes that a value takes, beside its entry in a list or an object.
    fn held(value: &Value) -> usize {
        const ENTRY: usize = size_of::<Value>() + size_of::<String>() + size_of::<usize>();
        match value {
            Value::String(text) => text.capacity(),
            Value::Array(list) => {
                list.capacity() * size_of::<Value>() + list.iter().map(held).sum::<usize>()
            }
            Value::Object(object) => {
                let entries = object.iter().map(|(name, value)| name.capacity() + held(value));
                object.len() * (ENTRY + 2 * size_of::<usize>()) + entries.sum::<usize>()
            }
            _ => 0,
        }
    }

    fn values_in(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(values_in).sum(),
            Value::Object(object) => object.values().map(values_in).sum(),
            _ => 0,
        }
    }

    fn random(random: &mut StdRng, depth: usize) -> Value {
        let text = |random: &mut StdRng| -> String {
            let size = random.random_range(0..12);
            (0..size)
                .map(|_| {
                    *[',', '[', '{', '"', '\\', 'a', 'ä'].get(random.random_range(0..7)).unwrap()
                })
                .collect()
        };
        let count = if depth == 0 { 0 } else { random.random_range(0..9) };
        match random.random_range(0..5) {
            0 => Value::Null,
            1 => json!(random.random_range(0..1000)),
            2 => text(random).into(),
            3 => (0..count).map(|_| self::random(random, depth - 1)).collect(),
            _ => {
                let entry = |random: &mut StdRng| (text(random), self::random(random, depth - 1));
                (0..count).map(|_| entry(random)).collect::<Map<_, _>>().into()
            }
        }
    }

    #[test]
    fn no_value_takes_more_memory_than_the_estimate_of_its_text() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut numbers = StdRng::seed_from_u64(seed);
        for _ in 0..500 {
            let text = json!([random(&mut numbers, 5)]).to_string();
            let value: Value = serde_json::from_str(&text).unwrap();
            let mut size = JsonSize::default();
            let part = numbers.random_range(1..=text.len());
            text.as_bytes().chunks(part).for_each(|part| size.add(part));
            assert!(size.parsed_bytes() >= held(&value), "{text}");
            assert!((values_in(&value)..=2 * values_in(&value)).contains(&size.values()), "{text}");
            let [exact, rough] = [0, usize::MAX].map(|max| JsonSize::rough(&text, max, max));
            assert_eq!(exact.parsed_bytes(), size.parsed_bytes(), "{text}");
            assert!(rough.parsed_bytes() >= size.parsed_bytes(), "{text}");
            assert!(rough.values() >= size.values(), "{text}");
        }
    }

    #[test]
    fn small_texts_of_large_values_are_estimated_as_large() {
        for (text, times) in [("0,", 36), ("[0],", 90), ("{\"\":0},", 60), ("[[[0]]],", 110)] {
            let text = format!("[{}0]", text.repeat(1000));
            let value: Value = serde_json::from_str(&text).unwrap();
            let (estimate, held) = (JsonSize::of(&text).parsed_bytes(), held(&value));
            assert!(estimate >= held && estimate <= 4 * held, "{estimate} {held}");
            assert!(estimate > times * text.len(), "{}", estimate / text.len());
        }
    }

    #[test]
    fn characters_in_strings_are_not_counted_as_values() {
        let size = JsonSize::of(r#"{"a,b":"[{,\\\"[,","c":"\\"}"#);
        assert_eq!((size.commas, size.lists, size.objects, size.strings), (1, 0, 1, 4));
        assert_eq!(JsonSize::of("\"a,b").values(), 1);
        assert_eq!(JsonSize::of("a,b\n[c,d]").values(), 1);
        assert_eq!(JsonSize::of("\n [1,2]").values(), 3);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(JsonSize::of(&deep).values(), 1 + MAX_DEPTH);
        assert_eq!(JsonSize::of(format!("[{deep},[1]]")).values(), 1 + MAX_DEPTH + 2);
    }

    #[test]
    fn percent_encoded_values_of_a_query_are_counted() {
        let size = JsonSize::of_query("where=%7b%22a%22:[1%2C2,3]}&x=\"{");
        assert_eq!((size.commas, size.lists, size.objects, size.strings), (2, 1, 2, 3));
    }

    proptest! {
        #[test]
        fn text_in_parts_is_counted_as_the_whole_text(text in "[\\[{,\"\\\\a ]{0,40}", part in 1..9_usize) {
            let mut size = JsonSize::default();
            text.as_bytes().chunks(part).for_each(|part| size.add(part));
            prop_assert_eq!(format!("{size:?}"), format!("{:?}", JsonSize::of(&text)));
        }
    }
}
