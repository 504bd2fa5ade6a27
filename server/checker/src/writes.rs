//! The requests that pages have made, and the writes among them by their keys.

use std::collections::BTreeMap;

use backwire_protocol::mark;
use backwire_records::change::Change;
use backwire_records::counted::counted;
use parking_lot::Mutex;
use serde_json::Value;

use crate::history::History;
use crate::people::People;
use crate::view::{Kind, Record};

/// How long after a loss of writes the answer to one of them may arrive, in milliseconds: servers
/// are paused, and pages read slowly. A page that sleeps reads it afterwards.
const MAX_ON_WAY: u64 = 90_000;

#[derive(Debug, Default)]
pub struct Writes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// By the marks of their keys.
    writes: BTreeMap<u64, Write>,
    reads: Vec<Read>,
    sleeps: Vec<Sleep>,
    /// Whether several servers share the store.
    has_several_servers: bool,
}

#[derive(Debug)]
struct Write {
    key: String,
    person: String,
    tab: String,
    number: u64,
    outcome: Outcome,
    /// When the page was answered, in milliseconds.
    at: u64,
}

/// A read of a page, and the offset of its answer.
#[derive(Debug)]
struct Read {
    tab: String,
    /// The number of the write that the tab would have made instead.
    number: u64,
    kind: Kind,
    offset: u64,
}

/// The time in milliseconds in which a tab has slept.
#[derive(Debug)]
struct Sleep {
    tab: String,
    from: u64,
    to: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The page waits for an answer.
    Waits,
    /// The page was answered with this status.
    Answered(u16),
    /// The page has given the write up, for example because another person has signed in.
    GivenUp,
}

impl Writes {
    /// Several servers share the store. One of them may refuse the repeat of a write because the
    /// person's rights have changed, while another one still commits the write.
    pub fn use_several_servers(&self) {
        self.0.lock().has_several_servers = true;
    }

