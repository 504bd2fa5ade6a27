//! Parses durations in settings and arguments.

use std::time::Duration;

/// Parses a duration with a unit: `90s`, `30m`, `24h` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}; expected a form like 90s, 30m, 24h or 7d");
    let unit = text.chars().next_back().ok_or_else(invalid)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(invalid()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| invalid())?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(invalid)
}

/// Parses the same forms as [`duration`], and a number without a unit as seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => duration(text).map_err(|_| {
            format!("invalid duration {text:?}; expected a form like 90, 90s, 30m, 24h or 7d")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_requires_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "s", "24", "1y", "-1s", "99999999999999999999d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
