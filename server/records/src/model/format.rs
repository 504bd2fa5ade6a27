//! The formats of texts: addresses, and points in time.

use std::str::FromStr;

use email_address::EmailAddress;
use jiff::Timestamp;
use url::Url;

pub(super) fn is_email(text: &str) -> bool {
    EmailAddress::from_str(text).is_ok()
}

/// Whether a text is a url with http or https and a host.
pub(super) fn is_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Formats Unix milliseconds as JavaScript's `toISOString` does.
pub(super) fn iso(at: u64) -> String {
    let millisecond = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    format!("{:.3}", millisecond.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_are_recognized() {
        assert!(is_email("ann@example.org"));
        assert!(!is_email("ann@"));
        assert!(is_url("https://example.org/a?b"));
        for none in ["example.org", "javascript:alert(1)", "https://", "mailto:ann@example.org"] {
            assert!(!is_url(none), "{none}");
        }
    }

    #[test]
    fn time_is_written_with_milliseconds_also_if_they_are_zero() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    }
}
