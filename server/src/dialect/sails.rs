//! Pushes for stock clients: an event named after the resource, as Sails 1.x sends it. Creates are
//! said to those who listen to the resource, the rest to those who know the record. Those who know a record
//! are told who becomes part of its collections, too.

use backwire_records::change::{Attributes, Change, Id, Verb};
use backwire_records::model::Membership;
use serde::Serialize;

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

/// What an event of a resource carries about a collection of one of its records.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MembershipNews<'a> {
    id: &'a Id,
    verb: &'static str,
    attribute: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_id: Option<&'a Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_id: Option<&'a Id>,
}

/// What is said of a record that becomes part of a collection, or no longer is.
pub(crate) fn membership(of: &Membership) -> MembershipNews<'_> {
    let Membership { id, attribute, member, is_new, .. } = of;
    let (added_id, removed_id) = if *is_new { (Some(member), None) } else { (None, Some(member)) };
    let verb = if *is_new { "addedTo" } else { "removedFrom" };
    MembershipNews { id, verb, attribute, added_id, removed_id }
}

/// What is said of a change.
pub(crate) fn news(change: &Change) -> News<'_> {
    let (verb, data, previous) = match change.verb {
        Verb::Create => ("created", change.after.as_deref(), None),
        Verb::Update => ("updated", Some(&change.set), change.before.as_deref()),
        Verb::Destroy => ("destroyed", None, change.before.as_deref()),
    };
    News { verb, id: &change.id, data, previous }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::runtime::tests::change;
    use backwire_records::change::Resource;

    fn said(verb: Verb, set: serde_json::Value) -> String {
        serde_json::to_string(&news(&change(43, 17, verb, set))).unwrap()
    }

    #[test]
    fn a_create_says_the_whole_record() {
        assert_eq!(
            said(Verb::Create, json!({ "title": "Eggs", "id": 7 })),
            r#"{"verb":"created","id":7,"data":{"title":"Eggs","id":7}}"#
        );
    }

    #[test]
    fn a_membership_says_who_is_part_of_what() {
        let of = |is_new| Membership {
            resource: Resource::parse("user").unwrap(),
            id: Id::Integer(2),
            attribute: "pets".to_owned(),
            member: Id::Integer(1),
            is_new,
        };
        let said = |is_new| serde_json::to_string(&membership(&of(is_new))).unwrap();
        assert_eq!(said(true), r#"{"id":2,"verb":"addedTo","attribute":"pets","addedId":1}"#);
        assert_eq!(
            said(false),
            r#"{"id":2,"verb":"removedFrom","attribute":"pets","removedId":1}"#
        );
    }

    #[test]
    fn an_update_says_what_was_set_and_what_had_been_there() {
        assert_eq!(
            said(Verb::Update, json!({ "done": true, "updatedAt": 3, "id": 7 })),
            r#"{"verb":"updated","id":7,"data":{"done":true,"updatedAt":3,"id":7},"previous":{"title":"Milk","done":false,"id":7}}"#
        );
    }

    #[test]
    fn a_destroy_says_what_is_no_more() {
        assert_eq!(
            said(Verb::Destroy, json!({})),
            r#"{"verb":"destroyed","id":7,"previous":{"title":"Milk","done":false,"id":7}}"#
        );
    }
}
