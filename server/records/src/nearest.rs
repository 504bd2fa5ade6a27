//! What somebody may have meant: the one door to strsim.

/// The known name that is most like this one, if any is like it at all.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |it: &&str| (strsim::jaro_winkler(name, it) * 1000.0) as u32;
    known.into_iter().max_by_key(likeness).filter(|it| likeness(it) > 700)
}

/// A hint at the end of a refusal: `; did you mean todo?`, or nothing.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|it| format!("; did you mean {it}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_like_the_name_is_hinted_at() {
        assert_eq!(hint("usr", ["pet", "user"]), "; did you mean user?");
        assert_eq!(hint("x", ["pet", "user"]), "");
        assert_eq!(hint("x", []), "");
    }
}
