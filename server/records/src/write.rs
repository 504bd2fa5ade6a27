//! What somebody wants done to a record, and what that comes to.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::access::Author;
use crate::answer_memory::AnswerMemory;
use crate::change::{Attributes, Change, Id, Position, Resource, Verb, is_attribute_name};
use crate::criteria::{Case, Filter, shown};
use crate::dangling::{Dangling, Reference};
use crate::model::{self, Ids, Model, Violation};

/// A write on its way to an engine.
#[derive(Debug, Clone)]
pub struct Write {
    /// Of which resource.
    pub resource: Resource,
    /// What its records are like.
    pub model: Arc<Model>,
    /// What to do.
    pub action: Action,
    /// What of the resource is left to the writer: other records are not there, and cannot be made.
    pub within: Filter,
    /// The writer, who may be limited in the owners to set. `None` is the server itself, which may set any.
    pub author: Option<Author>,
    /// Of a destroy: where other records may hold the id. The engine commits with it that these references
    /// are to be removed.
    pub references: Vec<Reference>,
    /// How a repeat is recognised.
    pub key: Option<Key>,
    /// How many records there may be, for a write that adds one.
    pub limits: RecordLimits,
    /// The address of the client, which an engine has wait for its own writes rather than for those of
    /// others. `None` is the server itself.
    pub client: Option<IpAddr>,
    /// The memory for the answer, which has the record. An engine that has to read a large one claims it first: a write
    /// that there is no memory for is refused, and not done.
    pub memory: AnswerMemory,
    /// The connection it came from.
    pub origin: Option<Arc<str>>,
    /// Now, in Unix milliseconds.
    pub at: u64,
}

/// How many records there may be. A write that adds one more is refused; all others are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimits {
    /// Of all resources.
    pub total: u64,
    /// Of the resource of the write.
    pub per_resource: u64,
}

/// No limit.
impl Default for RecordLimits {
    fn default() -> Self {
        Self { total: u64::MAX, per_resource: u64::MAX }
    }
}

/// How many records there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordCounts {
    /// Of all resources.
    pub total: u64,
    /// Of the resource of a write.
    pub of_resource: u64,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Add a record; where the id is absent or null the [`Model`] says what it gets.
    Create(Attributes),
    /// Set these attributes and keep the others.
    Update(Id, Attributes),
    /// The same, or if there is no such record add it.
    Upsert(Id, Attributes),
    /// Remove a record.
    Destroy(Id),
    /// Remove the [dangling](crate::dangling) references of a record, or the record if it is a pair.
    Detach(Id),
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
    /// Whose key; one identity never gets the stored reply of another. Empty for anonymous callers, and
    /// for all callers of a resource that is open to everyone.
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
    /// Which of its references dangle.
    pub dangling: Dangling,
    /// The offset of the record's last change. Of a record that is not there (any more) it is the
    /// offset of its destroy or, where the log has forgotten whether there was one, the floor:
    /// whoever has read further has missed nothing of it, and whoever has not must ask.
    pub previous: u64,
    /// The place the change will take in the log.
    pub position: Position,
    /// The id that a create without one gets. Of other writes it may be any.
    pub next_id: i64,
    /// The first of the [`claims`](Write::claims) that another record has already.
    pub taken: Option<String>,
    /// How many records there are.
    pub records: RecordCounts,
}

/// The outcome of a write, before it is stored.
#[derive(Debug, Clone)]
pub enum Decision {
    /// The engine stores and logs this change, and the server pushes it.
    Changed(Change),
    /// The record already has all these values, so nothing is stored, logged or pushed. The writer
    /// gets this answer: an update that sets nothing, at the head of the log. It shows the record
    /// as of that position; later changes have higher positions.
    Unchanged(Change),
}

