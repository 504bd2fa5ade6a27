//! Pushes for Backwire's runtime, and what it has missed. The frames are those of
//! `backwire_protocol::wire`.

use std::sync::Arc;

use backwire_protocol::planted;
use backwire_protocol::wire::{self, ChangeEntry, ChangeVerb, ResumeAnswer};
use backwire_records::change::{Attributes, Change, Id, Position, Room, Verb};
use backwire_records::criteria::{Case, Scope};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The name of the event of a push.
pub(crate) const EVENT: &str = wire::event::PUSH;

/// A push whose changes are already serialized, because many connections get it.
pub(crate) type Push = wire::Push<String, Box<RawValue>>;

/// Returns one frame with the changes of a room. `changes` are of this room, in commit order and
/// not empty.
pub(crate) fn push(room: &Room, changes: &[Arc<Change>]) -> Option<Push> {
    let first = changes.first()?;
    let prev = match room.id() {
        // Every change of a resource belongs to its class room.
        None => first.position.offset.saturating_sub(1),
        Some(_) => first.previous,
    };
    Some(push_after(room, Position { offset: prev, ..first.position }, &Changes(changes)))
}

/// Returns a frame that has only the position of a room. A client that is behind notices it.
pub(crate) fn announcement(room: &Room, head: Position) -> Push {
    push_after(room, head, &Changes(&[]))
}

/// Returns the push of changes after a position of a room.
fn push_after(room: &Room, prev: Position, changes: &impl Serialize) -> Push {
    Push { room: room.to_string(), epoch: prev.epoch, prev: prev.offset, changes: raw(changes) }
}

/// Returns a frame that invalidates a room. Its clients ask to resume, and read the room again.
pub(crate) fn invalidation(room: &Room) -> Push {
    announcement(room, Position::NOWHERE)
}

/// Returns the changes that a client missed in a room.
pub(crate) fn missed_changes(room: &str, head: Position, changes: &[Arc<Change>]) -> Box<RawValue> {
    raw(&ResumeAnswer::missed(room, head, Changes(changes)))
}

/// The scope that a room follows.
#[derive(Clone, Copy)]
pub(crate) struct FollowedScope<'a> {
    pub(crate) scope: &'a Scope,
    /// Whether there may be records that its followers must not know of.
    pub(crate) is_hiding: bool,
}

/// Returns one frame with the changes of a scope, and the position where it ends. `previous` is
/// where the room's last frame ended. For a part, the frame has only the position, so its clients
/// are behind and read again.
pub(crate) fn scoped_push(
    room: &Room,
    followed: FollowedScope<'_>,
    previous: u64,
    changes: &[Arc<Change>],
) -> Option<(Push, Position)> {
    let entries = filter_changes(followed, changes);
    let last = Position { offset: entries.last()?.offset, ..changes.first()?.position };
    let push = match followed.scope.is_part() {
        true if planted::has("part-not-announced") => return None,
        true => announcement(room, last),
        false => push_after(room, Position { offset: previous, ..last }, &entries),
    };
    Some((push, last))
}

