//! Live queries in few words.

use backwire_protocol::live::{Answer, Change, Description, Id, Output, Queries};

/// Ids, written with spaces between them.
pub fn ids(text: &str) -> Vec<Id> {
    text.split_whitespace().map(Id::from).collect()
}

pub fn answer(room: &str, description: &str, records: &str) -> Answer {
    let description = Description::parse(Some(description));
    Answer { room: room.into(), description, ids: ids(records), changed: Vec::new() }
}

/// `Show` without an order.
pub fn show(target: u32, added: &str, removed: &str) -> Output {
    Output::Show { target, added: ids(added), removed: ids(removed), order: None }
}

/// `Show` of nothing but an order.
pub fn order(target: u32, order: &str) -> Output {
    Output::Show { target, added: vec![], removed: vec![], order: Some(ids(order)) }
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
        self.0.read(query, target, true, false, answer(room, description, records));
    }

    /// Fetches with `remove: false`.
    pub fn add(&mut self, query: u32, target: u32, room: &str, description: &str, records: &str) {
        self.0.read(query, target, false, false, answer(room, description, records));
    }

    pub fn answered(&mut self, query: u32, room: &str, description: &str, records: &str) {
        self.0.answered(query, answer(room, description, records));
    }

    pub fn created(&mut self, room: &str, id: &str) {
        self.0.changed(room, Change::Created, &id.into(), &[]);
    }

    pub fn updated(&mut self, room: &str, id: &str, names: &[&str]) {
        self.0.changed(room, Change::Updated, &id.into(), names);
    }

    pub fn destroyed(&mut self, room: &str, id: &str) {
        self.0.changed(room, Change::Destroyed, &id.into(), &[]);
    }

    pub fn left(&mut self, room: &str, id: &str) {
        self.0.changed(room, Change::Left, &id.into(), &[]);
    }

    /// All there is to do.
    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.0.poll()).collect()
    }
}
