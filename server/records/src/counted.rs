//! Counts with a noun, for messages.

/// Returns a count with its noun, in the singular or in the plural.
///
/// ```
/// use backwire_records::counted::counted;
///
/// assert_eq!(counted(1, "record"), "1 record");
/// assert_eq!(counted(1_000, "record"), "1000 records");
/// ```
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}
