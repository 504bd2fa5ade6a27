//! The names of rooms in Socket.IO. Nothing else knows how they are written.

use backwire_records::change::Room;

use crate::dialect::Dialect;
use crate::sites::Name;

/// Returns the name of a room.
pub(crate) fn name(dialect: Dialect, room: &Room) -> String {
    room.name_with_prefix(prefix(dialect))
}

fn prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Runtime => "b:",
        Dialect::Sails => "s:",
        Dialect::Sails09 => "o:",
        Dialect::Node => "i:",
    }
}

/// Parses the name of the room of one record in this dialect. Socket.IO has the only list of these
/// rooms of a stock client, because a second one would take as much memory as the first.
pub(crate) fn parse_instance_name(dialect: Dialect, name: &str) -> Option<Room> {
    Room::parse(instance(dialect, name)?)
}

/// Whether this is the name of the room of one record in this dialect.
pub(crate) fn is_instance_name(dialect: Dialect, name: &str) -> bool {
    instance(dialect, name).is_some()
}

fn instance(dialect: Dialect, name: &str) -> Option<&str> {
    // A slash stands only before an id.
    name.strip_prefix(prefix(dialect)).filter(|room| room.contains('/'))
}

/// Returns the name of the room of those connections in a room that poll. It is given the name of
/// that room.
pub(crate) fn polling_name(name: &str) -> String {
    format!("q:{name}")
}

/// Returns the name of the room of all connections of our runtime for a site.
pub(crate) fn site_name(site: &Name) -> String {
    format!("p:{}", site.as_str())
}

/// Returns the name of a room that handlers use, which is the same in all dialects.
pub(crate) fn custom_name(room: &str) -> String {
    format!("n:{room}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects_do_not_share_rooms() {
        let room = Room::parse("todo/7").unwrap();
        let names = Dialect::ALL.map(|dialect| name(dialect, &room));
        assert_eq!(names, ["b:todo/7", "s:todo/7", "o:todo/7", "i:todo/7"]);
        for dialect in Dialect::ALL {
            let parsed = names.each_ref().map(|name| parse_instance_name(dialect, name));
            assert_eq!(parsed.iter().flatten().collect::<Vec<_>>(), [&room]);
        }
        assert_eq!(parse_instance_name(Dialect::Sails, "s:todo"), None);
    }
}