/// Why a write cannot be done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
    /// The id is one, but not of the kind the model asks for.
    #[error("{}", match .0 {
        Ids::Uuid => "an id here is a UUID",
        _ => "an id here is an integer",
    })]
    WrongId(Ids),
    /// There is no id, and the client has to give one.
    #[error("a new record of {resource} needs its {key}")]
    NoId {
        /// Of which resource.
        resource: Resource,
        /// The name of the primary key.
        key: String,
    },
    /// Each integer from the counter's to the largest is the id of a record.
    #[error(
        "{resource} has no integer left for the id of a new record; give it an id that is a text"
    )]
    NoIdLeft {
        /// Of which resource.
        resource: Resource,
    },
    /// Values are not what the model asks for.
    #[error("{}", sentences(.wrong))]
    Invalid {
        /// Whether it was to be a new record.
        is_new: bool,
        /// All that is wrong; not empty.
        wrong: Vec<Violation>,
    },
    /// A name that no attribute can have.
    #[error("the name {0} of an attribute has control characters")]
    BadName(
        /// The name, escaped and perhaps shortened.
        String,
    ),
    /// Another record has the value already.
    #[error("there is a record of {resource} with this {attribute} already")]
    Taken {
        /// Of which resource.
        resource: Resource,
        /// The attribute.
        attribute: String,
    },
    /// The owner of a record that is not the writer's to name.
    #[error(
        "{attribute} is the owner of a record of {resource}: you own the records that you create, and the owner \
         cannot be changed, except by those whom `assign` in the access of {resource} names"
    )]
    Owner {
        /// Of which resource.
        resource: Resource,
        /// The attribute with the owner.
        attribute: String,
    },
    /// The record would be one that is not the writer's to make.
    #[error("the access rules do not allow you to write a record of {resource} with these values")]
    Beyond {
        /// Of which resource.
        resource: Resource,
    },
    /// The store has as many records as it may have.
    #[error(
        "the server has {limit} records already (records): destroy some, or ask the operator to raise the limit"
    )]
    TooManyRecords {
        /// How many are allowed.
        limit: u64,
    },
    /// The resource has as many records as it may have.
    #[error(
        "{resource} has {limit} records already (records_per_resource): destroy some, or ask the operator to \
         raise the limit"
    )]
    TooManyOfResource {
        /// Of which resource.
        resource: Resource,
        /// How many are allowed.
        limit: u64,
    },
    /// The key stands for another request.
    #[error("this idempotency key was used for another request")]
    KeyReused,
}

impl Write {
    /// The record this write is about; `None` for a create that leaves the id to the store.
    pub fn id(&self) -> Result<Option<Id>, Refused> {
        match &self.action {
            Action::Update(id, _)
            | Action::Upsert(id, _)
            | Action::Destroy(id)
            | Action::Detach(id)
            | Action::Publish(Publication { id, .. }) => Ok(Some(id.clone())),
            Action::Create(attributes) => self.model.id_of(attributes).map_err(|bad| match bad {
                model::BadId::None => Refused::BadId,
                model::BadId::OtherKind(ids) => Refused::WrongId(ids),
                model::BadId::Missing => {
                    Refused::NoId { resource: self.resource.clone(), key: self.model.key.clone() }
                }
            }),
        }
    }

    /// The values it sets of which no other record may have the same. Those that are not even valid are
    /// left to [`apply`](Self::apply).
    ///
    /// Where owners have unique values of their own, one that changes hands brings along all it has.
    pub fn claims(&self, record: Option<&Attributes>) -> Vec<(String, Value)> {
        let set = match &self.action {
            Action::Detach(_) | Action::Publish(_) => return Vec::new(),
            action => action.attributes(),
        };
        let Some(set) = set else { return Vec::new() };
        let owner = self.model.keeps_apart().filter(|owner| set.contains_key(*owner));
        match record.filter(|_| owner.is_some()) {
            Some(record) => {
                let whole = record.clone().into_iter().chain(set.clone()).collect();
                self.model.claims(&whole)
            }
            None => self.model.claims(set),
        }
    }

    /// Whether another record stands in the way of a claim by having the value, too. Where people may not
    /// know of each other's records, those of another owner do not.
    pub fn is_rival(&self, other: &Attributes, record: Option<&Attributes>) -> bool {
        let Some(owner) = self.model.keeps_apart() else { return true };
        let set = match &self.action {
            Action::Create(set) | Action::Update(_, set) | Action::Upsert(_, set) => set.get(owner),
            Action::Destroy(_) | Action::Detach(_) | Action::Publish(_) => None,
        };
        let own = set.or_else(|| record?.get(owner)).unwrap_or(&Value::Null);
        model::is_same(own, other.get(owner).unwrap_or(&Value::Null))
    }

    /// Whether a record is within what is left to the writer.
    pub fn is_left(&self, record: &Attributes) -> bool {
        self.within.matches(record, Case::Sensitive)
    }

    /// Decides what this write does. Pure: engines store what comes out.
    pub fn apply(self, standing: Standing) -> Result<Decision, Refused> {
        let model = Arc::clone(&self.model);
        let dangling = standing.dangling.clone();
        let change = self.change(standing)?;
        let before = change.before.clone().filter(|_| change.verb == Verb::Update);
        // To set a dangling reference again is a change, though the record looks the same.
        let is_changed = |before: Arc<Attributes>| {
            let is_changed = |before: &Attributes| model.is_changed(before, &change.set);
            is_changed(&before) || dangling.resolve(before).is_some_and(|it| is_changed(&it))
        };
        let is_unchanged = before.is_some_and(|before| !is_changed(before));
        Ok(if is_unchanged {
            Decision::Unchanged(unchanged(change))
        } else {
            Decision::Changed(change)
        })
    }

