//! What somebody wants done to a record, and what that comes to.

use std::sync::Arc;

use serde_json::Value;

use crate::change::{Attributes, Change, Id, Position, Resource, Verb};

/// A write on its way to an engine.
#[derive(Debug, Clone)]
pub struct Write {
    /// Of which resource.
    pub resource: Resource,
    /// What to do.
    pub action: Action,
    /// How a repeat is recognised.
    pub key: Option<Key>,
    /// The connection it came from.
    pub origin: Option<Arc<str>>,
    /// Now, in Unix milliseconds.
    pub at: u64,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Add a record; an `id` that is absent or null means the next free integer.
    Create(Attributes),
    /// Set these attributes and keep the others.
    Update(Id, Attributes),
    /// Remove a record.
    Destroy(Id),
    /// Say so and leave the records as they are: the record is kept elsewhere, or this is about
    /// something that is not kept at all.
    Publish(Publication),
}

/// What is said to have happened to a record.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What.
    pub verb: Verb,
    /// To which record; whether there is one is not asked.
    pub id: Id,
    /// Of a create the record, of an update what was set; of a destroy it has no meaning.
    pub data: Attributes,
}

/// An idempotency key and what it stands for.
#[derive(Debug, Clone)]
pub struct Key {
    /// Whose key; one identity never gets the stored reply of another. Empty for nobody in particular.
    pub identity: Arc<str>,
    /// As the client sent it.
    pub key: Arc<str>,
    /// Hash of verb, url and body: the same key with another is a mistake of the client.
    pub fingerprint: u64,
}

impl Key {
    /// The key as others may see it: FNV-1a 64, lowest 53 bits, so that it is exact in JavaScript.
    pub fn mark(&self) -> u64 {
        backwire_protocol::mark(&self.key)
    }
}

/// What the store has to say before a write can be decided.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The record as it is.
    pub record: Option<Arc<Attributes>>,
    /// The offset of the record's last change. Of a record that is not there (any more) it is the
    /// offset of its destroy or, where the log has forgotten whether there was one, the floor:
    /// whoever has read further has missed nothing of it, and whoever has not must ask.
    pub previous: u64,
    /// The place the change will take in the log.
    pub position: Position,
    /// The id a create without one gets.
    pub next_id: i64,
}

/// Why a write can not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such record.
    #[error("there is no record {id} in {resource}")]
    NotFound {
        /// Of which resource.
        resource: Resource,
        /// Which record.
        id: Id,
    },
    /// There is such a record already.
    #[error("there is a record {id} in {resource} already")]
    Exists {
        /// Of which resource.
        resource: Resource,
        /// Which record.
        id: Id,
    },
    /// The id is none; or there is none left to give, because somebody took the last one.
    #[error("an id is an integer within \u{b1}(2^53 - 1) or a string of 1 to 255 bytes")]
    BadId,
    /// The key stands for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
}

impl Write {
    /// The record this write is about; `None` for a create that leaves the id to the store.
    pub fn id(&self) -> Result<Option<Id>, Refused> {
        match &self.action {
            Action::Update(id, _)
            | Action::Destroy(id)
            | Action::Publish(Publication { id, .. }) => Ok(Some(id.clone())),
            Action::Create(attributes) => match attributes.get("id") {
                None | Some(Value::Null) => Ok(None),
                Some(value) => Id::from_json(value).map(Some).ok_or(Refused::BadId),
            },
        }
    }

    /// Decides what this write does. Pure: engines store what comes out.
    pub fn apply(self, standing: Standing) -> Result<Change, Refused> {
        let id = self.id()?.unwrap_or(Id::Integer(standing.next_id));
        let resource = self.resource;
        let Standing { record, previous, position, .. } = standing;
        let published = matches!(self.action, Action::Publish(_));
        let before = record.filter(|_| !published);
        let (verb, set, after) = match (self.action, &before) {
            (Action::Create(_), _) if !is_exact(&id) => return Err(Refused::BadId),
            (Action::Publish(said), _) => said.apply()?,
            (Action::Create(_), Some(_)) => return Err(Refused::Exists { resource, id }),
            (Action::Update(..) | Action::Destroy(_), None) => {
                return Err(Refused::NotFound { resource, id });
            }
            (Action::Create(mut record), None) => {
                record.shift_remove("id");
                stamp(&mut record, &id, &["createdAt", "updatedAt"], self.at);
                (Verb::Create, record.clone(), Some(record))
            }
            (Action::Update(_, mut set), Some(before)) => {
                set.shift_remove("createdAt");
                stamp(&mut set, &id, &["updatedAt"], self.at);
                let mut record = Attributes::clone(before);
                record.extend(set.clone());
                (Verb::Update, set, Some(record))
            }
            (Action::Destroy(_), Some(_)) => (Verb::Destroy, Attributes::new(), None),
        };
        Ok(Change {
            mark: self.key.as_ref().map_or(0, Key::mark),
            after: after.map(Arc::new),
            at: self.at,
            origin: self.origin,
            published,
            resource,
            position,
            previous,
            before,
            verb,
            set,
            id,
        })
    }
}

impl Publication {
    /// As what is done has it: what was done, what was set, and the record after.
    fn apply(self) -> Result<(Verb, Attributes, Option<Attributes>), Refused> {
        let Self { verb, id, mut data } = self;
        match verb {
            Verb::Create if !is_exact(&id) => return Err(Refused::BadId),
            Verb::Destroy => return Ok((verb, Attributes::new(), None)),
            Verb::Update if !data.contains_key("id") => {}
            Verb::Create | Verb::Update => drop(data.insert("id".to_owned(), id.to_json())),
        }
        Ok((verb, data.clone(), Some(data)))
    }
}

/// Whether JavaScript can hold the id: it would read a larger integer as one of its neighbours.
fn is_exact(id: &Id) -> bool {
    const LARGEST: i64 = (1 << 53) - 1;
    match id {
        Id::Integer(integer) => (-LARGEST..=LARGEST).contains(integer),
        Id::Text(_) => true,
    }
}

/// Sets what the server decides: timestamps, then the id.
fn stamp(attributes: &mut Attributes, id: &Id, times: &[&str], at: u64) {
    for time in times {
        attributes.insert((*time).to_owned(), Value::from(at));
    }
    attributes.insert("id".to_owned(), id.to_json());
}
