//! A refused CONNECT in the form that clients of Socket.IO 1 and 2 expect.
//!
//! socketioxide refuses in the form of Socket.IO 3, `44/shop,{"message":"…"}`. Earlier clients pass
//! the data to `socket.on('error')` unchanged, and pages compare it with a string.

use serde::Deserialize;

/// The prefix of a refusal.
pub(super) const PREFIX: &str = "44";

/// The maximum length of a refusal. A longer packet is not a refusal: the texts have at most a few
/// hundred bytes.
pub(super) const MAX_LENGTH: usize = 8 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    message: String,
}

/// Replaces the data of a refusal by its message. Returns `None` if the packet is not a refusal
/// with a message.
pub(super) fn rewrite(packet: &str) -> Option<String> {
    let rest = packet.strip_prefix(PREFIX).filter(|_| packet.len() <= MAX_LENGTH)?;
    let data = &rest[rest.find('{')?..];
    let namespace = rest.strip_suffix(data)?;
    let is_namespace =
        namespace.is_empty() || namespace.starts_with('/') && namespace.ends_with(',');
    let Data { message } = serde_json::from_str(data).ok().filter(|_| is_namespace)?;
    Some(format!("{PREFIX}{namespace}{}", serde_json::Value::from(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_refusal_becomes_its_message() {
        let of_site = rewrite(r#"44/shop,{"message":"Auth 500 error"}"#);
        assert_eq!(of_site.unwrap(), r#"44/shop,"Auth 500 error""#);
        assert_eq!(rewrite(r#"44{"message":"a \"b\" ä"}"#).unwrap(), r#"44"a \"b\" ä""#);
    }

    #[test]
    fn other_packets_are_unchanged() {
        for packet in [
            "44",
            r#"44/shop,"text""#,
            r#"44/shop,{"message":1}"#,
            r#"44/shop,{"message":"a","data":1}"#,
            r#"44["a",{"message":"b"}]"#,
            r#"42/shop,["a",{"message":"b"}]"#,
            r#"4444{"message":"a"}"#,
            r#"40/shop,{"sid":"a"}"#,
        ] {
            assert_eq!(rewrite(packet), None, "{packet}");
        }
        let long = format!(r#"44{{"message":"{}"}}"#, "x".repeat(MAX_LENGTH));
        assert_eq!(rewrite(&long), None);
    }
}
