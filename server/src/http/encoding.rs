//! Content negotiation by `Accept-Encoding`.

use http::{HeaderMap, header};

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    /// Returns the encoding with the smallest content that the client accepts. A client that
    /// accepts none of them gets the content uncompressed.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        let lists: Vec<_> = lists.filter_map(|list| list.to_str().ok()).collect();
        let accepts = |name: &str| {
            let codings = lists.iter().flat_map(|list| list.split(',')).map(coding);
            // The entry of the coding itself comes before `*`.
            let (own, any): (Vec<_>, Vec<_>) = codings
                .filter(|(coding, _)| coding.eq_ignore_ascii_case(name) || *coding == "*")
                .partition(|(coding, _)| *coding != "*");
            own.first().or(any.first()).is_some_and(|(_, is_accepted)| *is_accepted)
        };
        match () {
            () if accepts("br") => Self::Brotli,
            () if accepts("gzip") => Self::Gzip,
            () => Self::Identity,
        }
    }

    /// Returns its name in `Content-Encoding`. Uncompressed content has none.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }
}

/// Parses a coding, and whether its weight is above 0: `gzip;q=0.5`.
fn coding(text: &str) -> (&str, bool) {
    let (name, weight) = text.split_once(';').unwrap_or((text, ""));
    let weight =
        weight.trim().strip_prefix(['q', 'Q']).and_then(|it| it.trim_start().strip_prefix('='));
    let weight = weight.map(str::trim);
    let is_accepted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|it| it > 0.0));
    (name.trim(), is_accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &str) -> Encoding {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]);
        Encoding::accepted(&headers)
    }

    #[test]
    fn smallest_accepted_encoding_is_chosen() {
        for (value, expected) in [
            ("gzip, deflate, br", Encoding::Brotli),
            ("BR;q=0.1, gzip;q=1.0", Encoding::Brotli),
            ("br;q=0, gzip", Encoding::Gzip),
            ("*", Encoding::Brotli),
            ("*, br;q=0", Encoding::Gzip),
            ("*;q=0", Encoding::Identity),
            ("gzip;q=0.000", Encoding::Identity),
            ("gzip;q=none", Encoding::Identity),
            ("gzip;Q=0", Encoding::Identity),
            ("deflate", Encoding::Identity),
            ("", Encoding::Identity),
        ] {
            assert_eq!(accepted(value), expected, "{value}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), Encoding::Identity);
    }
}