/// Returns the changes that a client missed in a scope.
pub(crate) fn missed_scope_changes(
    room: &str,
    scope: &Scope,
    head: Position,
    entries: &[Entry<'_>],
) -> Box<RawValue> {
    let has_changed = !entries.is_empty() && !planted::has("changed-part-resumed");
    match scope.is_part() && has_changed {
        true => resync(room),
        false => raw(&ResumeAnswer::missed(room, head, entries)),
    }
}

/// Returns the changes for the followers of a filter. A record that begins to match the filter is
/// sent as a new record, and one that no longer matches is sent as one that left.
///
/// A published change may have only some attributes of a record, and the others are not known here.
/// A client that has the record applies the change as far as it can. If not everyone may know of
/// all records, a published change must match the filter by itself.
pub(crate) fn filter_changes<'a>(
    FollowedScope { scope, is_hiding }: FollowedScope<'_>,
    changes: &'a [Arc<Change>],
) -> Vec<Entry<'a>> {
    let fulfils = |record: &Option<Arc<Attributes>>| {
        record.as_deref().is_some_and(|record| scope.filter().matches(record, Case::Sensitive))
    };
    // A client that follows a single record has no list that the record could leave.
    let left = if scope.id().is_some() { ChangeVerb::Destroyed } else { ChangeVerb::Left };
    let entry_for_followers = |change: &'a Arc<Change>| {
        let Change { before, after, verb, published, .. } = &**change;
        match (verb, fulfils(before), fulfils(after)) {
            (Verb::Update | Verb::Destroy, _, is_within) if *published => {
                (is_within || !is_hiding).then(|| entry(change))
            }
            (Verb::Destroy, true, _) | (Verb::Update, true, true) => Some(entry(change)),
            (Verb::Update, false, true) if planted::has("entering-record-pushed-as-update") => {
                Some(entry(change))
            }
            (Verb::Create, _, true) | (Verb::Update, false, true) => {
                let record = after.as_deref().map_or(Data::Nothing, Data::Whole);
                Some(entry_of(change, ChangeVerb::Created, record))
            }
            (Verb::Update, true, false) if planted::has("leaving-record-not-pushed") => None,
            (Verb::Update, true, false) => Some(entry_of(change, left, Data::Nothing)),
            _ => None,
        }
    };
    changes.iter().filter_map(entry_for_followers).collect()
}

/// Returns the answer for a room whose place in the log is lost.
pub(crate) fn resync(room: &str) -> Box<RawValue> {
    raw(&ResumeAnswer::resync(room))
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value)
        .expect("it is made of numbers, strings and maps with string keys")
}

/// Changes as they are in a frame.
struct Changes<'a>(&'a [Arc<Change>]);

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut changes = serializer.serialize_seq(Some(self.0.len()))?;
        for change in self.0 {
            changes.serialize_element(&entry(change))?;
        }
        changes.end()
    }
}

/// A change as it is in a frame.
pub(crate) type Entry<'a> = ChangeEntry<&'a Id, Data<'a>>;

fn entry(change: &Change) -> Entry<'_> {
    let (verb, data) = match change.verb {
        Verb::Create => {
            (ChangeVerb::Created, change.after.as_deref().map_or(Data::Nothing, Data::Whole))
        }
        Verb::Update => (ChangeVerb::Updated, Data::Differences(change)),
        Verb::Destroy => (ChangeVerb::Destroyed, Data::Nothing),
    };
    entry_of(change, verb, data)
}

fn entry_of<'a>(change: &'a Change, verb: ChangeVerb, data: Data<'a>) -> Entry<'a> {
    ChangeEntry { offset: change.position.offset, verb, id: &change.id, data, mark: change.mark }
}

/// The data of a change in a frame.
pub(crate) enum Data<'a> {
    Whole(&'a Attributes),
    /// The attributes that the writer set to another value. `updatedAt` is among them even if the
    /// clock has not moved, so that the push of an update is never empty.
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
            new_members: None,
            at: 1,
        })
    }

    fn frame(room: &str, changes: &[Arc<Change>]) -> Value {
        serde_json::to_value(push(&Room::parse(room).unwrap(), changes).unwrap()).unwrap()
    }

    #[test]
    fn prev_of_class_room_is_offset_before_first_change() {
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
    fn prev_of_instance_room_is_previous_change_of_record() {
        let updated =
            change(43, 17, Verb::Update, json!({ "done": true, "updatedAt": 3, "id": 7 }));
        assert_eq!(
            frame("todo/7", &[updated]),
            json!(["todo/7", 5, 17, [[43, 2, 7, { "done": true, "updatedAt": 3 }, 99]]])
        );
    }

    #[test]
    fn update_without_new_values_still_has_updated_at() {
        let updated = change(43, 17, Verb::Update, json!({ "title": "Milk", "updatedAt": 3 }));
        assert_eq!(frame("todo", &[updated])[3][0][3], json!({ "updatedAt": 3 }));
    }

    #[test]
    fn attributes_keep_order_in_which_they_were_sent() {
        let created = change(1, 0, Verb::Create, json!({ "z": 1, "a": 2, "id": 7 }));
        let push = push(&Room::parse("todo").unwrap(), &[created]).unwrap();
        assert_eq!(push.changes.get(), r#"[[1,1,7,{"z":1,"a":2,"id":7},99]]"#);
    }
}
