//! Forms and queries with brackets, as jQuery writes them: `rooms[]=a&rooms[]=b&args[]=user&args[1][id]=1`.
//!
//! There is one way of writing lists here that serde_qs, which is otherwise what one would take, does not
//! read: jQuery gives a scalar in a list empty brackets and an object its index, in the same list. All
//! values are texts.

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

/// Values in a form.
const MOST_VALUES: usize = 1000;

/// How deep they may be.
const DEEPEST: usize = 16;

/// What a form says.
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

/// What names with brackets and their values say.
pub fn nested(
    pairs: impl Iterator<Item = Result<(String, String), String>>,
) -> Result<Map<String, Value>, String> {
    let mut said = Map::new();
    for (index, pair) in pairs.enumerate() {
        if index == MOST_VALUES {
            return Err(format!("the form has more than {MOST_VALUES} values"));
        }
        let (key, value) = pair?;
        put(&mut said, &path(&key)?, value).map_err(|()| {
            format!("{key:?} of the form is told as one value and as several, or by two names")
        })?;
    }
    Ok(said.into_iter().map(|(key, value)| (key, closed(value))).collect())
}

fn text(encoded: &[u8]) -> Result<String, String> {
    let spaced: Vec<u8> =
        encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = percent_decode(&spaced).decode_utf8();
    decoded.map(String::from).map_err(|_| "the form is not UTF-8".to_owned())
}

/// `args[1][id]` is `args`, `1`, `id`.
fn path(key: &str) -> Result<Vec<&str>, String> {
    let not_one = || format!("{key:?} of the form is no name with brackets");
    let (name, mut rest) = key.split_at(key.find('[').unwrap_or(key.len()));
    let mut path = vec![name];
    while !rest.is_empty() {
        let (inner, after) =
            rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(not_one)?;
        if path.len() == DEEPEST {
            return Err(format!("{name:?} of the form is deeper than {DEEPEST}"));
        }
        path.push(inner);
        rest = after;
    }
    if name.is_empty() { Err(not_one()) } else { Ok(path) }
}

/// Until all is said, a list is an object with numbers for keys.
fn put(said: &mut Map<String, Value>, path: &[&str], value: String) -> Result<(), ()> {
    let Some((key, rest)) = path.split_first() else {
        return Err(());
    };
    let key = if key.is_empty() { free(said) } else { (*key).to_owned() };
    match (said.get_mut(&key), rest) {
        (None, []) => {
            said.insert(key, Value::String(value));
            Ok(())
        }
        (None, rest) => {
            let mut inner = Map::new();
            put(&mut inner, rest, value)?;
            said.insert(key, Value::Object(inner));
            Ok(())
        }
        // `rooms=a&rooms=b`
        (Some(first @ Value::String(_)), []) => {
            let inner = Map::from_iter([("0".to_owned(), first.take())]);
            *first = Value::Object(inner);
            put(said, &[&key, ""], value)
        }
        (Some(Value::Object(inner)), []) if is_list(inner) => put(inner, &[""], value),
        (Some(Value::Object(inner)), rest @ [_, ..]) => put(inner, rest, value),
        _ => Err(()),
    }
}

/// The place of the next in a list.
fn free(list: &Map<String, Value>) -> String {
    let places = (list.len()..).map(|place| place.to_string());
    places.into_iter().find(|place| !list.contains_key(place)).unwrap_or_default()
}

/// The keys are different, so they are all places if each is one of them.
fn is_list(entries: &Map<String, Value>) -> bool {
    let is_place = |key: &String| {
        let is_canonical = key == "0" || !key.starts_with(['0', '+']);
        is_canonical && key.parse().is_ok_and(|place: usize| place < entries.len())
    };
    entries.keys().all(is_place)
}

/// Lists as such.
fn closed(value: Value) -> Value {
    let Value::Object(mut entries) = value else {
        return value;
    };
    if is_list(&entries) {
        let places = (0..entries.len()).map(|place| place.to_string());
        return places.filter_map(|place| entries.remove(&place)).map(closed).collect();
    }
    entries.into_iter().map(|(key, value)| (key, closed(value))).collect()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(form: &str) -> Value {
        Value::Object(read(form.as_bytes()).unwrap())
    }

    #[test]
    fn a_form_is_read_as_jquery_writes_it() {
        // $.param({rooms: ['a', 'b'], event: 'e', args: ['user', {id: 1, name: 'A & Ö'}, ['x']]})
        let form = "rooms%5B%5D=a&rooms%5B%5D=b&event=e&args%5B%5D=user&args%5B1%5D%5Bid%5D=1\
                    &args%5B1%5D%5Bname%5D=A+%26+%C3%96&args%5B2%5D%5B%5D=x";
        assert_eq!(
            said(form),
            json!({ "rooms": ["a", "b"], "event": "e",
                    "args": ["user", { "id": "1", "name": "A & Ö" }, ["x"]] })
        );
    }

    #[test]
    fn lists_are_told_from_objects_by_their_keys() {
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
            assert_eq!(said(form), json!({ "a": value }), "{form}");
        }
    }

    /// As jQuery's `$.param` does it.
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

    /// Texts, lists and objects. Those that are empty are not in a form.
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
        fn what_jquery_writes_is_read_as_it_was(value in value()) {
            let mut form = Vec::new();
            written("a", &value, &mut form);
            prop_assert_eq!(said(&form.join("&")), json!({ "a": value }));
        }

        #[test]
        fn whatever_is_sent_is_read_or_refused(form in "([a-b0-1]|[\\[\\]&=%+]){0,60}") {
            let _ = read(form.as_bytes());
        }
    }

    #[test]
    fn what_can_not_be_both_or_is_too_much_is_refused() {
        let deep = format!("a{}=1", "[b]".repeat(16));
        let many = "a[]=1&".repeat(1001);
        for (form, told) in [
            ("a=1&a[b]=2", "\"a[b]\" of the form is told as one value and as several"),
            ("a[b]=2&a=1", "\"a\" of the form is told"),
            ("a[b=1", "\"a[b\" of the form is no name with brackets"),
            ("a[b]c=1", "\"a[b]c\" of the form is no name"),
            ("[a]=1", "\"[a]\" of the form is no name"),
            ("a=%ff", "the form is not UTF-8"),
            (&deep, "\"a\" of the form is deeper than 16"),
            (&many, "the form has more than 1000 values"),
        ] {
            let refused = read(form.as_bytes()).unwrap_err();
            assert!(refused.starts_with(told), "{refused}");
        }
        assert!(read("a[]=1&".repeat(1000).as_bytes()).is_ok());
    }
}
