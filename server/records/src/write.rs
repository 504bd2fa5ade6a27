//! Writes: what a caller asks for, and the change that results.

mod error;

use std::net::IpAddr;
use std::sync::Arc;

use backwire_protocol::planted;
use serde_json::Value;

use crate::access::Author;
use crate::answer_memory::AnswerMemory;
use crate::change::{
    Attributes, Change, Id, NewMembers, Position, Resource, Verb, is_attribute_name,
};
use crate::criteria::{Case, Filter, escaped_name};
use crate::dangling::{Dangling, Reference};
use crate::model::{self, Model};

pub use error::WriteError;

/// A write on its way to an engine.
#[derive(Debug, Clone)]
pub struct Write {
    /// The resource.
    pub resource: Resource,
    /// The model of the resource.
    pub model: Arc<Model>,
    /// The operation.
    pub action: Action,
    /// The filter that the records of the writer fulfil. For the writer, other records do not exist
    /// and cannot be made.
    pub within: Filter,
    /// The writer, who may be limited in the owners to set. `None` is the server itself, which may
    /// set any.
    pub author: Option<Author>,
    /// For a destroy: the attributes in which other records may hold the id. The engine commits the
    /// removal of these references together with the destroy.
    pub references: Vec<Reference>,
    /// The idempotency key, by which a repeat is recognised.
    pub key: Option<Key>,
    /// The maximum number of records, for a write that adds one.
    pub limits: RecordLimits,
    /// The address of the client. In an engine, the writes of a client wait for each other rather
    /// than for those of other clients. `None` is the server itself.
    pub client: Option<IpAddr>,
    /// The memory for the answer, which contains the record. An engine that has to read a large
    /// record claims this memory first. If there is not enough, the write is refused and not done.
    pub memory: AnswerMemory,
    /// The connection that the write came from.
    pub origin: Option<Arc<str>>,
    /// The members of a new record's collections that the write is about.
    pub new_members: Option<Arc<NewMembers>>,
    /// The current time, in Unix milliseconds.
    pub at: u64,
}

impl Write {
    /// Returns a write of the server itself at this time, in Unix milliseconds, to a resource with
    /// the default model. It has no key and no limits.
    pub fn new(resource: Resource, action: Action, at: u64) -> Self {
        let (model, within, author, references, key) = Default::default();
        let (limits, client, memory, origin, new_members) = Default::default();
        Self {
            resource,
            model,
            action,
            within,
            author,
            references,
            key,
            limits,
            client,
            memory,
            origin,
            new_members,
            at,
        }
    }
}

/// The maximum number of records. Only a write that adds a record is refused because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimits {
    /// In all resources.
    pub total: u64,
    /// In the resource of the write.
    pub per_resource: u64,
}

/// No limit.
impl Default for RecordLimits {
    fn default() -> Self {
        Self { total: u64::MAX, per_resource: u64::MAX }
    }
}

/// The number of stored records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordCounts {
    /// In all resources.
    pub total: u64,
    /// In the resource of a write.
    pub of_resource: u64,
}

/// The operation of a write.
#[derive(Debug, Clone)]
pub enum Action {
    /// Adds a record. If the id is absent or null, the [`Model`] decides where it comes from.
    Create(Attributes),
    /// Sets these attributes and keeps the others.
    Update(Id, Attributes),
    /// Updates the record, or adds it if it does not exist.
    Upsert(Id, Attributes),
    /// Removes a record.
    Destroy(Id),
    /// Removes the [dangling](crate::dangling) references of a record, or the record if it is a
    /// pair.
    Detach(Id),
    /// Publishes an event and changes no record: the record is stored elsewhere, or not at all.
    Publish(Publication),
}

/// A published event about a record.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The kind of change that it reports.
    pub verb: Verb,
    /// The id of the record. The record need not exist.
    pub id: Id,
    /// For a create the record, for an update the attributes that were set; ignored for a destroy.
    pub data: Attributes,
}

