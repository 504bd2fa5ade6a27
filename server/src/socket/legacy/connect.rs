//! A CONNECT with a query in the name of its namespace.

use serde_json::{Map, Value};

/// The maximum length of a CONNECT with a query. A longer packet is none, because a url cannot be
/// longer.
pub(super) const MAX_LENGTH: usize = u16::MAX as usize;

/// The prefix of a CONNECT that names its namespace.
pub(super) const PREFIX: &str = "40/";

/// Moves the query of a CONNECT into its auth. Returns `None` if it has no query.
pub(super) fn rewrite(packet: &str) -> Option<String> {
    let is_connect = packet.starts_with(PREFIX) && packet.len() <= MAX_LENGTH;
    let (name, query) = is_connect.then_some(packet)?.split_once('?')?;
    let query = query.strip_suffix(',').unwrap_or(query);
    // A comma ends the name, so a packet with a comma before its query, or in it, has another
    // meaning.
    let is_name = ![name, query].iter().any(|part| part.contains(','));
    is_name.then(|| format!("{name},{}", auth(query)))
}

/// Parses the query. Of values with the same name, the first counts, as in the url of a handshake.
fn auth(query: &str) -> Value {
    let mut auth = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        auth.entry(name).or_insert_with(|| value.into());
    }
    auth.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_becomes_the_auth() {
        let expected = r#"40/shop,{"token":"x","deviceId":"desk"}"#;
        for end in ["", ","] {
            let packet = format!("40/shop?token=x&deviceId=desk{end}");
            assert_eq!(rewrite(&packet).unwrap(), expected);
        }
    }

    #[test]
    fn query_is_decoded_as_a_form() {
        let decoded = |query| rewrite(&format!("40/shop?{query},")).unwrap();
        assert_eq!(decoded("token=a%20b+c%2Cd%22"), r#"40/shop,{"token":"a b c,d\""}"#);
        assert_eq!(decoded("token=%C3%A4ö&a"), r#"40/shop,{"token":"äö","a":""}"#);
        assert_eq!(decoded("token=%ff%"), "40/shop,{\"token\":\"\u{fffd}%\"}");
        assert_eq!(decoded("a=1?&a=2"), r#"40/shop,{"a":"1?"}"#);
        assert_eq!(decoded(""), "40/shop,{}");
    }

    #[test]
    fn packet_without_a_query_is_unchanged() {
        let packets = [
            "40",
            "40/shop",
            "40/shop,",
            r#"40/shop,{"token":"a?b"}"#,
            r#"42["get","/todo?a=b"]"#,
            r#"42/shop?a,["b"]"#,
            "41/shop?token=x,",
            "40?token=x",
            "40/shop?token=a,b",
            "2probe?",
            "",
        ];
        for packet in packets {
            assert_eq!(rewrite(packet), None, "{packet}");
        }
    }

    #[test]
    fn packet_longer_than_a_url_is_unchanged() {
        let name = "40/shop?";
        let longest = format!("{name}{}", "x".repeat(MAX_LENGTH - name.len()));
        assert!(rewrite(&longest).is_some());
        assert!(rewrite(&format!("{longest}x")).is_none());
    }
}
