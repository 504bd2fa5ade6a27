//! Positions, rooms, ids and names: any text is one or is none, and one reads back as it was
//! written.
#![no_main]

use backwire::change::{Id, Position, Resource, Room};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
    if let Some(room) = Room::parse(text) {
        assert_eq!(Room::parse(&room.to_string()), Some(room));
    }
    if let Some(id) = Id::parse(text) {
        assert_eq!(Id::from_json(&id.to_json()), Some(id));
    }
    if let Some(resource) = Resource::parse(text) {
        assert_eq!(resource.as_str(), text.to_ascii_lowercase());
    }
});
