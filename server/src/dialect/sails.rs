//! Pushes for stock clients: an event named after the resource, as Sails 1.x sends it.

use serde::Serialize;

use crate::change::{Attributes, Change, Id, Room, Verb};

/// What an event of a resource carries.
#[derive(Debug, Serialize)]
pub(crate) struct News<'a> {
    verb: &'static str,
    id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Attributes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Attributes>,
}

/// What is said of a change, and the room it is said in: creates to those who listen to the
/// resource, the rest to those who know the record.
pub(crate) fn news(change: &Change) -> (Room, News<'_>) {
    let class = || Room::class(change.resource.clone());
    let instance = || Room::instance(change.resource.clone(), change.id.clone());
    let (room, verb, data, previous) = match change.verb {
        Verb::Create => (class(), "created", change.after.as_deref(), None),
        Verb::Update => (instance(), "updated", Some(&change.set), change.before.as_deref()),
        Verb::Destroy => (instance(), "destroyed", None, change.before.as_deref()),
    };
    (room, News { verb, id: &change.id, data, previous })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::runtime::tests::change;

    fn said(verb: Verb, set: serde_json::Value) -> (String, String) {
        let change = change(43, 17, verb, set);
        let (room, news) = news(&change);
        (room.to_string(), serde_json::to_string(&news).unwrap())
    }

    #[test]
    fn a_create_is_said_in_the_class_room() {
        let (room, news) = said(Verb::Create, json!({ "title": "Eggs", "id": 7 }));
        assert_eq!(room, "todo");
        assert_eq!(news, r#"{"verb":"created","id":7,"data":{"title":"Eggs","id":7}}"#);
    }

    #[test]
    fn updates_and_destroys_are_said_in_the_instance_room() {
        let (room, news) = said(Verb::Update, json!({ "done": true, "updatedAt": 3, "id": 7 }));
        assert_eq!(room, "todo/7");
        assert_eq!(
            news,
            r#"{"verb":"updated","id":7,"data":{"done":true,"updatedAt":3,"id":7},"previous":{"title":"Milk","done":false,"id":7}}"#
        );
        let (room, news) = said(Verb::Destroy, json!({}));
        assert_eq!(room, "todo/7");
        assert_eq!(
            news,
            r#"{"verb":"destroyed","id":7,"previous":{"title":"Milk","done":false,"id":7}}"#
        );
    }
}
