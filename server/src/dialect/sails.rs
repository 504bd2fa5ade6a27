//! Pushes for stock clients: an event named after the resource, as Sails 1.x sends it. Creates are
//! said to those who listen to the resource, the rest to those who know the record.

use serde::Serialize;

use crate::change::{Attributes, Change, Id, Verb};

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