/// An idempotency key, and the identity and the request that it belongs to.
#[derive(Debug, Clone)]
pub struct Key {
    /// The identity of the caller. One identity never gets the stored reply of another. It is empty
    /// for anonymous callers, and for all callers of a resource that is open to everyone.
    pub identity: Arc<str>,
    /// The key as the client sent it.
    pub key: Arc<str>,
    /// A hash of verb, url and body. The same key with another fingerprint is a mistake of the
    /// client.
    pub fingerprint: u64,
}

impl Key {
    /// Returns the hash of the key that others may see: FNV-1a 64, lowest 53 bits, so that it is
    /// exact in JavaScript.
    pub fn mark(&self) -> u64 {
        backwire_protocol::mark(&self.key)
    }
}

/// The state of the store that a write is decided on.
#[derive(Debug, Clone)]
pub struct StoredState {
    /// The current record.
    pub record: Option<Arc<Attributes>>,
    /// The dangling references of the record.
    pub dangling: Dangling,
    /// The offset of the record's last change. If the record does not exist, it is the offset of
    /// its destroy or, if the log has forgotten whether there was one, the floor: a client that has
    /// read beyond it has missed nothing of the record, and any other client must ask.
    pub previous: u64,
    /// The position that the change will take in the log.
    pub position: Position,
    /// The id that a create without an id gets. For other writes it may have any value.
    pub next_id: i64,
    /// The attribute of the first of the [`unique_values`](Write::unique_values) that another
    /// record has already.
    pub taken: Option<String>,
    /// The number of stored records.
    pub records: RecordCounts,
}

/// The outcome of a write, before it is stored.
#[derive(Debug, Clone)]
pub enum Decision {
    /// The engine stores and logs this change, and the server pushes it.
    Changed(Change),
    /// The record already has all these values, so nothing is stored, logged or pushed. The writer
    /// gets this answer: an update that sets nothing, at the head of the log. It has the record as
    /// of that position; later changes have higher positions.
    Unchanged(Change),
}

impl Write {
    /// Returns the id of the written record; `None` for a create that leaves the id to the store.
    pub fn id(&self) -> Result<Option<Id>, WriteError> {
        match &self.action {
            Action::Update(id, _)
            | Action::Upsert(id, _)
            | Action::Destroy(id)
            | Action::Detach(id)
            | Action::Publish(Publication { id, .. }) => Ok(Some(id.clone())),
            Action::Create(attributes) => self.model.id_of(attributes).map_err(|bad| match bad {
                model::BadId::None => WriteError::BadId,
                model::BadId::OtherKind(ids) => WriteError::WrongId(ids),
                model::BadId::Missing => WriteError::NoId {
                    resource: self.resource.clone(),
                    key: self.model.key.clone(),
                },
            }),
        }
    }

    /// Returns the values of unique attributes that this write sets, by attribute. Values that are
    /// not valid are left out: [`apply`](Self::apply) refuses them.
    ///
    /// If values are unique per owner and the write sets the owner, this returns all unique values
    /// of the record.
    pub fn unique_values(&self, record: Option<&Attributes>) -> Vec<(String, Value)> {
        let set = match &self.action {
            Action::Detach(_) | Action::Publish(_) => return Vec::new(),
            action => action.attributes(),
        };
        let Some(set) = set else { return Vec::new() };
        let owner = self.model.isolating_owner().filter(|owner| set.contains_key(*owner));
        match record.filter(|_| owner.is_some()) {
            Some(record) => {
                let whole = record.clone().into_iter().chain(set.clone()).collect();
                self.model.unique_values(&whole)
            }
            None => self.model.unique_values(set),
        }
    }

