//! Suggestions for misspelled names: the only module that uses strsim.

/// Returns the known name that is most similar to this one, if any is similar enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |it: &&str| (strsim::jaro_winkler(name, it) * 1000.0) as u32;
    known.into_iter().max_by_key(likeness).filter(|it| likeness(it) > 700)
}

/// Returns a hint for the end of an error message: `; did you mean todo?`, or an empty string.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|it| format!("; did you mean {it}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_suggests_only_a_similar_name() {
        assert_eq!(hint("usr", ["pet", "user"]), "; did you mean user?");
        assert_eq!(hint("x", ["pet", "user"]), "");
        assert_eq!(hint("x", []), "");
    }
}
