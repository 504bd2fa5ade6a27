//! Errors of the YAML library in the words of the file: keys and values, no types of Rust.
//!
//! A message is `KEY: VALUE is not …`, `KEY: expected …`, or whatever the reader of a value reports
//! itself. A reader reports `is not …` or `expected …`, and gets the key and the value added here.

use backwire_records::nearest::nearest;
use serde_saphyr::Error;

/// Keys whose values are not shown.
const SECRETS: [&str; 6] = ["api_key", "apiKey", "session_secret", "auth_pass", "file", "env"];

const ONE_VALUE: &str = "expected one value, not a list or a mapping";

/// Returns the problem of an error, without its line and column.
pub(super) fn describe(error: &Error, yaml: &str) -> String {
    let place = error.location().map(|it| (it.line(), it.column()));
    let (key, value) =
        place.map_or_else(Default::default, |(line, column)| key_and_value_at(yaml, line, column));
    let problem = problem(error.without_snippet());
    let is_shown = !key.is_some_and(|key| SECRETS.contains(&key));
    let about_value = match value {
        Some(value) if is_shown && problem.starts_with("is not ") => format!("{value} {problem}"),
        _ => problem.replacen("is not ", "expected ", usize::from(problem.starts_with("is not "))),
    };
    match key {
        Some(key) if problem.starts_with("is not ") || problem.starts_with("expected ") => {
            format!("{key}: {about_value}")
        }
        _ => about_value,
    }
}

fn problem(error: &Error) -> String {
    match error {
        Error::Message { msg, .. } => msg.clone(),
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeUnknownVariant { variant, expected, .. } => unknown("value", variant, expected),
        Error::SerdeMissingField { field, .. } => format!("{field} is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{key} is set twice: remove one")
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key is set twice: remove one".to_owned(),
        Error::NullIntoString { .. } => {
            "a text is missing: write ~ or null in quotes to use it as a text".to_owned()
        }
        Error::InvalidScalar { ty, .. } => format!("is not {}", describe_type(ty)),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("expected {}", describe_type(expected))
        }
        Error::Unexpected { expected: "string scalar", .. }
        | Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. }
        | Error::ExpectedMappingEndAfterEnumVariantValue { .. }
        | Error::UnexpectedValueForUnit { .. }
        | Error::UnexpectedValueForUnitEnumVariant { .. } => ONE_VALUE.to_owned(),
        Error::Unexpected { expected, .. } => format!("expected {}", describe_type(expected)),
        // A secret that begins with `!` is a tag. It is not shown.
        Error::TaggedEnumMismatch { .. } | Error::UnsupportedTag { .. } => {
            "a text that begins with ! needs quotes".to_owned()
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            "<< takes a mapping or a list of mappings".to_owned()
        }
        Error::MultipleDocuments { .. } => "the file has more than one document".to_owned(),
        Error::Eof { .. } => {
            "the file ends inside a list, a mapping or a quoted text: close it".to_owned()
        }
        other => library_message(other),
    }
}

/// Returns the library's own text, without the line and column at its end.
fn library_message(error: &Error) -> String {
    let text = error.render();
    match error.location() {
        Some(at) => text
            .trim_end_matches(&format!(" at line {}, column {}", at.line(), at.column()))
            .to_owned(),
        None => text,
    }
}

fn describe_type(expected: &str) -> &str {
    match expected {
        "boolean" | "a boolean" => "true or false",
        "sequence start" | "a sequence" => "a list",
        "mapping start" | "a map" => "a mapping, KEY: VALUE",
        "floating point" | "a JSON number" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        other if other.starts_with("struct ") => "a mapping, KEY: VALUE",
        other => other,
    }
}

pub(super) fn unknown(kind: &str, name: &str, known: &[&str]) -> String {
    let shown = if name.is_empty() { "''" } else { name };
    match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("unknown {kind} {shown}; did you mean {nearest}?"),
        None => format!("unknown {kind} {shown}; expected one of {}", known.join(", ")),
    }
}

/// Returns the value at a line and column, and the key before it on the same line.
fn key_and_value_at(yaml: &str, line: u64, column: u64) -> (Option<&str>, Option<&str>) {
    let at = |number: u64| usize::try_from(number).ok()?.checked_sub(1);
    let text = at(line).and_then(|line| yaml.lines().nth(line)).unwrap_or_default();
    let place = at(column).and_then(|column| text.char_indices().nth(column));
    let Some((place, _)) = place else { return (None, None) };
    let (before, value) = text.split_at(place);
    // There may be a tag before the value.
    let before =
        before.trim_end_matches(|it: char| it.is_ascii_alphanumeric() || "! ".contains(it));
    let key = before.strip_suffix(':').map(|before| {
        let begin = before.rfind(|it: char| it.is_whitespace() || "{,".contains(it));
        begin.map_or(before, |begin| before[begin..].trim_start_matches(['{', ',', ' ', '\t']))
    });
    let value = value.split([',', '}', ']', '#']).next().unwrap_or_default().trim();
    (key, Some(value).filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_are_found_on_the_line() {
        assert_eq!(
            key_and_value_at("a: 1\n  port: 70000 # x", 2, 9),
            (Some("port"), Some("70000"))
        );
        assert_eq!(key_and_value_at("redis: {port: x, host: y}", 1, 15), (Some("port"), Some("x")));
        assert_eq!(key_and_value_at("redis: {port: x, host: y}", 1, 24), (Some("host"), Some("y")));
        assert_eq!(key_and_value_at("port: !!int x", 1, 13), (Some("port"), Some("x")));
        assert_eq!(key_and_value_at("- 1", 1, 3), (None, Some("1")));
        assert_eq!(key_and_value_at("port: 1", 7, 1), (None, None));
        assert_eq!(key_and_value_at("ä: é", 1, 4), (Some("ä"), Some("é")));
    }
}