    /// The change, even if the record already has all its values.
    fn change(self, standing: Standing) -> Result<Change, Refused> {
        let id = self.id()?.unwrap_or(Id::Integer(standing.next_id));
        self.action.check_names()?;
        let (resource, model) = (self.resource, &*self.model);
        let Standing { record, dangling, previous, position, taken, records, .. } = standing;
        let is_stored = record.is_some();
        let published = matches!(self.action, Action::Publish(_));
        let within = &self.within;
        let is_within = |record: &Attributes| within.matches(record, Case::Sensitive);
        let author = self.author.as_ref();
        let of_another = |attribute| Refused::Owner { resource: resource.clone(), attribute };
        // A dangling pair is absent to everybody but the cascade.
        let is_there = dangling != Dangling::Pair || matches!(self.action, Action::Detach(_));
        let before = record.filter(|_| !published && is_there);
        let resolved = before.clone().and_then(|before| dangling.resolve(before));
        if resolved.is_some_and(|before| !is_within(&before)) {
            return Err(Refused::NotFound { resource, id });
        }
        let action = match (self.action, &dangling) {
            (Action::Detach(_), Dangling::Nothing) => {
                return Err(Refused::NotFound { resource, id });
            }
            (Action::Detach(id), Dangling::Attributes(_)) => Action::Update(id, Attributes::new()),
            (action, _) => action,
        };
        let (verb, set, after) = match (action, &before) {
            (Action::Create(_), _) if !id.is_exact() => return Err(Refused::BadId),
            (Action::Publish(said), _) => said.apply(&model.key)?,
            (Action::Create(_), Some(_)) => return Err(Refused::Exists { resource, id }),
            (Action::Update(..) | Action::Destroy(_) | Action::Detach(_), None) => {
                return Err(Refused::NotFound { resource, id });
            }
            (Action::Upsert(..), None) if !id.is_exact() => return Err(Refused::BadId),
            (Action::Upsert(..), None) if !model.takes(&id) => {
                return Err(Refused::WrongId(model.ids));
            }
            (Action::Create(mut given) | Action::Upsert(_, mut given), None) => {
                let signed = author.map_or(Ok(()), |it| model.access.sign(&mut given, it));
                signed.map_err(of_another)?;
                let filled = model.fill(given);
                let mut record =
                    filled.map_err(|wrong| Refused::Invalid { is_new: true, wrong })?;
                model.stamp(&mut record, &id, self.at, true);
                (Verb::Create, record.clone(), Some(record))
            }
            (Action::Update(_, given) | Action::Upsert(_, given), Some(before)) => {
                let kept = author.map_or(Ok(()), |it| model.access.keep_owner(before, &given, it));
                kept.map_err(of_another)?;
                let checked = model.check(given);
                let mut set = checked.map_err(|wrong| Refused::Invalid { is_new: false, wrong })?;
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
        if !published && after.as_ref().is_some_and(|after| !is_within(after)) {
            return Err(Refused::Beyond { resource });
        }
        if let Some(attribute) = taken {
            return Err(Refused::Taken { resource, attribute });
        }
        if verb == Verb::Create && !published && !is_stored {
            self.limits.check(records, &resource)?;
        }
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

impl RecordLimits {
    /// Whether there may be another record of a resource.
    fn check(&self, records: RecordCounts, resource: &Resource) -> Result<(), Refused> {
        if records.of_resource >= self.per_resource {
            let (resource, limit) = (resource.clone(), self.per_resource);
            return Err(Refused::TooManyOfResource { resource, limit });
        }
        match records.total >= self.total {
            true => Err(Refused::TooManyRecords { limit: self.total }),
            false => Ok(()),
        }
    }
}

/// The answer to a write without effect.
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
    /// The attributes that it brings.
    fn attributes(&self) -> Option<&Attributes> {
        match self {
            Self::Create(set) | Self::Update(_, set) | Self::Upsert(_, set) => Some(set),
            Self::Publish(publication) => Some(&publication.data),
            Self::Destroy(_) | Self::Detach(_) => None,
        }
    }

    fn check_names(&self) -> Result<(), Refused> {
        let mut names = self.attributes().into_iter().flat_map(Attributes::keys);
        match names.find(|name| !is_attribute_name(name)) {
            Some(name) => Err(Refused::BadName(shown(name))),
            None => Ok(()),
        }
    }
}

impl Publication {
    /// As what is done has it: what was done, what was set, and the record after.
    fn apply(self, key: &str) -> Result<(Verb, Attributes, Option<Attributes>), Refused> {
        let Self { verb, id, mut data } = self;
        match verb {
            Verb::Create if !id.is_exact() => return Err(Refused::BadId),
            Verb::Destroy => return Ok((verb, Attributes::new(), None)),
            Verb::Update if !data.contains_key(key) => {}
            Verb::Create | Verb::Update => drop(data.insert(key.to_owned(), id.to_json())),
        }
        Ok((verb, data.clone(), Some(data)))
    }
}

fn sentences(wrong: &[Violation]) -> String {
    let sentences: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}
