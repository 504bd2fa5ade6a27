//! Several packets of Engine.IO 3 in the body of a request or a response. Each packet follows its
//! length: `2:4015:40/shop?token=x`.
//!
//! The encoding of text in a payload depends on the client ([`Encoding`]). socketioxide supports
//! only the encoding of Socket.IO 2, so payloads of Socket.IO 1 are decoded before socketioxide
//! reads them, and encoded after it has written them.

use std::borrow::Cow;

use super::super::large_packets::LargePackets;
use super::{attachments, connect, refusal};

/// How a client encodes the characters of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Socket.IO 2: text, with lengths in UTF-16 code units.
    Text,
    /// Socket.IO 1 where `XMLHttpRequest` can return bytes, as in browsers: binary payloads. This
    /// client would decode text byte by byte, and fail on large messages.
    Bytes,
    /// Socket.IO 1 elsewhere, with `b64=1`: text in which each character is a byte of a packet's
    /// UTF-8, so that all but ASCII is encoded as UTF-8 twice. Every client of Socket.IO 1 writes
    /// in this encoding.
    ByteChars,
}

/// The decoded body of one request.
#[derive(Debug, PartialEq)]
pub(super) struct DecodedPayload {
    /// The payload for socketioxide.
    pub(super) packets: String,
    /// Whether the client is known to use Socket.IO 1.
    pub(super) is_of_socket_io_1: bool,
}

/// Decodes a payload. Returns `None` if there is nothing to change, or if the payload is invalid
/// and socketioxide has to refuse it.
pub(super) fn decode(
    payload: &[u8],
    is_binary: bool,
    mut is_of_socket_io_1: bool,
) -> Option<DecodedPayload> {
    let packets: Vec<Cow<'_, str>> = if is_binary {
        let packets = binary_packets(payload)?;
        // Socket.IO 2 sends a binary payload only if one of its packets is binary.
        is_of_socket_io_1 |= packets.iter().all(|packet| packet != ATTACHMENT);
        packets
    } else {
        let packets = packets(std::str::from_utf8(payload).ok()?)?;
        is_of_socket_io_1 |= packets.iter().any(|packet| has_name_of_socket_io_1(packet));
        let decoded = packets.into_iter().map(|packet| match is_of_socket_io_1 {
            true => from_byte_chars(packet),
            false => packet.into(),
        });
        decoded.collect()
    };
    let is_rewritten = |packet: &Cow<'_, str>| {
        connect::rewrite(packet).is_some() || attachments::strip_packet(packet).is_some()
    };
    let is_other = is_binary || is_of_socket_io_1 || packets.iter().any(is_rewritten);
    is_other.then(|| DecodedPayload {
        packets: join(packets.iter().map(|packet| rewrite_packet(packet))),
        is_of_socket_io_1,
    })
}

/// Encodes a payload of socketioxide for a client. Returns `None` if it is unchanged.
pub(super) fn encode(payload: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let may_have_refusal = payload.windows(3).any(|bytes| bytes == b":44");
    let is_as_read = match encoding {
        Encoding::Text => !may_have_refusal,
        Encoding::Bytes => payload.is_empty(),
        Encoding::ByteChars => !may_have_refusal && payload.is_ascii(),
    };
    if is_as_read {
        return None;
    }
    let packets = packets(std::str::from_utf8(payload).ok()?)?;
    let mut all = Vec::with_capacity(payload.len());
    for packet in packets {
        let packet = refusal::rewrite(packet).map_or(Cow::Borrowed(packet), Cow::Owned);
        match encoding {
            Encoding::Text => push(&mut all, &packet),
            Encoding::Bytes => push_binary(&mut all, &packet),
            Encoding::ByteChars => push(&mut all, &to_byte_chars(&packet)),
        }
    }
    Some(all)
}

/// Replaces placeholders in a payload of socketioxide by their large packets. Returns `None` if
/// there are none.
pub(super) fn fill_placeholders(payload: &[u8], large: &LargePackets) -> Option<Vec<u8>> {
    if large.is_empty() {
        return None;
    }
    let mut all = Vec::new();
    for packet in packets(std::str::from_utf8(payload).ok()?)? {
        match large.take(packet.as_bytes()) {
            Some(packet) => push(&mut all, str::from_utf8(&packet.into_parts().concat()).ok()?),
            None => push(&mut all, packet),
        }
    }
    Some(all)
}

