//! The client survives all frames of a server. Each line of the input is a frame.
#![no_main]

use std::time::Duration;

use backwire_client_native::Json;
use backwire_protocol::packet::Packet;
use backwire_protocol::{Client, Instant, Request, Token, Verb};
use libfuzzer_sys::fuzz_target;

const HELLO: [&str; 2] = [r#"0{"pingInterval":25000,"pingTimeout":20000}"#, r#"40{"sid":"x"}"#];

fuzz_target!(|conversation: &str| {
    let mut client = Client::<Json>::new("", "s".into(), 1);
    let mut now = Instant::from_millis(0);
    client.connect(now);
    let asked = ["/todo", "/todo/1"].map(|url| [Verb::Get, Verb::Put].map(|verb| (verb, url)));
    for (token, (verb, url)) in (1..).zip(asked.concat()) {
        client.request(now, Token(token), Request::new(verb, url));
    }
    HELLO.iter().for_each(|frame| hear(&mut client, now, frame));
    for frame in conversation.lines() {
        hear(&mut client, now, frame);
        if frame.is_empty() {
            now = now + Duration::from_secs(60);
            client.tick(now);
            HELLO.iter().for_each(|frame| hear(&mut client, now, frame));
        }
        while client.poll().is_some() {}
    }
});

fn hear(client: &mut Client<Json>, now: Instant, frame: &str) {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).map(Json::from);
    let packet = Packet::decode(frame).ok();
    match packet.and_then(|packet| packet.try_map(|at| parse(&frame[at..])).ok()) {
        Some(packet) => client.received(now, packet),
        None => client.malformed(now),
    }
}
