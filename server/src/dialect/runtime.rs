//! Pushes for Backwire's runtime: `["push", room, epoch, prev, changes]`, see
//! `docs/reference/wire-protocol.md`.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Position, Room, Verb};
use backwire_records::criteria::{Case, Scope};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The event a push is emitted as.
pub(crate) const EVENT: &str = "push";

/// What follows the event's name in a push.
pub(crate) type Push = (String, u64, u64, Box<RawValue>);

/// One frame for what happened in a room. `changes` are of this room, in commit order and not none.
pub(crate) fn push(room: &Room, changes: &[Arc<Change>]) -> Option<Push> {
    let first = changes.first()?;
    let previous = match room.id {
        // Every change of a resource is one of its class room.
        None => first.position.offset.saturating_sub(1),
        Some(_) => first.previous,
    };
    Some((room.to_string(), first.position.epoch, previous, raw(&All(changes))))
}

/// A frame that says no more than where a room stands: who is behind finds out.
pub(crate) fn announcement(room: &Room, head: Position) -> Push {
    (room.to_string(), head.epoch, head.offset, raw(&All(&[])))
}

/// A frame that says that a room is no more what it was: who was in it asks, and reads it again.
pub(crate) fn lost(room: &Room) -> Push {
    announcement(room, NOWHERE)
}

/// In no log: none is called so.
pub(crate) const NOWHERE: Position = Position { epoch: 0, offset: 0 };

/// What was missed in a room: `[room, epoch, head, changes]`.
pub(crate) fn missed(room: &str, head: Position, changes: &[Arc<Change>]) -> Box<RawValue> {
    raw(&(room, head.epoch, head.offset, All(changes)))
}

/// What is followed of a resource.
#[derive(Clone, Copy)]
pub(crate) struct Followed<'a> {
    pub(crate) scope: &'a Scope,
    /// Whether there may be records that its followers must not hear of.
    pub(crate) is_hiding: bool,
}

/// One frame for what happened in a scope, and where it ends; `previous` is where the room's last frame
/// ended. Of a part it says no more than that something happened: whoever is in it is behind then.
pub(crate) fn scoped_push(
    room: &Room,
    followed: Followed<'_>,
    previous: u64,
    changes: &[Arc<Change>],
) -> Option<(Push, Position)> {
    let entries = filtered(followed, changes);
    let last = Position { offset: entries.last()?.0, ..changes.first()?.position };
    let push = match followed.scope.is_part() {
        true => announcement(room, last),
        false => (room.to_string(), last.epoch, previous, raw(&entries)),
    };
    Some((push, last))
}

/// What was missed in a scope.
pub(crate) fn scoped_missed(
    room: &str,
    scope: &Scope,
    head: Position,
    entries: &[Entry<'_>],
) -> Box<RawValue> {
    match scope.is_part() && !entries.is_empty() {
        true => resync(room),
        false => raw(&(room, head.epoch, head.offset, entries)),
    }
}

/// Changes as they are to who follows a filter: a record that begins to fulfil it is as good as new, and
/// one that no longer does has left.
///
/// How the rest of a record is of which something is only said, is not known here: who has it makes of it
/// what they can. Where that would tell of records that not everyone may know of, what is said has to
/// fulfil the filter by itself.
pub(crate) fn filtered<'a>(
    Followed { scope, is_hiding }: Followed<'_>,
    changes: &'a [Arc<Change>],
) -> Vec<Entry<'a>> {
    let fulfils = |record: &Option<Arc<Attributes>>| {
        record.as_deref().is_some_and(|record| scope.filter().matches(record, Case::Sensitive))
    };
    // Who follows a record by itself has no list that it could leave.
    let left = if scope.id().is_some() { DESTROYED } else { LEFT };
    let seen = |change: &'a Arc<Change>| {
        let Change { before, after, verb, published, .. } = &**change;
        let (offset, id, mark) = (change.position.offset, &change.id, change.mark);
        match (verb, fulfils(before), fulfils(after)) {
            (Verb::Update | Verb::Destroy, _, is_within) if *published => {
                (is_within || !is_hiding).then(|| entry(change))
            }
            (Verb::Destroy, true, _) | (Verb::Update, true, true) => Some(entry(change)),
            (Verb::Create, _, true) | (Verb::Update, false, true) => {
                let record = after.as_deref().map_or(Data::Nothing, Data::Whole);
                Some((offset, 1, id, record, mark))
            }
            (Verb::Update, true, false) => Some((offset, left, id, Data::Nothing, mark)),
            _ => None,
        }
    };
    changes.iter().filter_map(seen).collect()
}

/// The verb of a record that is no more.
const DESTROYED: u8 = 3;