/// Decodes and encodes any payload, for tests. Returns the payload that socketioxide reads.
pub(crate) fn rewrite_payload(payload: &[u8]) -> Option<String> {
    for is_binary in [false, true] {
        decode(payload, is_binary, true);
    }
    for encoding in [Encoding::Text, Encoding::Bytes, Encoding::ByteChars] {
        encode(payload, encoding);
    }
    Some(decode(payload, false, false)?.packets)
}

/// Whether only Socket.IO 1 writes this packet: Socket.IO 2 ends the name of a namespace with a
/// comma.
fn has_name_of_socket_io_1(packet: &str) -> bool {
    packet.starts_with(connect::PREFIX) && !packet.contains(',')
}

/// Rewrites a packet for socketioxide.
fn rewrite_packet(packet: &str) -> Cow<'_, str> {
    let without_attachments = || attachments::strip_packet(packet);
    let rewritten = connect::rewrite(packet).map(Cow::Owned).or_else(without_attachments);
    rewritten.unwrap_or(Cow::Borrowed(packet))
}

/// Splits a payload of text into packets.
fn packets(mut payload: &str) -> Option<Vec<&str>> {
    let mut packets = Vec::new();
    while !payload.is_empty() {
        let packet;
        (packet, payload) = split_packet(payload)?;
        packets.push(packet);
    }
    Some(packets)
}

/// Returns the first packet, and the rest.
fn split_packet(payload: &str) -> Option<(&str, &str)> {
    let (length, rest) = payload.split_once(':')?;
    rest.split_at_checked(bytes_of(rest, length.parse().ok()?)?)
}

/// Returns the bytes of the first packet of a text, with its length. Returns all bytes if it is not
/// a packet.
pub(super) fn length_of_first(payload: &[u8]) -> usize {
    let length = || {
        let digits = payload.iter().position(|byte| *byte == b':')?;
        let length = str::from_utf8(&payload[..digits]).ok()?.parse().ok()?;
        Some(digits + 1 + bytes_of_chars(&payload[digits + 1..], length)?)
    };
    length().unwrap_or(payload.len())
}

/// Returns the bytes of the first characters of valid UTF-8 that have `length` units in UTF-16.
fn bytes_of_chars(text: &[u8], length: usize) -> Option<usize> {
    // Only bytes that may belong to the packet are checked: a character of one unit has up to three
    // bytes.
    let longest = &text[..text.len().min(length.saturating_mul(3))];
    let valid = match str::from_utf8(longest) {
        Ok(valid) => valid,
        Err(error) => str::from_utf8(&longest[..error.valid_up_to()]).unwrap_or_default(),
    };
    bytes_of(valid, length)
}

/// Precedes a packet of text in a binary payload.
const TEXT: u8 = 0;

/// Precedes a packet of bytes in a binary payload.
const BINARY: u8 = 1;

/// An empty binary packet in a payload of text.
const ATTACHMENT: &str = "b4";

/// Follows the length of a packet in a binary payload.
const END_OF_LENGTH: u8 = 255;

/// Splits a binary payload, `0 1 5 255 40/shop?token=x`, into packets. Binary packets become empty.
fn binary_packets(mut payload: &[u8]) -> Option<Vec<Cow<'_, str>>> {
    const MAX_DIGITS: usize = 9;
    let mut packets = Vec::new();
    while let [kind @ (TEXT | BINARY), rest @ ..] = payload {
        let digits = rest.iter().take(MAX_DIGITS + 1).position(|byte| *byte == END_OF_LENGTH)?;
        let length = rest[..digits].iter().try_fold(0, |length: usize, digit| {
            (*digit < 10).then(|| length * 10 + usize::from(*digit))
        })?;
        let packet;
        (packet, payload) = rest[digits + 1..].split_at_checked(length)?;
        // Half a surrogate pair, which JavaScript may send, is not UTF-8.
        let text = || String::from_utf8_lossy(packet);
        packets.push(if *kind == TEXT { text() } else { ATTACHMENT.into() });
    }
    (payload.is_empty() && !packets.is_empty()).then_some(packets)
}

/// Returns the bytes of the first `length` units of a text. Lengths are counted as in JavaScript,
/// in units of UTF-16.
fn bytes_of(text: &str, length: usize) -> Option<usize> {
    let (mut units, mut bytes) = (0, 0);
    let mut chars = text.chars();
    while units < length {
        let char = chars.next()?;
        (units, bytes) = (units + char.len_utf16(), bytes + char.len_utf8());
    }
    (units == length).then_some(bytes)
}

