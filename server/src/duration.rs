//! How long something is, as people write it.

use std::time::Duration;

/// Reads `90s`, `30m`, `24h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let not_one = || format!("{text:?} is no duration; 90s, 30m, 24h and 7d are");
    let unit = text.chars().next_back().ok_or_else(not_one)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(not_one()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| not_one())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(not_one)
}

/// Reads what [`duration`] does, and a number alone as seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text)
            .map_err(|_| format!("{text:?} is no duration; 90, 90s, 30m, 24h and 7d are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "s", "24", "1y", "-1s", "99999999999999999999d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
