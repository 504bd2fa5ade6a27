//! Frames as text, both ways.

use backwire_protocol::packet::{Kind, Malformed, Packet};
use proptest::prelude::*;

/// Frames and the JSON in them. The tests of the browser's shell read them too.
const FRAMES: &[(&str, &str)] = &[
    (
        r#"0{"sid":"x","pingInterval":25000,"pingTimeout":20000}"#,
        r#"{"sid":"x","pingInterval":25000,"pingTimeout":20000}"#,
    ),
    ("1", ""),
    ("2", ""),
    ("3", ""),
    ("40", ""),
    (r#"40{"backwire":1}"#, r#"{"backwire":1}"#),
    ("40/site,", ""),
    (r#"40/site,{"token":"a,b"}"#, r#"{"token":"a,b"}"#),
    ("41", ""),
    ("41/site,", ""),
    (r#"42["push","todo"]"#, r#"["push","todo"]"#),
    (r#"42/site,["a"]"#, r#"["a"]"#),
    (r#"4212["get",{"url":"/"}]"#, r#"["get",{"url":"/"}]"#),
    (r#"42/site,0["a"]"#, r#"["a"]"#),
    (r#"4312[{}]"#, "[{}]"),
    (r#"43/site,18446744073709551615[]"#, "[]"),
    (r#"44{"message":"no"}"#, r#"{"message":"no"}"#),
    (r#"44/site,{"message":"no"}"#, r#"{"message":"no"}"#),
    ("5", ""),
    ("6", ""),
];

fn read(frame: &str) -> Result<Packet<&str>, Malformed> {
    Packet::decode(frame)?.try_map(|at| Ok(&frame[at..]))
}

#[test]
fn frame_survives_a_round_trip() {
    for (frame, expected) in FRAMES {
        let packet = read(frame).unwrap();
        assert_eq!(packet.data.unwrap_or_default(), *expected, "{frame}");
        assert_eq!(packet.encode(), *frame);
    }
}

#[test]
fn namespace_of_a_connect_may_end_without_a_comma() {
    let packet = read("40/site").unwrap();
    assert_eq!((packet.kind, &*packet.namespace, packet.data), (Kind::Connect, "/site", None));
}

#[test]
fn beginning_of_a_frame_is_enough_to_locate_its_json() {
    let frame = r#"42/site,123["push","todo",7,0,[[1,1,1,{},0]]]"#;
    assert_eq!(Packet::decode(&frame[..16]), Packet::decode(frame));
}

#[test]
fn malformed_frame_has_a_reason() {
    let cases = [
        ("", Malformed::Type),
        ("4", Malformed::Type),
        ("7", Malformed::Type),
        ("47[]", Malformed::Type),
        ("ü", Malformed::Type),
        ("4ü", Malformed::Type),
        ("0", Malformed::Json),
        ("0[]", Malformed::Json),
        ("2probe", Malformed::Trailing),
        ("42", Malformed::Json),
        ("42{}", Malformed::Json),
        ("421", Malformed::Json),
        ("42/site", Malformed::Namespace),
        ("43[]", Malformed::AckId),
        ("4318446744073709551616[]", Malformed::AckId),
        ("401{}", Malformed::AckId),
        ("40[]", Malformed::Json),
        ("41x", Malformed::Trailing),
        ("44", Malformed::Json),
        ("451-[\"a\",{\"_placeholder\":true,\"num\":0}]", Malformed::Binary),
        ("461-1[]", Malformed::Binary),
        ("bAAAA", Malformed::Binary),
    ];
    for (frame, why) in cases {
        assert_eq!(Packet::decode(frame), Err(why), "{frame}: {}", why.reason());
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(frame in "[0-9b]{0,3}(/[a-zü]{0,3},?)?[0-9]{0,22}.{0,8}") {
        if let Ok(packet) = read(&frame) {
            let again = packet.encode();
            prop_assert_eq!(read(&again), Ok(packet));
        }
    }
}
