//! The exports of `backwire_protocol::live` for the page.
//!
//! The module exports only two methods, because every exported function adds glue code to each
//! page: [`Queries::act`] takes an operation by its number, [`Queries::poll`] returns the next
//! action. `js-shim/src/queries.js` gives names to the operations. Texts are joined by U+0001, the
//! items of a list by U+0000.

use backwire_protocol::live::{Answer, Output, Queries as Core, next_item};
use backwire_protocol::wire::ChangeVerb;
use wasm_bindgen::prelude::*;

const SEPARATOR: u8 = 1;

/// The operation that takes a push. Each change has two texts: the digit of its verb with the id,
/// and the names.
const CHANGED: u32 = 6;

/// The live queries of a page. `act` only records events. Afterwards the page calls `poll` until it
/// returns undefined.
#[wasm_bindgen]
#[derive(Default)]
pub struct Queries(Core);

#[wasm_bindgen]
impl Queries {
    /// Creates an empty set of queries.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out an operation. `number` is a query, a target or a verb; `target` is the target of
    /// a `read`. Returns the result of `isFollowed`, the last operation, and false for all others.
    pub fn act(
        &mut self,
        operation: u32,
        number: u32,
        target: u32,
        flags: u32,
        texts: &str,
    ) -> bool {
        let mut texts = texts;
        let first = next(&mut texts);
        if operation == CHANGED {
            let mut batch = self.0.batch(first);
            while !texts.is_empty() {
                let (change, names) = (next(&mut texts), next(&mut texts));
                let digit = change.bytes().next().unwrap_or_default();
                if let Some(verb) = ChangeVerb::from_number(u32::from(digit & 7)) {
                    batch.add(verb, change.get(1..).unwrap_or_default(), names);
                }
            }
            batch.end();
            return false;
        }
        let [second, ids, changed] = [(); 3].map(|()| next(&mut texts));
        let answer = Answer { room: first, description: second, ids, changed };
        let has = |flag| flags & flag != 0;
        match operation {
            0 => self.0.begin_read(number),
            1 => self.0.end_read(number),
            2 => self.0.read(number, target, has(1), has(2), answer),
            3 => self.0.answered(number, answer),
            4 => self.0.failed(number, has(1)),
            5 => self.0.retry(),
            7 => self.0.refresh(first),
            8 => self.0.refresh_all(),
            9 => self.0.stop(number),
            _ => return self.0.is_followed(first),
        }
        false
    }

    /// Returns the next action: `ask` and a query; `leave` and a room; or `show`, a target, the ids
    /// to add, the ids to remove, and the new order if that has changed.
    pub fn poll(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut add = |item: &str| {
            text.push_str(item);
            text.push(char::from(SEPARATOR));
        };
        match self.0.poll()? {
            Output::Ask(query) => {
                add("ask");
                push_number(&mut text, query);
            }
            Output::Leave(room) => {
                add("leave");
                text.push_str(&room);
            }
            Output::Show { target, added, removed, order } => {
                add("show");
                push_number(&mut text, target);
                for ids in [Some(added), Some(removed), order].into_iter().flatten() {
                    text.push(char::from(SEPARATOR));
                    text.push_str(&ids);
                }
            }
        }
        Some(text)
    }
}

/// Removes the first text and the separator after it, and returns the text.
fn next<'a>(texts: &mut &'a str) -> &'a str {
    next_item(texts, SEPARATOR).unwrap_or_default()
}

/// Appends a number. The formatting of the standard library would take a tenth of the module's
/// size.
fn push_number(out: &mut String, number: u32) {
    if number > 9 {
        push_number(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test]
    fn texts_and_lists_are_passed_as_one_string() {
        let mut queries = Queries::new();
        queries.act(2, 7, 1, 1, "todo\x01whole;sort=n\x011\0ä\x01");
        assert_eq!(queries.poll(), None);
        assert!(queries.act(10, 0, 0, 0, "todo"));
        queries.act(6, 0, 0, 0, "todo\x0119\x01\x0139\x01\x0121\x01m\0n");
        assert_eq!(queries.poll().as_deref(), Some("ask\x017"));
        queries.act(3, 7, 0, 0, "todo\x01whole;sort=n\x012\0ä\x001\x01");
        assert_eq!(queries.poll().as_deref(), Some("show\x011\x012\x01\x012\0ä\x001"));
        queries.act(9, 1, 0, 0, "");
        assert_eq!(queries.poll().as_deref(), Some("leave\x01todo"));
        assert!(!queries.act(10, 0, 0, 0, "todo"));
    }
}
