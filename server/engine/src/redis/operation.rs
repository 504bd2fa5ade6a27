//! Operations of the commit script: decided writes, and what their decisions rest on.

use std::sync::Arc;

use backwire_records::change::{Attributes, Change, Id, Verb};
use backwire_records::criteria::HasAttributes;
use backwire_records::dangling::Reference;
use backwire_records::write::{Key, RecordLimits};

use super::encoding;
use super::known::KnownResource;
use super::script::Call;
use super::stored::{cascade_field, origin_text, verb_number};
use crate::ledger::{KeyHash, Written};

/// A decided write.
pub(super) struct Operation {
    /// The change. The script sets its position and its `previous`.
    pub(super) change: Change,
    /// Whether the write changes nothing, and only its key is stored.
    pub(super) is_unchanged: bool,
    pub(super) key: Option<Key>,
    pub(super) limits: RecordLimits,
    pub(super) references: Vec<Reference>,
    pub(super) primary_key: String,
    /// The last entry of the record in the log.
    pub(super) expected: Expected,
    /// The record in the indexes before the write.
    pub(super) indexed: Option<Arc<Attributes>>,
    /// The id that creates without an id get next, if the write got one.
    pub(super) next: Option<NextId>,
    /// The other records with the unique values of this one.
    pub(super) unique: Vec<UniqueValue>,
    pub(super) known: KnownResource,
    /// The bytes of the record in memory, which the answer has.
    pub(super) bytes: usize,
}

/// The offset that a record has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Any: the decision does not depend on the record.
    Any,
    /// The record has no entry in the log.
    Nothing,
    /// The record has this offset.
    Offset(u64),
    /// The record has the offset that this operation of the group gets, counted from 1.
    Operation(usize),
}

/// The source of the id of a record without an id.
#[derive(Debug, Clone, Copy)]
pub(super) enum NextId {
    /// The counter, which has to have this value.
    Counter(i64),
    /// The id was reserved.
    Reserved,
}

/// A unique value, and its holders as the script writes them.
#[derive(Debug, Clone)]
pub(super) struct UniqueValue {
    pub(super) attribute: String,
    pub(super) value: Vec<u8>,
    pub(super) holders: Vec<u8>,
}

impl Expected {
    fn text(self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Nothing => String::new(),
            Self::Offset(offset) => offset.to_string(),
            Self::Operation(number) => format!("@{number}"),
        }
    }
}

impl Operation {
    /// Adds the operation to the arguments of the script.
    pub(super) fn add_to(&self, call: &mut Call) {
        let Change { resource, id, verb, after, set, mark, origin, at, published, .. } =
            &self.change;
        let new_members = self.change.new_members.as_deref();
        let names: Vec<_> = set.keys().collect();
        let after = after.as_deref().filter(|_| !self.is_unchanged);
        call.add(resource.as_str())
            .add(encoding::id(id))
            .add(self.expected.text())
            .add(verb_number(*verb))
            .add(self.flags())
            .add(after.map(json).unwrap_or_default())
            .add(json(&names))
            .add(*mark)
            .add(origin_text(origin.as_deref()))
            .add(new_members.map(json).unwrap_or_default())
            .add(*at)
            .add(self.known.indexes_version())
            .add(self.known.cascades_version());
        let integer = match (verb, id) {
            (Verb::Create, Id::Integer(integer)) => Some(*integer),
            _ => None,
        };
        let next = match self.next {
            Some(NextId::Counter(next)) => Some(next),
            _ => None,
        };
        let limit = |limit: u64| (limit < u64::MAX).then_some(limit);
        call.add_optional(integer)
            .add_optional(next)
            .add(&self.primary_key)
            .add_optional(limit(self.limits.per_resource))
            .add_optional(limit(self.limits.total));
        self.add_key(call);
        self.add_unique(call);
        self.add_index_changes(call, *published);
        self.add_references(call);
    }

    /// p: only published; u: unchanged; b: the log has the record before; n: the counter is
    /// compared; a: the id came from the counter.
    fn flags(&self) -> String {
        let is_counted = matches!(self.next, Some(NextId::Counter(_)));
        let flags = [
            ('p', self.change.published),
            ('u', self.is_unchanged),
            ('b', self.change.before.is_some()),
            ('n', is_counted),
            ('a', is_counted),
        ];
        flags.into_iter().filter_map(|(flag, is_set)| is_set.then_some(flag)).collect()
    }

    fn add_key(&self, call: &mut Call) {
        let Some(key) = &self.key else {
            call.add("").add("").add(0);
            return;
        };
        let written = Written::logged(&self.change);
        call.add(KeyHash::from(key).as_bytes()).add(key.fingerprint).add(written.bytes());
    }

    fn add_unique(&self, call: &mut Call) {
        call.add(self.unique.len());
        for UniqueValue { attribute, value, holders } in &self.unique {
            call.add(attribute).add(&value[..]).add(&holders[..]);
        }
    }

    fn add_index_changes(&self, call: &mut Call, published: bool) {
        let indexes = self.known.indexes.iter().flat_map(|indexes| indexes.value.iter());
        let mut changes = Vec::new();
        for index in indexes.filter(|_| !published && !self.is_unchanged) {
            let member = |record: Option<&Attributes>| {
                let value = record.map(|it| it.attribute(&index.attribute));
                value.map(|value| encoding::member(value, &self.change.id)).unwrap_or_default()
            };
            let (before, after) =
                (member(self.indexed.as_deref()), member(self.change.after.as_deref()));
            // An index that is being made may lack the record.
            if before != after || !index.is_ready {
                changes.push((&index.attribute, before, after));
            }
        }
        call.add(changes.len());
        for (attribute, before, after) in changes {
            call.add(attribute).add(before).add(after);
        }
    }

    fn add_references(&self, call: &mut Call) {
        let references = match self.change.verb {
            Verb::Destroy if !self.is_unchanged => &self.references[..],
            _ => &[],
        };
        call.add(references.len());
        let id = &self.change.id;
        for Reference { resource, attribute, is_pair } in references {
            let forms = encoding::forms(id);
            call.add(resource.as_str())
                .add(attribute)
                .add(u8::from(*is_pair))
                .add(cascade_field(attribute, &encoding::id(id)))
                .add(forms.len());
            for form in forms {
                call.add(form);
            }
        }
    }
}

/// Returns a record or a list of names as JSON text.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps and lists with string keys are JSON")
}
