//! The reads of a collection or a model of a page, and the records that they must show.

use backwire_records::change::Id;
use serde_json::{Map, Value};

/// The attributes of a record.
pub type Record = Map<String, Value>;

/// The resources of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Everyone may do everything.
    Todo,
    /// A person may read and write notes of their own; an editor, those of all.
    Note,
}

/// The criteria of a read. Its url also identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub kind: Kind,
    pub selection: Selection,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    One(Id),
    List { done: Option<bool>, is_sorted: bool, window: Option<(usize, usize)> },
}

/// The identity of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub is_editor: bool,
}

/// The names of the resources in a run.
#[derive(Debug, Clone)]
pub struct Names {
    todo: String,
}

impl Default for Names {
    fn default() -> Self {
        Self { todo: "todo".to_owned() }
    }
}

impl Names {
    /// Gives the resource `todo` another name.
    pub fn with_todo(name: &str) -> Self {
        Self { todo: name.to_owned() }
    }

    pub fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Todo => &self.todo,
            Kind::Note => "note",
        }
    }

    pub fn parse(&self, name: &str) -> Option<Kind> {
        [Kind::Todo, Kind::Note].into_iter().find(|kind| self.of(*kind) == name)
    }

    /// Returns the kind that a room is of.
    pub fn of_room(&self, room: &str) -> Option<Kind> {
        self.parse(room.split(['/', '?']).next()?)
    }
}

impl Person {
    /// Whether the rules of the resource let this person read a record.
    pub fn may_read(&self, kind: Kind, record: &Record) -> bool {
        kind == Kind::Todo
            || self.is_editor
            || record.get("owner") == Some(&self.name.as_str().into())
    }
}

impl View {
    pub fn url(&self, names: &Names) -> String {
        let name = names.of(self.kind);
        match &self.selection {
            Selection::One(id) => format!("/{name}/{id}"),
            Selection::List { done, is_sorted, window } => {
                let done = done.map(|done| format!("done={done}"));
                let sort = is_sorted.then(|| "sort=rank".to_owned());
                let window = window.map(|(skip, limit)| format!("skip={skip}&limit={limit}"));
                let query: Vec<_> = [done, sort, window].into_iter().flatten().collect();
                let mark = if query.is_empty() { "" } else { "?" };
                format!("/{name}{mark}{}", query.join("&"))
            }
        }
    }

    /// Whether this read may show a record to this person.
    fn selects(&self, id: &Id, record: &Record, person: &Person) -> bool {
        let is_selected = match &self.selection {
            Selection::One(one) => one == id,
            Selection::List { done, .. } => {
                done.is_none_or(|done| record.get("done") == Some(&Value::Bool(done)))
            }
        };
        is_selected && person.may_read(self.kind, record)
    }

    /// Returns the ids that this read of these records has for a person, in order.
    pub fn evaluate<'r>(
        &self,
        records: impl Iterator<Item = (&'r Id, &'r Record)>,
        person: &Person,
    ) -> Vec<Id> {
        let mut found: Vec<_> =
            records.filter(|(id, record)| self.selects(id, record, person)).collect();
        let Selection::List { is_sorted, window, .. } = self.selection else {
            return found.into_iter().map(|(id, _)| id.clone()).collect();
        };
        let rank = |record: &Record| record.get("rank").and_then(Value::as_u64);
        found.sort_by_key(|(id, record)| {
            (if is_sorted { rank(record) } else { None }, (*id).clone())
        });
        let (skip, limit) = window.unwrap_or((0, usize::MAX));
        found.into_iter().skip(skip).take(limit).map(|(id, _)| id.clone()).collect()
    }
}