fn utf16_length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Returns the text whose UTF-8 has these characters as its bytes. A packet with other characters
/// is not encoded.
fn from_byte_chars(packet: &str) -> Cow<'_, str> {
    if packet.is_ascii() {
        return packet.into();
    }
    let bytes: Result<Vec<u8>, _> = packet.chars().map(u8::try_from).collect();
    match bytes {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Err(_) => packet.into(),
    }
}

fn to_byte_chars(packet: &str) -> String {
    packet.bytes().map(char::from).collect()
}

fn join(packets: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut payload = Vec::new();
    packets.for_each(|packet| push(&mut payload, packet.as_ref()));
    String::from_utf8(payload).expect("it is made of strings")
}

fn push(payload: &mut Vec<u8>, packet: &str) {
    payload.extend_from_slice(utf16_length(packet).to_string().as_bytes());
    payload.push(b':');
    payload.extend_from_slice(packet.as_bytes());
}

fn push_binary(payload: &mut Vec<u8>, packet: &str) {
    payload.push(TEXT);
    payload.extend(packet.len().to_string().bytes().map(|digit| digit - b'0'));
    payload.push(END_OF_LENGTH);
    payload.extend_from_slice(packet.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn payload(packets: &[&str]) -> String {
        join(packets.iter())
    }

    fn binary(packets: &[&str]) -> Vec<u8> {
        let mut payload = Vec::new();
        packets.iter().for_each(|packet| push_binary(&mut payload, packet));
        payload
    }

    #[test]
    fn connect_is_rewritten_among_other_packets() {
        let event = r#"42["hello","/shop?token=x"]"#;
        let sent = payload(&["2", "40/shop?token=x,", event, "40/news?a=b,"]);
        let expected = payload(&["2", r#"40/shop,{"token":"x"}"#, event, r#"40/news,{"a":"b"}"#]);
        assert_eq!(rewrite_payload(sent.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn lengths_are_counted_in_utf_16_units() {
        let sent = "9:42[\"ä😀\"]16:40/shop?token=ö,";
        let expected = "9:42[\"ä😀\"]21:40/shop,{\"token\":\"ö\"}";
        assert_eq!(rewrite_payload(sent.as_bytes()).unwrap(), expected);
        let face = rewrite_payload(b"22:40/shop?a=%F0%9F%98%80").unwrap();
        assert_eq!(face, "18:40/shop,{\"a\":\"😀\"}");
    }

    #[test]
    fn payload_without_a_query_is_unchanged() {
        let packets = payload(&["2", "40/shop,", r#"42["hello","?"]"#]);
        assert_eq!(rewrite_payload(packets.as_bytes()), None);
        assert_eq!(rewrite_payload(b""), None);
    }

    #[test]
    fn malformed_payload_is_unchanged() {
        let good = "15:40/shop?token=x";
        assert!(rewrite_payload(good.as_bytes()).is_some());
        for bad in ["3:2", "x:2", "2", "-1:2", "1:😀", "99999999999999999999:2"] {
            assert_eq!(rewrite_payload(format!("{good}{bad}").as_bytes()), None, "{bad}");
        }
        assert_eq!(rewrite_payload(&[good.as_bytes(), b"1:\xff"].concat()), None);
    }

    #[test]
    fn text_of_socket_io_1_that_is_encoded_twice_is_decoded() {
        let connect = to_byte_chars("40/shop?token=ö");
        let ack = to_byte_chars(r#"43/shop,1["ä😀"]"#);
        let sent = payload(&[&connect, &ack]);
        let expected = payload(&[r#"40/shop,{"token":"ö"}"#, r#"43/shop,1["ä😀"]"#]);
        let read = decode(sent.as_bytes(), false, false).unwrap();
        assert_eq!(read, DecodedPayload { packets: expected, is_of_socket_io_1: true });
        // Without a CONNECT, the client has to be known already.
        let sent = payload(&[&ack]);
        assert_eq!(decode(sent.as_bytes(), false, false), None);
        let read = decode(sent.as_bytes(), false, true).unwrap();
        assert_eq!(read.packets, payload(&[r#"43/shop,1["ä😀"]"#]));
    }

    #[test]
    fn binary_payload_with_only_text_is_from_socket_io_1() {
        let sent = binary(&["40/shop?token=x", r#"43/shop,1["ä😀"]"#]);
        let expected = payload(&[r#"40/shop,{"token":"x"}"#, r#"43/shop,1["ä😀"]"#]);
        let read = decode(&sent, true, false).unwrap();
        assert_eq!(read, DecodedPayload { packets: expected, is_of_socket_io_1: true });
        let surrogate = [&[0, 4, 255], &b"4\xed\xa0\x80"[..]].concat();
        assert!(decode(&surrogate, true, false).is_some());
    }

    #[test]
    fn binary_packets_become_empty_and_malformed_payloads_are_unchanged() {
        let text = binary(&["2"]);
        let bytes = [1, 2, 255, 4, 7];
        let read = decode(&[&text[..], &bytes, &text].concat(), true, false);
        let packets = "1:22:b41:2".to_owned();
        assert_eq!(read, Some(DecodedPayload { packets, is_of_socket_io_1: false }));
        for bad in [&[0][..], &[0, 1], &[0, 2, 255, b'2'], &[0, 10, 255, b'2'], &[7], &[0; 99]] {
            assert_eq!(decode(&[&text, bad].concat(), true, false), None, "{bad:?}");
        }
        assert_eq!(decode(b"", true, false), None);
    }

    #[test]
    fn payload_is_encoded_for_each_kind_of_client() {
        let packets = [r#"42/shop,["e","ä😀"]"#, "2"];
        let sent = payload(&packets);
        assert_eq!(encode(sent.as_bytes(), Encoding::Text), None);
        assert_eq!(encode(sent.as_bytes(), Encoding::Bytes).unwrap(), binary(&packets));
        let twice = encode(sent.as_bytes(), Encoding::ByteChars).unwrap();
        let expected = "22:42/shop,[\"e\",\"Ã¤ð\u{9f}\u{98}\u{80}\"]1:2";
        assert_eq!(String::from_utf8(twice).unwrap(), expected);
        assert_eq!(encode(b"6:42[\"e\"]", Encoding::ByteChars), None);
        assert_eq!(encode(b"1:2", Encoding::Bytes).unwrap(), [0, 1, 255, b'2']);
        assert_eq!(encode(b"", Encoding::Bytes), None);
    }

    #[test]
    fn refusal_has_a_string_for_every_legacy_client() {
        let sent = payload(&["2", r#"44/shop,{"message":"Auth 500 error"}"#]);
        let packets = ["2", r#"44/shop,"Auth 500 error""#];
        for (encoding, expected) in [
            (Encoding::Text, payload(&packets).into_bytes()),
            (Encoding::Bytes, binary(&packets)),
            (Encoding::ByteChars, payload(&packets).into_bytes()),
        ] {
            assert_eq!(encode(sent.as_bytes(), encoding).unwrap(), expected);
        }
        let event = payload(&[r#"42/shop,["e",":44"]"#]);
        assert_eq!(encode(event.as_bytes(), Encoding::Text).unwrap(), event.as_bytes());
    }

    proptest! {
        #[test]
        fn packets_with_any_content_stay_separate(before in ".{0,9}", after in ".{0,9}") {
            let sent = payload(&[&before, "40/shop?ä,", &after]);
            // Text that begins like a CONNECT of Socket.IO 1 makes the whole payload one of
            // Socket.IO 1.
            prop_assume!(![&before, &after].iter().any(|it| it.starts_with("40/")));
            let expected = payload(&[&before, r#"40/shop,{"ä":""}"#, &after]);
            prop_assert_eq!(rewrite_payload(sent.as_bytes()).unwrap(), expected);
        }

        #[test]
        fn first_packet_has_its_declared_length(texts in vec(".{0,9}", 1..4)) {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let all = payload(&texts);
            let length = length_of_first(all.as_bytes());
            prop_assert_eq!(&all[..length], payload(&texts[..1]));
        }

        #[test]
        fn first_packet_ends_where_it_is_split_or_takes_the_whole_payload(text in "[0-9:a€😀]{0,20}") {
            let expected = split_packet(&text).map_or(text.len(), |(_, rest)| text.len() - rest.len());
            prop_assert_eq!(length_of_first(text.as_bytes()), expected);
        }

        #[test]
        fn text_of_socket_io_1_with_any_content_survives_a_round_trip(texts in vec("[1-9]?.{0,9}", 1..4)) {
            let texts: Vec<_> = texts.iter().map(|text| format!("4{text}")).collect();
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            prop_assume!(!texts.iter().any(|it| it.starts_with("40/") || it.starts_with("44")));
            let sent = payload(&texts);
            for (encoding, is_binary) in [(Encoding::Bytes, true), (Encoding::ByteChars, false)] {
                let encoded = encode(sent.as_bytes(), encoding).unwrap_or(sent.clone().into());
                let read = decode(&encoded, is_binary, true).unwrap();
                prop_assert_eq!(&read.packets, &sent);
            }
        }
    }
}
