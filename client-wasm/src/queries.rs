//! The page's side of `backwire_protocol::live`.
//!
//! A list of ids or names crosses as one string, joined by U+0000: one call of the browser instead
//! of one for each.

use backwire_protocol::live::{Answer, Change, Output, Queries as Core};
use js_sys::Array;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/**
 * What `poll` returns. Lists are joined by "\u0000". A target removes, then adds, then reorders.
 */
export type QueryOutput =
  | [kind: "ask", query: number]
  | [kind: "show", target: number, added: string, removed: string, order: string | undefined]
  | [kind: "leave", room: string];
"#;

#[wasm_bindgen]
extern "C" {
    /// An array; undefined if there is nothing to do.
    #[wasm_bindgen(typescript_type = "QueryOutput | undefined")]
    pub type QueryOutput;
}

/// The live queries of a page. Each method only records; then `poll` until it returns undefined.
#[wasm_bindgen]
#[derive(Default)]
pub struct Queries(Core);

#[wasm_bindgen]
impl Queries {
    /// No queries yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// A fetch by the page for this target was sent.
    #[wasm_bindgen(js_name = beginRead)]
    pub fn begin_read(&mut self, target: u32) {
        self.0.begin_read(target);
    }

    /// It was answered, has failed or was aborted. To be called after `read`, if that is called.
    #[wasm_bindgen(js_name = endRead)]
    pub fn end_read(&mut self, target: u32) {
        self.0.end_read(target);
    }

    /// A fetch by the page was answered, and Backbone has applied the answer: with `replaces` the
    /// target shows exactly these records, otherwise (`remove: false`) these, too. `names`: the
    /// attributes in which some of them differ from what the page has known.
    #[allow(clippy::too_many_arguments)]
    pub fn read(
        &mut self,
        query: u32,
        target: u32,
        replaces: bool,
        #[wasm_bindgen(js_name = hasOwnOrder)] has_own_order: bool,
        room: &str,
        description: Option<String>,
        ids: &str,
        names: Option<String>,
    ) {
        let (description, changed) = (description.unwrap_or_default(), names.unwrap_or_default());
        let answer = Answer { room, description: &description, ids, changed: &changed };
        self.0.read(query, target, replaces, has_own_order, answer);
    }

    /// What `poll` wanted to be asked was answered. With a query that has ended, or none, the answer
    /// only updates the others of its room: so do answers to reads of a target that was stopped.
    pub fn answered(
        &mut self,
        query: u32,
        room: &str,
        description: Option<String>,
        ids: &str,
        names: Option<String>,
    ) {
        let (description, changed) = (description.unwrap_or_default(), names.unwrap_or_default());
        let answer = Answer { room, description: &description, ids, changed: &changed };
        self.0.answered(query, answer);
    }

    /// What `poll` wanted to be asked has failed. `gone` (401, 403, 404): the query ends; otherwise
    /// it waits for `retry`.
    pub fn failed(&mut self, query: u32, gone: bool) {
        self.0.failed(query, gone);
    }

    /// Asks again what has failed.
    pub fn retry(&mut self) {
        self.0.retry();
    }

    /// A record has changed, by a push in this room or by an answered write of the page: verb 1
    /// created, 2 updated, 3 destroyed, 4 left. `names`: the attributes that an update has changed, or
    /// in which a created record differs from what the page has known of it.
    pub fn changed(&mut self, room: &str, verb: u32, id: &str, names: &str) {
        if let Some(change) = Change::from_verb(verb) {
            self.0.changed(room, change, id, names);
        }
    }

    /// A push without changes, or one in the room of a part.
    pub fn announced(&mut self, room: &str) {
        self.0.announced(room);
    }

    /// The client has lost the place of a room.
    pub fn refresh(&mut self, room: &str) {
        self.0.refresh(room);
    }

    /// The client has lost the place of all rooms.
    #[wasm_bindgen(js_name = refreshAll)]
    pub fn refresh_all(&mut self) {
        self.0.refresh_all();
    }

    /// The target has a comparator from now on, or no longer.
    pub fn reorder(&mut self, target: u32, #[wasm_bindgen(js_name = hasOwnOrder)] own: bool) {
        self.0.reorder(target, own);
    }

    /// The target is no longer live. It keeps what it shows.
    pub fn stop(&mut self, target: u32) {
        self.0.stop(target);
    }

    /// Whether a query follows this room.
    #[wasm_bindgen(js_name = isFollowed)]
    pub fn is_followed(&mut self, room: &str) -> bool {
        self.0.is_followed(room)
    }

    /// What to do next.
    pub fn poll(&mut self) -> QueryOutput {
        self.0.poll().map_or(JsValue::UNDEFINED, to_array).unchecked_into()
    }
}

fn to_array(output: Output) -> JsValue {
    match output {
        Output::Ask(query) => array(&["ask".into(), query.into()]),
        Output::Show { target, added, removed, order } => {
            array(&["show".into(), target.into(), added.into(), removed.into(), order.into()])
        }
        Output::Leave(room) => array(&["leave".into(), room.into()]),
    }
}

fn array(items: &[JsValue]) -> JsValue {
    let array = Array::new();
    for item in items {
        array.push(item);
    }
    array.into()
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn poll(queries: &mut Queries) -> Vec<JsValue> {
        Array::from(&queries.poll()).to_vec()
    }

    #[wasm_bindgen_test]
    fn lists_cross_as_one_string() {
        let mut queries = Queries::new();
        queries.read(7, 1, true, false, "todo", Some("whole;sort=n".into()), "1\0ä", None);
        assert!(queries.poll().is_undefined());
        queries.changed("todo", 2, "1", "m\0n");
        assert_eq!(poll(&mut queries), ["ask".into(), JsValue::from(7)]);
        queries.answered(7, "todo", Some("whole;sort=n".into()), "2\0ä\x001", None);
        let shown: [JsValue; 5] =
            ["show".into(), 1.into(), "2".into(), "".into(), "2\0ä\x001".into()];
        assert_eq!(poll(&mut queries), shown);
        queries.stop(1);
        assert_eq!(poll(&mut queries), ["leave".into(), JsValue::from("todo")]);
    }
}
