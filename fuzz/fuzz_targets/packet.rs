//! Any text is a packet or an error, and a packet is written as it was read.
#![no_main]

use backwire_protocol::packet::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &str| {
    let Ok(packet) = Packet::decode(frame) else { return };
    let packet = packet.try_map(|at| Ok::<_, ()>(&frame[at..])).expect("it cannot fail");
    let written = packet.encode();
    let again = Packet::decode(&written).expect("what was written can be read");
    assert_eq!(again.data.map(|at| &written[at..]), packet.data);
    assert_eq!((again.kind, again.ack, again.namespace), (packet.kind, packet.ack, packet.namespace));
});
