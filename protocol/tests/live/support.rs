//! Live queries in few words.

use backwire_protocol::live::{Answer, Change, Output, Queries};

/// A joined list, written with spaces.
pub fn list(text: &str) -> String {
    text.replace(' ', "\0")
}

/// `Show` without an order.
pub fn show(target: u32, added: &str, removed: &str) -> Output {
    Output::Show { target, added: list(added), removed: list(removed), order: None }
}

/// `Show` with an order.
pub fn show_in_order(target: u32, added: &str, removed: &str, order: &str) -> Output {
    Output::Show { target, added: list(added), removed: list(removed), order: Some(list(order)) }
}

pub fn leave(room: &str) -> Output {
    Output::Leave(room.into())
}

/// The queries of a page that carries nothing out by itself.
#[derive(Default)]
pub struct Page(pub Queries);

impl Page {
    /// Fetches, as the only query of its target.
    pub fn fetch(&mut self, query: u32, target: u32, room: &str, description: &str, records: &str) {
        self.read(query, target, true, room, description, records);
    }

    /// Fetches with `remove: false`.
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
        self.0.changed(room, Change::Created, id, "");
    }

    pub fn updated(&mut self, room: &str, id: &str, names: &[&str]) {
        self.0.changed(room, Change::Updated, id, &names.join("\0"));
    }

    pub fn destroyed(&mut self, room: &str, id: &str) {
        self.0.changed(room, Change::Destroyed, id, "");
    }

    pub fn left(&mut self, room: &str, id: &str) {
        self.0.changed(room, Change::Left, id, "");
    }

    /// All there is to do.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.0.poll()).collect()
    }
}
