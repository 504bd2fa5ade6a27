//! The people of the app, and their roles over time.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::view::Person;

/// The people of a run. The others are as many as there are pages.
pub const PEOPLE: [&str; 3] = ["ann", "bob", "eve"];

/// Returns the name of a person by number.
pub fn name_of(person: usize) -> String {
    PEOPLE.get(person).map_or_else(|| format!("person{person}"), |name| (*name).to_owned())
}

/// The roles of each person: when they changed, in milliseconds, and whether the person has been an
/// editor since then.
#[derive(Debug, Default)]
pub struct People(Mutex<BTreeMap<String, Vec<(u64, bool)>>>);

impl People {
    pub fn set_editor(&self, name: &str, is_editor: bool, now: u64) {
        self.0.lock().entry(name.to_owned()).or_default().push((now, is_editor));
    }

    pub fn is_editor(&self, name: &str) -> bool {
        self.0.lock().get(name).and_then(|changes| changes.last()).is_some_and(|(_, it)| *it)
    }

    /// Whether a person was an editor at a time.
    pub fn was_editor(&self, name: &str, time: u64) -> bool {
        let people = self.0.lock();
        let changes = people.get(name).map_or(&[][..], Vec::as_slice);
        let later = changes.partition_point(|(at, _)| *at < time);
        later.checked_sub(1).is_some_and(|last| changes[last].1)
    }

    /// Returns the identity of a person now.
    pub fn current(&self, name: &str) -> Person {
        Person { name: name.to_owned(), is_editor: self.is_editor(name) }
    }

    /// Returns the identities that a person has had since a time.
    pub fn since(&self, name: &str, time: u64) -> Vec<Person> {
        let people = self.0.lock();
        let changes = people.get(name).map_or(&[][..], Vec::as_slice);
        let later = changes.partition_point(|(at, _)| *at < time);
        let first = later.checked_sub(1).is_some_and(|last| changes[last].1);
        let mut roles = vec![first];
        roles.extend(changes[later..].iter().map(|(_, is_editor)| *is_editor));
        roles.sort_unstable();
        roles.dedup();
        let person = |is_editor| Person { name: name.to_owned(), is_editor };
        roles.into_iter().map(person).collect()
    }
}
