//! The data in Redis: records, entries of logs and of the ledger, and cascades.

use backwire_environment::HashMap;
use std::sync::Arc;

use backwire_records::change::{Attributes, Change, NewMembers, Position, Resource, Verb};
use backwire_records::dangling::Reference;
use backwire_records::json_size::JsonSize;
use redis::Value;

use super::encoding::decode_id;
use super::reply::{self, Reply, parse};
use crate::Error;
use crate::cascades::{Cascade, ResourceCascades};
use crate::ledger::{Entry, Kind, Written};
use crate::migration::item::StoredChange;

/// The entry of a record: `offset changed json`, or `offset` for a record that does not exist and
/// has an entry in the log.
#[derive(Debug, Clone)]
pub(super) struct StoredRecord {
    /// The offset of its last entry in the log.
    pub(super) offset: u64,
    /// The offset of its last change that was not only published.
    pub(super) changed: u64,
    /// The record as text; `None` if it does not exist.
    pub(super) json: Option<String>,
}

impl StoredRecord {
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, Error> {
        let stored = reply::text(bytes)?;
        let Some((offset, rest)) = stored.split_once(' ') else {
            let offset = parse(&stored)?;
            return Ok(Self { offset, changed: offset, json: None });
        };
        let (changed, json) = rest.split_once(' ').unwrap_or((rest, ""));
        let json = Some(json.to_owned());
        Ok(Self { offset: parse(offset)?, changed: parse(changed)?, json })
    }

    /// Parses the record, if it exists.
    pub(super) fn parse(&self) -> Result<Option<Arc<Attributes>>, Error> {
        self.json.as_deref().map(attributes).transpose()
    }
}

/// Parses the JSON of a record.
pub(super) fn attributes(json: &str) -> Result<Arc<Attributes>, Error> {
    serde_json::from_str(json).map(Arc::new).map_err(unreadable)
}

pub(super) fn unreadable(error: impl ToString) -> Error {
    Error::Unavailable(format!("data in Redis: {}", error.to_string()))
}

/// An entry of a log, which is not decoded yet.
pub(super) struct LogEntry {
    pub(super) offset: u64,
    fields: HashMap<Vec<u8>, Vec<u8>>,
}

impl LogEntry {
    /// Reads an entry of a stream.
    pub(super) fn read(mut entry: Reply) -> Result<Self, Error> {
        let offset = Self::offset_of_id(&entry.bytes()?)?;
        let (mut list, mut fields) = (entry.next_list()?, HashMap::default());
        while let Ok(name) = list.bytes() {
            fields.insert(name, list.bytes()?);
        }
        Ok(Self { offset, fields })
    }

    /// Returns the offset of an entry of a stream, and reads nothing else of it.
    pub(super) fn offset_of(entry: &Value) -> Result<u64, Error> {
        match entry {
            Value::Array(parts) => match parts.first() {
                Some(Value::BulkString(id)) => Self::offset_of_id(id),
                _ => Err(unreadable("an entry of a log has no id")),
            },
            _ => Err(unreadable("an entry of a log is not a list")),
        }
    }

    /// Returns the offset in the id of an entry: `offset-0`.
    pub(super) fn offset_of_id(id: &[u8]) -> Result<u64, Error> {
        let offset = id.split(|byte| *byte == b'-').next().unwrap_or_default();
        parse(&reply::text(offset.to_vec())?)
    }

    /// Returns the bytes of the entry in the log.
    pub(super) fn stored_bytes(&self) -> Result<usize, Error> {
        parse(&reply::text(self.fields.get(&b"s"[..]).cloned().unwrap_or_default())?)
    }

    fn text(&mut self, name: &str) -> Result<String, Error> {
        reply::text(self.fields.remove(name.as_bytes()).unwrap_or_default())
    }

    fn number(&mut self, name: &str) -> Result<u64, Error> {
        parse(&self.text(name)?)
    }

    fn record(&mut self, name: &str) -> Result<Option<Arc<Attributes>>, Error> {
        let json = self.text(name)?;
        (!json.is_empty()).then(|| attributes(&json)).transpose()
    }

    fn new_members(&mut self) -> Result<Option<Arc<NewMembers>>, Error> {
        let json = self.text("c")?;
        let parsed = (!json.is_empty()).then(|| serde_json::from_str(&json).map_err(unreadable));
        Ok(parsed.transpose()?.map(Arc::new))
    }

    /// Returns the bytes that the change takes once it is decoded. The values that were set count
    /// as the whole record.
    pub(super) fn parsed_bytes(&self) -> usize {
        let record =
            |name: &[u8]| self.fields.get(name).map_or(0, |json| JsonSize::of(json).parsed_bytes());
        size_of::<Change>() + record(b"b") + 2 * record(b"a") + record(b"c")
    }