/// The verb of a record that a filter no longer picks.
const LEFT: u8 = 4;

/// The place in the log is lost: `[room, null]`.
pub(crate) fn resync(room: &str) -> Box<RawValue> {
    raw(&(room, ()))
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value)
        .expect("it is made of numbers, strings and maps with string keys")
}

/// Changes as they stand in a frame: `[offset, verb, id, data, mark]` each.
struct All<'a>(&'a [Arc<Change>]);

impl Serialize for All<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut changes = serializer.serialize_seq(Some(self.0.len()))?;
        for change in self.0 {
            changes.serialize_element(&entry(change))?;
        }
        changes.end()
    }
}

/// `[offset, verb, id, data, mark]`
pub(crate) type Entry<'a> = (u64, u8, &'a Id, Data<'a>, u64);

fn entry(change: &Change) -> Entry<'_> {
    let (verb, data) = match change.verb {
        Verb::Create => (1, change.after.as_deref().map_or(Data::Nothing, Data::Whole)),
        Verb::Update => (2, Data::Differences(change)),
        Verb::Destroy => (DESTROYED, Data::Nothing),
    };
    (change.position.offset, verb, &change.id, data, change.mark)
}

/// What a frame has of a change.
pub(crate) enum Data<'a> {
    Whole(&'a Attributes),
    /// What the writer set and what is different for it. `updatedAt` is among it even if the clock
    /// has not moved, so that the news of an update is never empty.
    Differences(&'a Change),
    Nothing,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(record) => record.serialize(serializer),
            Self::Nothing => serializer.serialize_unit(),
            Self::Differences(change) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, value) in differences(change) {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

fn differences(change: &Change) -> impl Iterator<Item = (&String, &Value)> {
    let was = |name: &String| change.before.as_deref().and_then(|before| before.get(name));
    let attributes = change.set.iter();
    attributes.filter(move |(name, value)| *name == "updatedAt" || was(name) != Some(*value))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use backwire_records::change::Resource;

    pub(crate) fn change(offset: u64, previous: u64, verb: Verb, set: Value) -> Arc<Change> {
        let attributes = |value: &Value| value.as_object().unwrap().clone();
        let before = Arc::new(attributes(&json!({ "title": "Milk", "done": false, "id": 7 })));
        let set = attributes(&set);
        let mut after = match verb {
            Verb::Create => Attributes::new(),
            _ => Attributes::clone(&before),
        };
        after.extend(set.clone());
        Arc::new(Change {
            resource: Resource::parse("todo").unwrap(),
            position: Position { epoch: 5, offset },
            previous,
            verb,
            id: Id::Integer(7),
            before: (verb != Verb::Create).then_some(before),
            after: (verb != Verb::Destroy).then(|| Arc::new(after)),
            set,
            mark: 99,
            published: false,
            origin: None,
            at: 1,
        })
    }

    fn frame(room: &str, changes: &[Arc<Change>]) -> Value {
        serde_json::to_value(push(&Room::parse(room).unwrap(), changes).unwrap()).unwrap()
    }

    #[test]
    fn a_class_rooms_prev_is_the_offset_before_the_first_change() {
        let created = change(42, 0, Verb::Create, json!({ "title": "Eggs", "id": 7 }));
        let destroyed = change(43, 42, Verb::Destroy, json!({}));
        assert_eq!(
            frame("todo", &[created, destroyed]),
            json!([
                "todo",
                5,
                41,
                [[42, 1, 7, { "title": "Eggs", "id": 7 }, 99], [43, 3, 7, null, 99]]
            ])
        );
    }

    #[test]
    fn an_instance_rooms_prev_is_the_records_previous_change() {
        let updated =
            change(43, 17, Verb::Update, json!({ "done": true, "updatedAt": 3, "id": 7 }));
        assert_eq!(
            frame("todo/7", &[updated]),
            json!(["todo/7", 5, 17, [[43, 2, 7, { "done": true, "updatedAt": 3 }, 99]]])
        );
    }

    #[test]
    fn an_update_that_changes_nothing_still_says_when() {
        let updated = change(43, 17, Verb::Update, json!({ "title": "Milk", "updatedAt": 3 }));
        assert_eq!(frame("todo", &[updated])[3][0][3], json!({ "updatedAt": 3 }));
    }

    #[test]
    fn attributes_keep_the_order_they_were_sent_in() {
        let created = change(1, 0, Verb::Create, json!({ "z": 1, "a": 2, "id": 7 }));
        let (.., changes) = push(&Room::parse("todo").unwrap(), &[created]).unwrap();
        assert_eq!(changes.get(), r#"[[1,1,7,{"z":1,"a":2,"id":7},99]]"#);
    }
}
