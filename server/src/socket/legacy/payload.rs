//! Several packets of Engine.IO 3 in one text, each behind its length: `2:4015:40/shop?token=x`.

use super::connect;

/// All packets again, if there is a CONNECT with a query among them and all is as it should be.
pub(crate) fn rewritten(payload: &[u8]) -> Option<String> {
    let mut rest = std::str::from_utf8(payload).ok()?;
    let mut all = String::with_capacity(rest.len());
    let mut is_other = false;
    while !rest.is_empty() {
        let packet;
        (packet, rest) = split_packet(rest)?;
        match connect::rewritten(packet) {
            Some(packet) => {
                push(&mut all, &packet);
                is_other = true;
            }
            None => push(&mut all, packet),
        }
    }
    is_other.then_some(all)
}

/// The first packet, and what follows.
fn split_packet(payload: &str) -> Option<(&str, &str)> {
    let (length, rest) = payload.split_once(':')?;
    rest.split_at_checked(bytes_of(rest, length.parse().ok()?)?)
}

/// Lengths are counted as JavaScript does, in units of UTF-16.
fn bytes_of(text: &str, length: usize) -> Option<usize> {
    let (mut units, mut bytes) = (0, 0);
    let mut chars = text.chars();
    while units < length {
        let char = chars.next()?;
        (units, bytes) = (units + char.len_utf16(), bytes + char.len_utf8());
    }
    (units == length).then_some(bytes)
}

fn push(payload: &mut String, packet: &str) {
    let length = packet.encode_utf16().count();
    payload.push_str(&length.to_string());
    payload.push(':');
    payload.push_str(packet);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(packets: &[&str]) -> String {
        let mut payload = String::new();
        packets.iter().for_each(|packet| push(&mut payload, packet));
        payload
    }

    #[test]
    fn a_connect_is_rewritten_among_others() {
        let event = r#"42["hello","/shop?token=x"]"#;
        let sent = payload(&["2", "40/shop?token=x,", event, "40/news?a=b"]);
        let expected = payload(&["2", r#"40/shop,{"token":"x"}"#, event, r#"40/news,{"a":"b"}"#]);
        assert_eq!(rewritten(sent.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn lengths_are_those_of_utf_16() {
        let sent = "9:42[\"ä😀\"]15:40/shop?token=ö";
        let expected = "9:42[\"ä😀\"]21:40/shop,{\"token\":\"ö\"}";
        assert_eq!(rewritten(sent.as_bytes()).unwrap(), expected);
        let face = rewritten(b"22:40/shop?a=%F0%9F%98%80").unwrap();
        assert_eq!(face, "18:40/shop,{\"a\":\"😀\"}");
    }

    #[test]
    fn a_payload_without_such_a_connect_is_left() {
        let packets = payload(&["2", "40/shop,", r#"42["hello","?"]"#]);
        assert_eq!(rewritten(packets.as_bytes()), None);
        assert_eq!(rewritten(b""), None);
    }

    #[test]
    fn a_payload_that_is_not_as_it_should_be_is_left() {
        let good = "15:40/shop?token=x";
        assert!(rewritten(good.as_bytes()).is_some());
        for bad in ["3:2", "x:2", "2", "-1:2", "1:😀", "99999999999999999999:2"] {
            assert_eq!(rewritten(format!("{good}{bad}").as_bytes()), None, "{bad}");
        }
        assert_eq!(rewritten(&[good.as_bytes(), b"1:\xff"].concat()), None);
    }

    proptest! {
        #[test]
        fn packets_stay_apart_whatever_is_in_them(before in ".{0,9}", after in ".{0,9}") {
            let sent = payload(&[&before, "40/shop?ä", &after]);
            let expected = payload(&[&before, r#"40/shop,{"ä":""}"#, &after]);
            prop_assert_eq!(rewritten(sent.as_bytes()).unwrap(), expected);
        }
    }
}