    /// Returns a number that no other request has. Later requests have larger numbers.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock();
        state.last += 1;
        state.last
    }

    /// Records that a tab makes a write.
    pub fn made(&self, tab: &str, person: &str, number: u64, key: &str) {
        let (key, person, tab) = (key.to_owned(), person.to_owned(), tab.to_owned());
        let mark = mark(&key);
        let write = Write { key, person, tab, number, outcome: Outcome::Waits, at: 0 };
        self.0.lock().writes.insert(mark, write);
    }

    /// Records that the page was answered at a time, in milliseconds.
    pub fn answered(&self, key: &str, status: u16, now: u64) {
        self.set_outcome(key, Outcome::Answered(status));
        if let Some(write) = self.0.lock().writes.get_mut(&mark(key)) {
            write.at = now;
        }
    }

    pub fn given_up(&self, keys: &[String]) {
        keys.iter().for_each(|key| self.set_outcome(key, Outcome::GivenUp));
    }

    /// Returns how many writes were made.
    pub fn count(&self) -> usize {
        self.0.lock().writes.len()
    }

    /// Records that a tab sleeps from now on for this many milliseconds.
    pub fn sleeps(&self, tab: &str, now: u64, milliseconds: u64) {
        let sleep = Sleep { tab: tab.to_owned(), from: now, to: now + milliseconds };
        self.0.lock().sleeps.push(sleep);
    }

    /// Returns the key of the write whose key has a mark.
    pub fn key(&self, mark: u64) -> Option<String> {
        self.0.lock().writes.get(&mark).map(|write| write.key.clone())
    }

    fn set_outcome(&self, key: &str, outcome: Outcome) {
        if let Some(write) = self.0.lock().writes.get_mut(&mark(key)) {
            write.outcome = outcome;
        }
    }

    /// Records the answer to a read that was made under a number.
    pub fn read(&self, tab: &str, number: u64, kind: Kind, offset: u64) {
        self.0.lock().reads.push(Read { tab: tab.to_owned(), number, kind, offset });
    }

    /// Checks that each acknowledged write is in the log once unless the store has lost it, each
    /// refused one is not, and none is in it twice; and that nobody has written what they may not.
    pub fn check(&self, history: &History, people: &People) {
        let state = self.0.lock();
        for Write { key, outcome, person, tab, at, .. } in state.writes.values() {
            let commits = history.commits(key);
            let had_other_rights = || people.since(person, 0).len() > 1;
            // The answer to a lost write may have been on its way.
            let may_be_lost = || {
                let lost = history.lost_at(key);
                lost.is_some_and(|lost| *at < lost + MAX_ON_WAY + state.slept(tab, lost, *at))
            };
            let is_right = match outcome {
                Outcome::Answered(200..300) => commits == 1 || commits == 0 && may_be_lost(),
                Outcome::Answered(401 | 403 | 404) if state.has_several_servers => {
                    let may_be_late =
                        || had_other_rights() || history.may_concern_another_record(key);
                    commits == 0 || commits == 1 && may_be_late()
                }
                Outcome::Answered(_) => commits == 0,
                Outcome::GivenUp => commits <= 1,
                Outcome::Waits => false,
            };
            if !is_right {
                history
                    .violated(format!("{key} has {}, and {outcome:?}", counted(commits, "commit")));
            }
        }
        for change in history.changes() {
            let Some(write) = state.writes.get(&change.mark) else {
                let message = format!("a change has the unknown mark {}", change.mark);
                match history.names().parse(change.resource.as_str()) {
                    Some(kind) => history.violated_for(kind, &change.id, message),
                    None => history.violated(message),
                }
                continue;
            };
            let kind = history.names().parse(change.resource.as_str());
            if !kind.is_some_and(|kind| may_write(people, &write.person, kind, &change)) {
                history.violated(format!("{} has written a record of others", write.key));
            }
        }
    }

    /// Checks that the writes of each tab are in the log in the order in which it made them, and
    /// that its reads have all writes that it made before. A server that refuses writes for a while
    /// may change that. Writes that were given up when another person has signed in may arrive at
    /// any time.
    pub fn check_order(&self, history: &History) {
        let state = self.0.lock();
        let mut last: BTreeMap<&str, &Write> = BTreeMap::new();
        for change in history.changes() {
            let write = state.writes.get(&change.mark);
            let Some(write) = write.filter(|write| write.outcome != Outcome::GivenUp) else {
                continue;
            };
            if let Some(before) = last.insert(&write.tab, write)
                && before.number > write.number
            {
                history.violated(format!("{} is committed before {}", before.key, write.key));
            }
            let kind = history.names().parse(change.resource.as_str());
            let is_missing = |read: &&Read| {
                read.tab == write.tab
                    && Some(read.kind) == kind
                    && read.number > write.number
                    && read.offset < change.position.offset
            };
            if let Some(read) = state.reads.iter().find(is_missing) {
                let (number, offset) = (read.number, read.offset);
                let key = &write.key;
                history.violated(format!("read {number} at {offset} lacks {key} of before"));
            }
        }
    }
}

impl State {
    /// Returns how long a tab has slept between two times, in milliseconds.
    fn slept(&self, tab: &str, from: u64, to: u64) -> u64 {
        let sleeps = self.sleeps.iter().filter(|sleep| sleep.tab == tab);
        sleeps.map(|sleep| sleep.to.min(to).saturating_sub(sleep.from.max(from))).sum()
    }
}

/// Whether a person may have made a change, with any of the roles that they have had.
fn may_write(people: &People, person: &str, kind: Kind, change: &Change) -> bool {
    let people = people.since(person, 0);
    let may = |record: &Record| people.iter().any(|person| person.may_read(kind, record));
    let owner = |record: &Record| record.get("owner").cloned().unwrap_or(Value::Null);
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    let keeps_owner = before.zip(after).is_none_or(|(before, after)| owner(before) == owner(after));
    keeps_owner && before.is_none_or(may) && after.is_none_or(may)
}
