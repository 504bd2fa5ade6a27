//! Short forms of live queries, their inputs and their outputs.

use backwire_protocol::live::{Answer, Output, Queries};
use backwire_protocol::wire::ChangeVerb;

/// Returns a joined list from items with spaces between them.
pub fn list(text: &str) -> String {
    text.replace(' ', "\0")
}

/// Returns a `Show` without an order.
pub fn show(target: u32, added: &str, removed: &str) -> Output {
    Output::Show { target, added: list(added), removed: list(removed), order: None }
}

/// Returns a `Show` with an order.
pub fn show_in_order(target: u32, added: &str, removed: &str, order: &str) -> Output {
    Output::Show { target, added: list(added), removed: list(removed), order: Some(list(order)) }
}

pub fn leave(room: &str) -> Output {
    Output::Leave(room.into())
}

/// The queries of a page. A test carries out their outputs itself.
#[derive(Default)]
pub struct Page(pub Queries);

impl Page {
    /// Creates a page that has fetched these queries (room, description, records). The first one is
    /// query 1, the only query of target 1, and so on.
    pub fn with_queries<const N: usize>(queries: [(&str, &str, &str); N]) -> Self {
        let mut page = Self::default();
        for (number, (room, description, records)) in (1..).zip(queries) {
            page.fetch(number, number, room, description, records);
        }
        page
    }

    /// Fetches a query, which becomes the only one of its target.
    pub fn fetch(&mut self, query: u32, target: u32, room: &str, description: &str, records: &str) {
        self.read(query, target, true, room, description, records);
    }

    /// Fetches a query with `remove: false`.
    pub fn add(&mut self, query: u32, target: u32, room: &str, description: &str, records: &str) {
        self.read(query, target, false, room, description, records);
    }

    fn read(
        &mut self,
        query: u32,
        target: u32,
        replaces: bool,
        room: &str,
        description: &str,
        records: &str,
    ) {
        let answer = Answer { room, description, ids: &list(records), changed: "" };
        self.0.read(query, target, replaces, false, answer);
    }

    pub fn answered(&mut self, query: u32, room: &str, description: &str, records: &str) {
        self.0.answered(query, Answer { room, description, ids: &list(records), changed: "" });
    }

    pub fn created(&mut self, room: &str, id: &str) {
        self.0.changed(room, ChangeVerb::Created, id, "");
    }

    pub fn updated(&mut self, room: &str, id: &str, names: &[&str]) {
        self.0.changed(room, ChangeVerb::Updated, id, &names.join("\0"));
    }

    pub fn destroyed(&mut self, room: &str, id: &str) {
        self.0.changed(room, ChangeVerb::Destroyed, id, "");
    }

    pub fn left(&mut self, room: &str, id: &str) {
        self.0.changed(room, ChangeVerb::Left, id, "");
    }

    /// Returns all outputs.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.0.poll()).collect()
    }
}