    /// Returns the change as a migration copies it.
    pub(super) fn stored(mut self, resource: &str) -> Result<StoredChange, Error> {
        let [before, after] = ["b", "a"].map(|name| self.text(name));
        let present = |json: String| (!json.is_empty()).then_some(json);
        Ok(StoredChange {
            resource: resource.to_owned(),
            offset: self.offset,
            previous: self.number("p")?,
            verb: verb_number(verb(&self.text("v")?)?),
            id: decode_id(&self.fields.remove(&b"i"[..]).unwrap_or_default())?,
            before: present(before?),
            after: present(after?),
            names: self.text("n")?,
            mark: self.number("m")?,
            published: self.text("f")? == "1",
            origin: origin(&self.text("o")?).map(|origin| origin.to_string()),
            at: self.number("t")?,
        })
    }

    /// Decodes the change.
    pub(super) fn decode(mut self, resource: &Resource, epoch: u64) -> Result<Change, Error> {
        let (before, after) = (self.record("b")?, self.record("a")?);
        let names: Vec<String> = serde_json::from_str(&self.text("n")?).map_err(unreadable)?;
        // The values that were set are in the record after the change.
        let set = names.into_iter().filter_map(|name| {
            let value = after.as_ref()?.get(&name)?.clone();
            Some((name, value))
        });
        let set = set.collect();
        Ok(Change {
            resource: resource.clone(),
            position: Position { epoch, offset: self.offset },
            previous: self.number("p")?,
            verb: verb(&self.text("v")?)?,
            id: decode_id(&self.fields.remove(&b"i"[..]).unwrap_or_default())?,
            before,
            after,
            set,
            mark: self.number("m")?,
            published: self.text("f")? == "1",
            origin: origin(&self.text("o")?),
            new_members: self.new_members()?,
            at: self.number("t")?,
        })
    }
}

/// Returns the number of a verb, as on the wire.
pub(super) fn verb_number(verb: Verb) -> u8 {
    match verb {
        Verb::Create => 1,
        Verb::Update => 2,
        Verb::Destroy => 3,
    }
}

fn verb(number: &str) -> Result<Verb, Error> {
    match number {
        "1" => Ok(Verb::Create),
        "2" => Ok(Verb::Update),
        "3" => Ok(Verb::Destroy),
        other => Err(unreadable(format!("unknown verb {other:?}"))),
    }
}

/// Returns an origin as a text, which is empty if there is none.
pub(super) fn origin_text(origin: Option<&str>) -> String {
    origin.map(|origin| format!("={origin}")).unwrap_or_default()
}

fn origin(text: &str) -> Option<Arc<str>> {
    text.strip_prefix('=').map(Arc::from)
}

/// Reads an entry of the ledger: `at fingerprint verb kind offset resource id`.
pub(super) fn ledger_entry(bytes: &[u8]) -> Result<Entry<Written>, Error> {
    let mut parts = bytes.splitn(7, |byte| *byte == b' ');
    let mut part = || parts.next().unwrap_or_default();
    let text = |part: &[u8]| reply::text(part.to_vec());
    let at = parse(&text(part())?)?;
    let fingerprint = parse(&text(part())?)?;
    let verb = verb(&text(part())?)?;
    let kind = match part() {
        b"0" => Kind::Changed,
        b"1" => Kind::Published,
        _ => Kind::Unchanged,
    };
    let offset = parse(&text(part())?)?;
    let resource = Resource::internal(&text(part())?);
    let outcome = Written { resource, id: decode_id(part())?, offset, verb, kind, at };
    Ok(Entry { fingerprint, outcome })
}

/// Returns the field of a cascade in the hash of its resource: the length of the attribute's name,
/// the name, and the id.
pub(super) fn cascade_field(attribute: &str, id: &[u8]) -> Vec<u8> {
    [format!("{}:{attribute}", attribute.len()).as_bytes(), id].concat()
}

/// Reads a cascade from its field and its value: `until is_pair origin`.
pub(super) fn cascade(resource: Resource, field: &[u8], value: Vec<u8>) -> Result<Cascade, Error> {
    let malformed = || unreadable("a cascade is malformed");
    let colon = field.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    let length: usize = parse(&reply::text(field[..colon].to_vec())?)?;
    let (name, id) = field[colon + 1..].split_at_checked(length).ok_or_else(malformed)?;
    let value = reply::text(value)?;
    let mut parts = value.splitn(3, ' ');
    let until = parse(parts.next().unwrap_or_default())?;
    let is_pair = parts.next() == Some("1");
    let origin = origin(parts.next().unwrap_or_default());
    let attribute = reply::text(name.to_vec())?;
    let reference = Reference { resource, attribute, is_pair };
    Ok(Cascade { reference, id: decode_id(id)?, until, origin })
}

/// Reads the cascades of a resource from the fields and values of its hash.
pub(super) fn cascades(resource: &Resource, mut list: Reply) -> Result<ResourceCascades, Error> {
    let mut cascades = ResourceCascades::default();
    while let Ok(field) = list.bytes() {
        let Cascade { reference, id, until, .. } =
            cascade(resource.clone(), &field, list.bytes()?)?;
        cascades.insert(reference.attribute, reference.is_pair, id, until);
    }
    Ok(cascades)
}