    /// Whether another record with the same unique value conflicts with this write. If values are
    /// unique per owner, records of another owner do not conflict.
    pub fn conflicts_with(&self, other: &Attributes, record: Option<&Attributes>) -> bool {
        let Some(owner) = self.model.isolating_owner() else { return true };
        let set = match &self.action {
            Action::Create(set) | Action::Update(_, set) | Action::Upsert(_, set) => set.get(owner),
            Action::Destroy(_) | Action::Detach(_) | Action::Publish(_) => None,
        };
        let own = set.or_else(|| record?.get(owner)).unwrap_or(&Value::Null);
        model::is_same(own, other.get(owner).unwrap_or(&Value::Null))
    }

    /// Whether the writer may access a record.
    pub fn is_accessible(&self, record: &Attributes) -> bool {
        self.within.matches(record, Case::Sensitive)
    }

    /// Decides what this write does. Pure: engines store the decision.
    pub fn apply(self, state: StoredState) -> Result<Decision, WriteError> {
        let model = Arc::clone(&self.model);
        let dangling = state.dangling.clone();
        let change = self.change(state)?;
        let before = change.before.clone().filter(|_| change.verb == Verb::Update);
        // Setting a dangling reference again is a change, though the record looks the same.
        let is_changed = |before: Arc<Attributes>| {
            let is_changed = |before: &Attributes| model.is_changed(before, &change.set);
            is_changed(&before) || dangling.resolve(before).is_some_and(|it| is_changed(&it))
        };
        // In Sails each update touches the record, and is published.
        let is_touched = model.conventions.are_of_sails();
        let is_unchanged = !is_touched && before.is_some_and(|before| !is_changed(before));
        Ok(if is_unchanged {
            Decision::Unchanged(unchanged(change))
        } else {
            Decision::Changed(change)
        })
    }

