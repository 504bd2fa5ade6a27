//! What somebody may have meant by a name that is none.

/// The one that is most like it, if any is like it at all.
pub(crate) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |it: &&str| (strsim::jaro_winkler(name, it) * 1000.0) as u32;
    known.into_iter().max_by_key(likeness).filter(|it| likeness(it) > 700)
}
