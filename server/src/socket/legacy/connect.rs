//! One packet of Engine.IO, and the query in it.

use serde_json::{Map, Value};

/// What is longer is no name with a query: a url cannot be.
pub(super) const LONGEST: usize = u16::MAX as usize;

/// How a CONNECT begins that names its namespace.
pub(super) const BEGIN: &str = "40/";

/// The same CONNECT with its query as its auth, if it has a query.
pub(super) fn rewritten(packet: &str) -> Option<String> {
    let is_connect = packet.starts_with(BEGIN) && packet.len() <= LONGEST;
    let (name, query) = is_connect.then_some(packet)?.split_once('?')?;
    let query = query.strip_suffix(',').unwrap_or(query);
    // A comma ends the name, so what has one before its query, or in it, says something else.
    let is_name = ![name, query].iter().any(|part| part.contains(','));
    is_name.then(|| format!("{name},{}", auth(query)))
}

/// Of values of one name, the first counts, as on the url of a handshake.
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
    fn a_query_becomes_the_auth() {
        let expected = r#"40/shop,{"token":"x","deviceId":"desk"}"#;
        for end in ["", ","] {
            let packet = format!("40/shop?token=x&deviceId=desk{end}");
            assert_eq!(rewritten(&packet).unwrap(), expected);
        }
    }

    #[test]
    fn a_query_is_decoded_as_a_form() {
        let decoded = |query| rewritten(&format!("40/shop?{query},")).unwrap();
        assert_eq!(decoded("token=a%20b+c%2Cd%22"), r#"40/shop,{"token":"a b c,d\""}"#);
        assert_eq!(decoded("token=%C3%A4ö&a"), r#"40/shop,{"token":"äö","a":""}"#);
        assert_eq!(decoded("token=%ff%"), "40/shop,{\"token\":\"\u{fffd}%\"}");
        assert_eq!(decoded("a=1?&a=2"), r#"40/shop,{"a":"1?"}"#);
        assert_eq!(decoded(""), "40/shop,{}");
    }

    #[test]
    fn what_says_no_query_is_left() {
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
            assert_eq!(rewritten(packet), None, "{packet}");
        }
    }

    #[test]
    fn what_is_longer_than_a_url_is_left() {
        let name = "40/shop?";
        let longest = format!("{name}{}", "x".repeat(LONGEST - name.len()));
        assert!(rewritten(&longest).is_some());
        assert!(rewritten(&format!("{longest}x")).is_none());
    }
}