    /// Returns the change, even if the record already has all its values.
    fn change(self, state: StoredState) -> Result<Change, WriteError> {
        let id = self.id()?.unwrap_or(Id::Integer(state.next_id));
        self.action.check_names()?;
        let (resource, model) = (self.resource, &*self.model);
        let StoredState { record, dangling, previous, position, taken, records, .. } = state;
        let is_stored = record.is_some();
        let published = matches!(self.action, Action::Publish(_));
        let within = &self.within;
        let is_within = |record: &Attributes| within.matches(record, Case::Sensitive);
        let author = self.author.as_ref();
        let of_another = |attribute| WriteError::Owner { resource: resource.clone(), attribute };
        // Only the cascade sees a dangling pair.
        let is_there = dangling != Dangling::Pair || matches!(self.action, Action::Detach(_));
        let before = record.filter(|_| !published && is_there);
        let resolved = before.clone().and_then(|before| dangling.resolve(before));
        if resolved.is_some_and(|before| !is_within(&before))
            && !planted::has("records-of-others-writable")
        {
            return Err(WriteError::NotFound { resource, id });
        }
        let action = match (self.action, &dangling) {
            (Action::Detach(_), Dangling::Nothing) => {
                return Err(WriteError::NotFound { resource, id });
            }
            (Action::Detach(id), Dangling::Attributes(_)) => Action::Update(id, Attributes::new()),
            (action, _) => action,
        };
        let (verb, set, after) = match (action, &before) {
            (Action::Create(_), _) if !id.is_exact() => return Err(WriteError::BadId),
            (Action::Publish(publication), _) => publication.apply(&model.key)?,
            (Action::Create(_), Some(_)) => return Err(WriteError::Exists { resource, id }),
            (Action::Update(..) | Action::Destroy(_) | Action::Detach(_), None) => {
                return Err(WriteError::NotFound { resource, id });
            }
            (Action::Upsert(..), None) if !id.is_exact() => return Err(WriteError::BadId),
            (Action::Upsert(..), None) if !model.accepts_id(&id) => {
                return Err(WriteError::WrongId(model.id_source()));
            }
            (Action::Create(mut given) | Action::Upsert(_, mut given), None) => {
                let signed = author.map_or(Ok(()), |it| model.access.set_owner(&mut given, it));
                signed.map_err(of_another)?;
                let filled = model.fill(given);
                let mut record =
                    filled.map_err(|wrong| WriteError::Invalid { is_new: true, wrong })?;
                model.stamp(&mut record, &id, self.at, true);
                (Verb::Create, record.clone(), Some(record))
            }
            (Action::Update(_, given) | Action::Upsert(_, given), Some(before)) => {
                let kept = author.map_or(Ok(()), |it| model.access.check_owner(before, &given, it));
                kept.map_err(of_another)?;
                let checked = model.check(given);
                let mut set =
                    checked.map_err(|wrong| WriteError::Invalid { is_new: false, wrong })?;
                dangling.remove_unset(&mut set);
                model.stamp(&mut set, &id, self.at, false);
                let mut record = Attributes::clone(before);
                record.extend(set.clone());
                (Verb::Update, set, Some(record))
            }
            (Action::Destroy(_) | Action::Detach(_), Some(_)) => {
                (Verb::Destroy, Attributes::new(), None)
            }
        };
        if !published
            && after.as_ref().is_some_and(|after| !is_within(after))
            && !planted::has("records-of-others-writable")
        {
            return Err(WriteError::OutsideAccess { resource });
        }
        if let Some(attribute) = taken {
            return Err(WriteError::Taken { resource, attribute });
        }
        if verb == Verb::Create && !published && !is_stored {
            self.limits.check(records, &resource)?;
        }
        Ok(Change {
            mark: self.key.as_ref().map_or(0, Key::mark),
            after: after.map(Arc::new),
            at: self.at,
            origin: self.origin,
            new_members: self.new_members,
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

impl RecordLimits {
    /// Returns an error if the resource may not have another record.
    fn check(&self, records: RecordCounts, resource: &Resource) -> Result<(), WriteError> {
        if records.of_resource >= self.per_resource {
            let (resource, limit) = (resource.clone(), self.per_resource);
            return Err(WriteError::TooManyOfResource { resource, limit });
        }
        match records.total >= self.total {
            true => Err(WriteError::TooManyRecords { limit: self.total }),
            false => Ok(()),
        }
    }
}

/// Returns the answer to a write without effect.
fn unchanged(change: Change) -> Change {
    let Position { epoch, offset } = change.position;
    Change {
        // The head of the log: the change that was decided would have been the next.
        position: Position { epoch, offset: offset.saturating_sub(1) },
        after: change.before.clone(),
        set: Attributes::new(),
        ..change
    }
}

impl Action {
    /// Returns the attributes that the caller sent.
    fn attributes(&self) -> Option<&Attributes> {
        match self {
            Self::Create(set) | Self::Update(_, set) | Self::Upsert(_, set) => Some(set),
            Self::Publish(publication) => Some(&publication.data),
            Self::Destroy(_) | Self::Detach(_) => None,
        }
    }

    fn check_names(&self) -> Result<(), WriteError> {
        let mut names = self.attributes().into_iter().flat_map(Attributes::keys);
        match names.find(|name| !is_attribute_name(name)) {
            Some(name) => Err(WriteError::BadName(escaped_name(name))),
            None => Ok(()),
        }
    }
}

impl Publication {
    /// Returns the fields of its change: the verb, the attributes that were set, and the record
    /// after it.
    fn apply(self, key: &str) -> Result<(Verb, Attributes, Option<Attributes>), WriteError> {
        let Self { verb, id, mut data } = self;
        match verb {
            Verb::Create if !id.is_exact() => return Err(WriteError::BadId),
            Verb::Destroy => return Ok((verb, Attributes::new(), None)),
            Verb::Update if !data.contains_key(key) => {}
            Verb::Create | Verb::Update => drop(data.insert(key.to_owned(), id.to_json())),
        }
        Ok((verb, data.clone(), Some(data)))
    }
}
