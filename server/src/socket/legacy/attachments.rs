//! Events with attachments that arrive by polling. They are refused when the last attachment has
//! arrived. Until then, only the number of attachments and the values that the refusal needs have
//! to be kept.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The separator of two packets of Engine.IO 4.
const SEPARATOR: u8 = 0x1e;

/// Longer packets of events are shortened.
const MAX_EVENT: usize = 1024;

/// Removes the attachments from a payload of Engine.IO 4. Returns `None` if it has none.
pub(super) fn strip(payload: &[u8]) -> Option<Vec<u8>> {
    let packets = || payload.split(|byte| *byte == SEPARATOR);
    if !packets().any(has_attachment) {
        return None;
    }
    let packets = packets().map(|packet| match (has_attachment(packet), packet.first()) {
        (false, _) => Cow::Borrowed(packet),
        (true, Some(b'b')) => Cow::Borrowed(&packet[..1]),
        (true, _) => shorten(packet).into_bytes().into(),
    });
    Some(packets.collect::<Vec<_>>().join(&SEPARATOR))
}

/// Removes the attachment from a packet of Engine.IO 3. Returns `None` if it has none.
pub(super) fn strip_packet(packet: &str) -> Option<Cow<'_, str>> {
    match packet.as_bytes() {
        [b'b', b'4', _, ..] => Some("b4".into()),
        bytes if has_attachment(bytes) && !packet.starts_with('b') => Some(shorten(bytes).into()),
        _ => None,
    }
}

fn has_attachment(packet: &[u8]) -> bool {
    let is_large = packet.len() > MAX_EVENT;
    packet.starts_with(b"b") || is_large && (packet.starts_with(b"45") || packet.starts_with(b"46"))
}

/// Shortens the packet of an event or an ack to the data by which it can be answered. An unreadable
/// packet stays unreadable.
fn shorten(packet: &[u8]) -> String {
    const UNREADABLE: &str = "45";
    let text = str::from_utf8(packet).unwrap_or(UNREADABLE);
    let Some((head, data)) = text.split_once('[') else { return UNREADABLE.to_owned() };
    let short = match text.starts_with("45") {
        true => event(data).map(|event| format!("{head}[{event}]")),
        false => Some(format!("{head}[]")),
    };
    short.filter(|short| short.len() <= MAX_EVENT).unwrap_or_else(|| UNREADABLE.to_owned())
}

/// Returns the name of an event, and an empty value of the kind of its data.
fn event(data: &str) -> Option<String> {
    let mut values = serde_json::Deserializer::from_str(data).into_iter::<&RawValue>();
    let name = values.next()?.ok()?.get();
    let rest = data[values.byte_offset()..].trim_start().strip_prefix(',').map(str::trim_start);
    Some(match rest.and_then(|rest| rest.chars().next()) {
        Some('{') => format!("{name},{{}}"),
        Some('"') => format!("{name},\"\""),
        Some(_) => format!("{name},null"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(payload: &str) -> Option<String> {
        strip(payload.as_bytes()).map(|payload| String::from_utf8(payload).unwrap())
    }

    #[test]
    fn attachments_become_empty_and_large_events_with_attachments_are_shortened() {
        let event = |ns: &str, data: &str| format!("4510-{ns}7[\"post\",{data}]");
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_EVENT));
        for (packet, expected) in [
            (event("", &large), event("", "{}")),
            (event("/shop,", &large), event("/shop,", "{}")),
            (event("", &format!("\"{large}")), event("", "\"\"")),
            (event("", &format!("[{large}]")), event("", "null")),
            (format!("461-3[{large}]"), "461-3[]".to_owned()),
            (format!("451-{}", "x".repeat(MAX_EVENT)), "45".to_owned()),
            (format!("451-[{}", "x".repeat(MAX_EVENT)), "45".to_owned()),
            ("bAQIDBA==".to_owned(), "b".to_owned()),
        ] {
            let payload = format!("421[\"get\"]\u{1e}{packet}\u{1e}3");
            let expected = format!("421[\"get\"]\u{1e}{expected}\u{1e}3");
            assert_eq!(stripped(&payload), Some(expected));
        }
        assert_eq!(strip_packet("b4AQIDBA==").as_deref(), Some("b4"));
        let short = event("", "{}");
        assert_eq!(strip_packet(&event("", &large)).as_deref(), Some(&*short));
    }

    #[test]
    fn other_packets_are_unchanged() {
        let large = format!("427[\"post\",\"{}\"]", "x".repeat(MAX_EVENT));
        assert_eq!(strip_packet("bä"), None);
        for packet in ["", "3", "451-7[\"post\",{\"_placeholder\":true,\"num\":0}]", &large] {
            assert_eq!(stripped(packet), None);
            assert_eq!(strip_packet(packet), None);
        }
    }
}
