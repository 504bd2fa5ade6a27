//! The observations of clients while the log is not known. They are compared with it at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use backwire_records::change::Id;
use serde_json::Value;

use crate::log_position::LogPosition;
use crate::view::{Kind, Person, Record, View};

/// How many clients that have seen a state of a record are remembered.
const MAX_SEEN: usize = 32;

/// How many other states at one offset are remembered.
const MAX_OTHERS: usize = 4;

/// Compares the observations of clients with the truth.
pub(crate) trait Truth {
    /// Checks the answer to a read at a place, for somebody with one of these identities.
    fn check_read(
        &self,
        client: &str,
        view: &View,
        place: LogPosition,
        people: &[Person],
        records: &[(Id, Record)],
    );

    /// Checks a state of a record that somebody has shown.
    fn check_shown(&self, seen: &Seen, kind: Kind, id: &Id, offset: u64, record: &Record);
}

/// The observations of all clients.
#[derive(Debug, Default)]
pub struct Observations {
    reads: Vec<Read>,
    shown: BTreeMap<(Kind, Id, u64), Shown>,
    /// Each version of a record once, by its stamp.
    versions: BTreeMap<(Kind, Id, Option<u64>), Arc<Record>>,
    /// How many states of records were shown, in all clients together.
    shown_count: u64,
}

/// A client, and a time in milliseconds since the begin of the run.
#[derive(Debug, Clone)]
pub struct Seen {
    pub client: String,
    pub time: u64,
}

/// The answer to a read.
#[derive(Debug)]
struct Read {
    client: String,
    view: View,
    offset: u64,
    people: Vec<Person>,
    records: Vec<(Id, Arc<Record>)>,
}

/// A state of a record that clients have shown.
#[derive(Debug)]
struct Shown {
    record: Arc<Record>,
    count: u64,
    seen: Vec<Seen>,
    /// Other states at the same offset, each with somebody who has shown it.
    others: Vec<(Arc<Record>, Seen)>,
}

impl Observations {
    /// Returns how many reads were answered.
    pub fn reads(&self) -> usize {
        self.reads.len()
    }

    /// Returns how many states of records were shown, in all clients together.
    pub fn shown(&self) -> u64 {
        self.shown_count
    }

    /// Returns the shown states of a record: the offset, the state, how many clients have shown
    /// it, and some of them.
    pub fn of_record(
        &self,
        kind: Kind,
        id: &Id,
    ) -> impl Iterator<Item = (u64, &Record, u64, &[Seen])> {
        let range = (kind, id.clone(), 0)..=(kind, id.clone(), u64::MAX);
        self.shown.range(range).flat_map(|((_, _, offset), it)| {
            let others = it.others.iter();
            let others =
                others.map(|(record, seen)| (*offset, &**record, 1, std::slice::from_ref(seen)));
            let count = it.count - it.others.len() as u64;
            std::iter::once((*offset, &*it.record, count, &*it.seen)).chain(others)
        })
    }

    pub(crate) fn add_read(
        &mut self,
        client: &str,
        view: &View,
        offset: u64,
        people: &[Person],
        read: &[(Id, Record)],
    ) {
        let version =
            |(id, record): &(Id, Record)| (id.clone(), self.version(view.kind, id, record));
        let records = read.iter().map(version).collect();
        let (client, people) = (client.to_owned(), people.to_vec());
        self.reads.push(Read { client, view: view.clone(), offset, people, records });
    }

    /// Adds a shown state. If another client has seen another state at the same offset, it returns
    /// that client and state.
    pub(crate) fn add_shown(
        &mut self,
        seen: Seen,
        kind: Kind,
        id: &Id,
        offset: u64,
        record: &Record,
    ) -> Option<String> {
        self.shown_count += 1;
        let version = self.version(kind, id, record);
        let shown = self.shown.entry((kind, id.clone(), offset)).or_insert_with(|| Shown {
            record: Arc::clone(&version),
            count: 0,
            seen: Vec::new(),
            others: Vec::new(),
        });
        shown.count += 1;
        let differs = *shown.record != *record;
        let message = differs.then(|| {
            let other = shown.seen.first().map_or("another client", |seen| &seen.client);
            format!("{other} has shown it as {}", Value::Object(Record::clone(&shown.record)))
        });
        if differs && shown.others.len() < MAX_OTHERS {
            shown.others.push((version, seen));
        } else if !differs && shown.seen.len() < MAX_SEEN {
            shown.seen.push(seen);
        }
        message
    }

    /// Returns the record, shared with others that are equal.
    fn version(&mut self, kind: Kind, id: &Id, record: &Record) -> Arc<Record> {
        let stamp = record.get("stamp").and_then(Value::as_u64);
        let known = self.versions.entry((kind, id.clone(), stamp));
        let known = known.or_insert_with(|| Arc::new(record.clone()));
        if **known == *record { Arc::clone(known) } else { Arc::new(record.clone()) }
    }

    /// Checks everything against the logs, in the order of the offsets.
    pub(crate) fn check(&self, truth: &impl Truth) {
        let mut reads: Vec<_> = self.reads.iter().collect();
        reads.sort_by_key(|read| (read.view.kind, read.offset));
        for Read { client, view, offset, people, records } in reads {
            let records: Vec<_> =
                records.iter().map(|(id, record)| (id.clone(), Record::clone(record))).collect();
            truth.check_read(client, view, LogPosition::at(*offset), people, &records);
        }
        let mut shown: Vec<_> = self.shown.iter().collect();
        shown.sort_by_key(|((kind, _, offset), _)| (*kind, *offset));
        for ((kind, id, offset), Shown { record, seen, .. }) in shown {
            let Some(seen) = seen.first() else { continue };
            truth.check_shown(seen, *kind, id, *offset, record);
        }
    }
}
