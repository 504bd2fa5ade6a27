//! Pushes for stock clients: an event named after the resource, as Sails 1.x sends it. Creates are
//! sent to the clients that listen to the resource, other changes to the clients that know the
//! record. These also receive the changes of the record's collections.

use backwire_records::change::{Attributes, Change, Id, Verb};
use backwire_records::model::Membership;
use serde::Serialize;

/// The payload of a change.
#[derive(Debug, Serialize)]
pub(crate) struct ChangePayload<'a> {
    verb: &'static str,
    id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Attributes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Attributes>,
}

/// The payload of a change of a collection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MembershipPayload<'a> {
    id: &'a Id,
    verb: &'static str,
    attribute: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_id: Option<&'a Id>,
}

/// Returns the payload for a record that enters or leaves a collection.
pub(crate) fn membership(of: &Membership) -> MembershipPayload<'_> {
    let Membership { id, attribute, member, is_new, .. } = of;
    let (added_id, removed_id) = if *is_new { (Some(member), None) } else { (None, Some(member)) };
    let verb = if *is_new { "addedTo" } else { "removedFrom" };
    MembershipPayload { id, verb, attribute, added_id, removed_id }
}

/// Returns the payload of a change.
pub(crate) fn payload(change: &Change) -> ChangePayload<'_> {
    let (verb, data, previous) = match change.verb {
        Verb::Create => ("created", change.after.as_deref(), None),
        Verb::Update => ("updated", Some(&change.set), change.before.as_deref()),
        Verb::Destroy => ("destroyed", None, change.before.as_deref()),
    };
    ChangePayload { verb, id: &change.id, data, previous }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::runtime::tests::change;
    use backwire_records::change::Resource;

    fn push(verb: Verb, set: serde_json::Value) -> String {
        serde_json::to_string(&payload(&change(43, 17, verb, set))).unwrap()
    }

    #[test]
    fn create_has_whole_record() {
        assert_eq!(
            push(Verb::Create, json!({ "title": "Eggs", "id": 7 })),
            r#"{"verb":"created","id":7,"data":{"title":"Eggs","id":7}}"#
        );
    }

    #[test]
    fn membership_has_record_collection_and_member() {
        let of = |is_new| Membership {
            resource: Resource::parse("user").unwrap(),
            id: Id::Integer(2),
            attribute: "pets".to_owned(),
            member: Id::Integer(1),
            is_new,
        };
        let push = |is_new| serde_json::to_string(&membership(&of(is_new))).unwrap();
        assert_eq!(push(true), r#"{"id":2,"verb":"addedTo","attribute":"pets","addedId":1}"#);
        assert_eq!(
            push(false),
            r#"{"id":2,"verb":"removedFrom","attribute":"pets","removedId":1}"#
        );
    }

    #[test]
    fn update_has_set_attributes_and_previous_record() {
        assert_eq!(
            push(Verb::Update, json!({ "done": true, "updatedAt": 3, "id": 7 })),
            r#"{"verb":"updated","id":7,"data":{"done":true,"updatedAt":3,"id":7},"previous":{"title":"Milk","done":false,"id":7}}"#
        );
    }

    #[test]
    fn destroy_has_previous_record() {
        assert_eq!(
            push(Verb::Destroy, json!({})),
            r#"{"verb":"destroyed","id":7,"previous":{"title":"Milk","done":false,"id":7}}"#
        );
    }
}
