//! Forms and queries with brackets, as jQuery writes them:
//! `rooms[]=a&rooms[]=b&args[]=user&args[1][id]=1`.
//!
//! The crate serde_qs cannot parse these lists: in the same list, jQuery gives a scalar empty
//! brackets and an object its index. All values are texts.

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

/// The maximum number of values in a form.
const MAX_VALUES: usize = 1000;

/// The maximum depth of a value.
const MAX_DEPTH: usize = 16;

/// Parses a form.
pub fn read(form: &[u8]) -> Result<Map<String, Value>, String> {
    let pairs = form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    nested(pairs.map(|pair| {
        let (key, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        Ok((text(key)?, text(value)?))
    }))
}

/// Builds objects and lists from names with brackets and their values.
pub fn nested(
    pairs: impl Iterator<Item = Result<(String, String), String>>,
) -> Result<Map<String, Value>, String> {
    let mut entries = Map::new();
    for (index, pair) in pairs.enumerate() {
        if index == MAX_VALUES {
            return Err(format!("the form has more than {MAX_VALUES} values"));
        }
        let (key, value) = pair?;
        insert(&mut entries, &path(&key)?, value)
            .map_err(|()| format!("{key:?} of the form has one value and several, or two names"))?;
    }
    Ok(entries.into_iter().map(|(key, value)| (key, with_lists(value))).collect())
}

fn text(encoded: &[u8]) -> Result<String, String> {
    let spaced: Vec<u8> =
        encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = percent_decode(&spaced).decode_utf8();
    decoded.map(String::from).map_err(|_| "the form is not UTF-8".to_owned())
}

/// Splits a name: `args[1][id]` is `args`, `1`, `id`.
fn path(key: &str) -> Result<Vec<&str>, String> {
    let not_one = || format!("{key:?} of the form is no name with brackets");
    let (name, mut rest) = key.split_at(key.find('[').unwrap_or(key.len()));
    let mut path = vec![name];
    while !rest.is_empty() {
        let (inner, after) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(not_one)?;
        if path.len() == MAX_DEPTH {
            return Err(format!("{name:?} of the form is deeper than {MAX_DEPTH}"));
        }
        path.push(inner);
        rest = after;
    }
    if name.is_empty() { Err(not_one()) } else { Ok(path) }
}

/// Inserts a value. Until all values are inserted, a list is an object whose keys are numbers.
fn insert(entries: &mut Map<String, Value>, path: &[&str], value: String) -> Result<(), ()> {
    let Some((key, rest)) = path.split_first() else {
        return Err(());
    };
    let key = if key.is_empty() { next_index(entries) } else { (*key).to_owned() };
    match (entries.get_mut(&key), rest) {
        (None, []) => {
            entries.insert(key, Value::String(value));
            Ok(())
        }
        (None, rest) => {
            let mut inner = Map::new();
            insert(&mut inner, rest, value)?;
            entries.insert(key, Value::Object(inner));
            Ok(())
        }
        // `rooms=a&rooms=b`
        (Some(first @ Value::String(_)), []) => {
            let inner = Map::from_iter([("0".to_owned(), first.take())]);
            *first = Value::Object(inner);
            insert(entries, &[&key, ""], value)
        }
        (Some(Value::Object(inner)), []) if is_list(inner) => insert(inner, &[""], value),
        (Some(Value::Object(inner)), rest @ [_, ..]) => insert(inner, rest, value),
        _ => Err(()),
    }
}

/// Returns the first free index of a list.
fn next_index(list: &Map<String, Value>) -> String {
    let places = (list.len()..).map(|place| place.to_string());
    places.into_iter().find(|place| !list.contains_key(place)).unwrap_or_default()
}

/// Whether an object is a list. Its keys are different, so they are all indexes of a list if each
/// of them is one.
fn is_list(entries: &Map<String, Value>) -> bool {
    let is_place = |key: &String| {
        let is_canonical = key == "0" || !key.starts_with(['0', '+']);
        is_canonical && key.parse().is_ok_and(|place: usize| place < entries.len())
    };
    entries.keys().all(is_place)
}

/// Converts objects with the keys of a list into lists.
fn with_lists(value: Value) -> Value {
    let Value::Object(mut entries) = value else {
        return value;
    };
    if is_list(&entries) {
        let places = (0..entries.len()).map(|place| place.to_string());
        return places.filter_map(|place| entries.remove(&place)).map(with_lists).collect();
    }
    entries.into_iter().map(|(key, value)| (key, with_lists(value))).collect()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parsed(form: &str) -> Value {
        Value::Object(read(form.as_bytes()).unwrap())
    }

    #[test]
    fn form_of_jquery_is_parsed() {
        // $.param({rooms: ['a', 'b'], event: 'e', args: ['user', {id: 1, name: 'A & Ö'}, ['x']]})
        let form = "rooms%5B%5D=a&rooms%5B%5D=b&event=e&args%5B%5D=user&args%5B1%5D%5Bid%5D=1\
                    &args%5B1%5D%5Bname%5D=A+%26+%C3%96&args%5B2%5D%5B%5D=x";
        assert_eq!(
            parsed(form),
            json!({ "rooms": ["a", "b"], "event": "e",
                    "args": ["user", { "id": "1", "name": "A & Ö" }, ["x"]] })
        );
    }

    #[test]
    fn keys_distinguish_lists_from_objects() {
        for (form, value) in [
            ("a=1", json!("1")),
            ("a", json!("")),
            ("a=1&a=2&a=3", json!(["1", "2", "3"])),
            ("a[]=1", json!(["1"])),
            ("a[1]=x&a[0]=y", json!(["y", "x"])),
            ("a[10]=x&a[2]=y", json!({ "10": "x", "2": "y" })),
            ("a[][b]=1&a[][b]=2", json!([{ "b": "1" }, { "b": "2" }])),
            ("a[b]=1&a[c][]=2", json!({ "b": "1", "c": ["2"] })),
            ("a[]=x&a[1][b]=1&a[1][c]=2&a[]=y", json!(["x", { "b": "1", "c": "2" }, "y"])),
            ("a[__proto__]=1", json!({ "__proto__": "1" })),
            ("a=1;b&&", json!("1;b")),
            ("a[0]=x&a[00]=y", json!({ "0": "x", "00": "y" })),
        ] {
            assert_eq!(parsed(form), json!({ "a": value }), "{form}");
        }
    }

    /// Writes a form as jQuery's `$.param` does it.
    fn written(name: &str, value: &Value, form: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                entries.iter().for_each(|(key, value)| {
                    written(&format!("{name}[{key}]"), value, form);
                });
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(place, value)| match value {
                    Value::String(_) => written(&format!("{name}[]"), value, form),
                    _ => written(&format!("{name}[{place}]"), value, form),
                });
            }
            value => {
                let encoded = |text: &str| {
                    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace("%20", "+")
                };
                let value = value.as_str().unwrap();
                form.push(format!("{}={}", encoded(name), encoded(value)));
            }
        }
    }

    /// Texts, lists and objects. Empty lists and objects cannot be written in a form.
    fn value() -> impl Strategy<Value = Value> {
        any::<String>().prop_map(Value::String).prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 1..4).prop_map(Value::Array),
                hash_map("[a-z_ ö]{1,4}", inner, 1..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn value_written_by_jquery_is_parsed_back(value in value()) {
            let mut form = Vec::new();
            written("a", &value, &mut form);
            prop_assert_eq!(parsed(&form.join("&")), json!({ "a": value }));
        }

        #[test]
        fn parser_does_not_panic(form in "([a-b0-1]|[\\[\\]&=%+]){0,60}") {
            let _ = read(form.as_bytes());
        }
    }

    #[test]
    fn contradictory_invalid_and_too_large_forms_are_refused() {
        let deep = format!("a{}=1", "[b]".repeat(16));
        let many = "a[]=1&".repeat(1001);
        for (form, message) in [
            ("a=1&a[b]=2", "\"a[b]\" of the form has one value and several"),
            ("a[b]=2&a=1", "\"a\" of the form has one value"),
            ("a[b=1", "\"a[b\" of the form is no name with brackets"),
            ("a[b]c=1", "\"a[b]c\" of the form is no name"),
            ("[a]=1", "\"[a]\" of the form is no name"),
            ("a=%ff", "the form is not UTF-8"),
            (&deep, "\"a\" of the form is deeper than 16"),
            (&many, "the form has more than 1000 values"),
        ] {
            let refused = read(form.as_bytes()).unwrap_err();
            assert!(refused.starts_with(message), "{refused}");
        }
        assert!(read("a[]=1&".repeat(1000).as_bytes()).is_ok());
    }
}
