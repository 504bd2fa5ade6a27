//! The names of rooms: what the client needs of them. It does not read filters.

use crate::payload::Payload;
use crate::wire::ReceivedChange;

/// Returns the resource of a room: `todo` for `todo/7`, `todo?…` and `todo`.
pub(crate) fn resource_of(room: &str) -> &str {
    let end = room.bytes().position(|byte| matches!(byte, b'/' | b'?'));
    end.and_then(|end| room.get(..end)).unwrap_or(room)
}

/// Returns whether this is the room of one record, such as `todo/7`.
pub(crate) fn is_instance(room: &str) -> bool {
    room.as_bytes().get(resource_of(room).len()) == Some(&b'/')
}

/// Returns whether two rooms are the same, or changes of the first one are also sent in the second
/// one: `todo/7` in `todo`, and in `todo?…` the names that [`record_of`] returns for it. An id and
/// a filter may contain slashes.
pub(crate) fn is_inside(record: &str, room: &str) -> bool {
    let rest = record.as_bytes().strip_prefix(room.as_bytes());
    matches!(rest, Some([])) || matches!(rest, Some([b'/', ..])) && !is_instance(room)
}

/// Returns the instance room of the record that a change is about. In the room of a filter, the
/// name of the filter stands before the id, because changes there are independent of other rooms.
pub(crate) fn record_of<P: Payload>(room: &str, change: &ReceivedChange<P>) -> Option<String> {
    let mut record = String::from(room);
    if !is_instance(room) {
        record.push('/');
        record.push_str(&change.id.id()?);
    }
    Some(record)
}
