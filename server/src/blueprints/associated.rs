//! `/user/1/pets`: reads the records that are associated with a record, and changes which ones are.
//!
//! A collection is not stored. A change of a collection writes to the other side: it sets the
//! attribute that refers back, or it creates or destroys a pair. The record that has the collection
//! stays unchanged.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use backwire_engine as engine;
use backwire_records::access;
use backwire_records::change::{Attributes, Change, Id, NewMembers, Resource};
use backwire_records::criteria::{
    Collection, CollectionKey, Criteria, Language, Parameters, Projection,
};
use backwire_records::model::{Link, Model, Populate};
use backwire_records::write::{Action, WriteError};

use super::input::Input;
use super::reply::Reply;
use super::target::Target;
use super::{one_id, parameters, read_one, write};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::populate::{Populator, pairs, watch_associated_resources};
use crate::route::{NestedRoute, Operation, Route};
use crate::subscription;

/// Answers a request for the associated records of a record. If the path has the id of an
/// associated record, the request is about this one.
pub(super) async fn answer(
    cx: Context,
    of: Target,
    input: Input,
    operation: Operation,
) -> Result<Reply> {
    let Target { route: Route { resource, id, nested, .. }, query, .. } = of;
    let (id, nested) = id.zip(nested).ok_or_else(|| Error::MissingId("id".to_owned()))?;
    // The outcome depends on the earlier requests of the connection.
    cx.wait_for_earlier_requests().await;
    let request = AssociationRequest { cx, resource, id, nested };
    if operation == Operation::Find {
        return request.find_and_follow(query, input).await;
    }
    let record = request.association_end(&request.resource, &request.id).await?;
    if let (Operation::Update, Some(member)) = (operation, &request.nested.id) {
        return request.update(member, input.attributes()?).await;
    }
    request.check_may_change(&record).await?;
    let added = match (operation, &request.nested.id) {
        (Operation::Create, _) => return request.create(record, input.attributes()?).await,
        (Operation::Destroy, Some(member)) => {
            request.check_same_id(member, &input.attributes()?)?;
            request.remove(member).await?;
            // As in Sails, the client follows neither of the two.
            return request.reply_with_members(record).await;
        }
        (_, Some(member)) => {
            let sent = input.attributes()?;
            request.check_same_id(member, &sent)?;
            request.check_has_no_values(&sent)?;
            request.add(member).await?;
            BTreeSet::from([member.clone()])
        }
        (_, None) => request.replace(request.requested_ids(query, input)?).await?,
    };
    let record = request.follow(record, &added).await?;
    request.reply_with_members(record).await
}

/// A request for an association of one record.
pub(super) struct AssociationRequest {
    pub(super) cx: Context,
    pub(super) resource: Resource,
    pub(super) id: Id,
    pub(super) nested: NestedRoute,
}

impl AssociationRequest {
    fn target(&self) -> &Resource {
        &self.nested.association.target
    }

    fn link(&self) -> &Link {
        &self.nested.association.link
    }

    fn model(&self) -> Result<Arc<Model>> {
        self.cx.model(self.target())
    }

    /// Returns the record at one end of the association, or an error if it does not exist.
    async fn association_end(&self, resource: &Resource, id: &Id) -> Result<Arc<Attributes>> {
        let record = subscription::find_one_without_subscription(&self.cx, resource, id).await?;
        record.ok_or_else(|| self.not_found(resource, id))
    }

    fn not_found(&self, resource: &Resource, id: &Id) -> Error {
        WriteError::NotFound { resource: resource.clone(), id: id.clone() }.into()
    }

    /// Checks whether the caller may change the pairs of this record. A pair has no owner, so it
    /// takes the right to update the record on this side. An attribute that refers back is a change
    /// of the record on the other side, and its rules apply.
    async fn check_may_change(&self, record: &Attributes) -> Result<()> {
        let access_scope = match self.link() {
            Link::Paired { .. } => {
                self.cx.access_scope(&self.resource, access::Operation::Update).await?
            }
            Link::Holds { .. } | Link::HeldBy(_) => return Ok(()),
        };
        if access_scope.includes(record) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Returns the answer to a change of the association: the record with its current members, and
    /// in Sails with all that a read of it has.
    async fn reply_with_members(self, record: Arc<Attributes>) -> Result<Reply> {
        let model = self.cx.model(&self.resource)?;
        let populate = match model.conventions.are_of_sails() {
            true => model.default_populate(),
            false => Populate::These(BTreeSet::from([self.nested.attribute.clone()])),
        };
        let populator = Populator::new(&self.cx, &self.resource, &populate);
        let populated = populator.populate_written(Arc::clone(&record)).await?;
        match Reply::within_limits(&populated, self.cx.reads()) {
            // The change is committed, so an answer that would be too large leaves out the members.
            Err(Error::Engine(error)) if error.is_limit_of_read() => Ok(Reply::ok(Json(record))),
            reply => reply,
        }
    }
}

/// Reads.
impl AssociationRequest {
    /// Finds the associated records. A stock client follows the record from then on, and in Sails
    /// mode the new records of its associated resources, too.
    async fn find_and_follow(&self, query: Vec<(String, String)>, input: Input) -> Result<Reply> {
        let (data, model) = (input.attributes()?, self.model()?);
        let parameters = parameters(&self.cx, self.target(), &model, query, data)?;
        let of = subscription::association_end::find(&self.cx, &self.resource, &self.id).await?;
        let of = of.ok_or_else(|| self.not_found(&self.resource, &self.id))?;
        watch_associated_resources(&self.cx, &self.resource)?;
        self.find(&of, parameters).await
    }

    /// Subscribes a stock client to a record and to the members that were added to it, and returns
    /// the record as it is then.
    async fn follow(
        &self,
        record: Arc<Attributes>,
        added: &BTreeSet<Id>,
    ) -> Result<Arc<Attributes>> {
        subscription::association_end::follow_members(&self.cx, self.target(), added).await?;
        subscription::association_end::follow(&self.cx, &self.resource, &self.id, record).await
    }

    async fn find(&self, record: &Attributes, mut parameters: Parameters) -> Result<Reply> {
        let model = self.model()?;
        // As in Sails, nothing is populated by default: a caller that asks for pets already has
        // their owner.
        let populate = Populate::take(&mut parameters, model.associations())?.unwrap_or_default();
        let one = match (self.link(), &self.nested.id) {
            (Link::Holds { .. }, _) => record.get(&self.nested.attribute).and_then(Id::from_json),
            (_, Some(member)) => self.contains(member).await?.then(|| member.clone()),
            (_, None) => return self.find_all(&model, &populate, parameters).await,
        };
        let one = one.ok_or_else(|| self.not_in())?;
        let criteria = Criteria::read_of_one(&model, &one, parameters)?;
        read_one(&self.cx, (self.target().clone(), one), criteria, &populate).await
    }

    fn not_in(&self) -> Error {
        let Self { resource, id, nested, .. } = self;
        let (resource, id) = (resource.clone(), id.clone());
        Error::NotAssociated {
            resource,
            id,
            attribute: nested.attribute.clone(),
            member: nested.id.clone(),
        }
    }

    /// Finds all members. If the members hold this record's id, a filter picks them, and our
    /// runtime follows the filter. No attribute of a record shows its pairs, so the filter of
    /// paired members is valid only until the pairs change.
    async fn find_all(
        &self,
        model: &Model,
        populate: &Populate,
        parameters: Parameters,
    ) -> Result<Reply> {
        let populator = Populator::new(&self.cx, self.target(), populate);
        let mut criteria = Criteria::read_for(model, parameters, Language::Current)?;
        populator.add_to_criteria(&mut criteria);
        let read = match self.link() {
            Link::HeldBy(via) => {
                let criteria = criteria.and_attribute_in(via, [&self.id]);
                subscription::find_holding(&self.cx, self.target(), criteria).await?
            }
            Link::Paired { join, .. } => {
                let of = CollectionKey {
                    resource: self.resource.to_string(),
                    id: self.id.clone(),
                    attribute: self.nested.attribute.clone(),
                };
                // The position is read before the pairs, so that no pair is missed.
                let at = self.cx.engine().head(&join.resource()).await?;
                let of = Collection { of, at: (at.epoch, at.offset) };
                let ids = self.members().await?;
                subscription::members::find(&self.cx, self.target(), criteria, &ids, of).await?
            }
            Link::Holds { .. } => return Err(self.not_in()),
        };
        Reply::records(&self.cx, populator.populate_read(read).await?, self.cx.reads())
    }

    async fn contains(&self, member: &Id) -> Result<bool> {
        match self.link() {
            Link::HeldBy(via) => {
                let other = self.association_end(self.target(), member).await?;
                Ok(self.is_referenced_by(&other, via))
            }
            _ => Ok(self.members().await?.contains(member)),
        }
    }

    fn is_referenced_by(&self, other: &Attributes, via: &str) -> bool {
        other.get(via).and_then(Id::from_json).as_ref() == Some(&self.id)
    }

    /// Returns the ids of the current members.
    async fn members(&self) -> Result<BTreeSet<Id>> {
        let Link::HeldBy(via) = self.link() else {
            let id = std::slice::from_ref(&self.id);
            let pairs = pairs(&self.cx, &self.nested.association, id).await?;
            return self.visible_ids(pairs.into_values().flatten().collect()).await;
        };
        let model = self.model()?;
        self.ids_of(&model, Criteria::with_attribute_in(&model, via, [&self.id])).await
    }

    /// Returns the ids of the records that the criteria pick and that the caller may know of.
    async fn ids_of(&self, model: &Model, criteria: Criteria) -> Result<BTreeSet<Id>> {
        ids_of(&self.cx, self.target(), model, criteria).await
    }
}

/// Returns the ids of the records of a resource that the criteria pick and that the caller may know
/// of. The client is not subscribed to them: it does not get these records.
pub(super) async fn ids_of(
    cx: &Context,
    resource: &Resource,
    model: &Model,
    criteria: Criteria,
) -> Result<BTreeSet<Id>> {
    let projection = Projection::Select(BTreeSet::from([model.key.clone()]));
    let (criteria, options) = (Criteria { projection, ..criteria }, cx.reads().unbounded());
    let find = subscription::find_associated_without_subscription;
    let all = find(cx, resource, &criteria, &options).await?.value;
    Ok(all.iter().filter_map(|it| it.id(&model.key)).collect())
}

impl AssociationRequest {
    /// Returns those of the ids that the caller may know of.
    async fn visible_ids(&self, ids: BTreeSet<Id>) -> Result<BTreeSet<Id>> {
        let model = self.model()?;
        if model.access.is_open() || ids.is_empty() {
            return Ok(ids);
        }
        self.ids_of(&model, Criteria::with_attribute_in(&model, &model.key, &ids)).await
    }
}

/// Changes. A change that is already in effect is not written again.
impl AssociationRequest {
    /// Adds a new record, or an existing one if the body has only its key.
    async fn create(&self, of: Arc<Attributes>, record: Attributes) -> Result<Reply> {
        let key = &self.model()?.key;
        if let (1, Some(id)) = (record.len(), record.get(key).filter(|id| !id.is_null())) {
            let id = Id::from_json(id).ok_or(WriteError::BadId)?;
            let added = self.add(&id).await?;
            self.follow(of, &BTreeSet::from([id.clone()])).await?;
            return match added {
                Some(change) if change.resource == *self.target() => {
                    Reply::written(&self.cx, &change).await
                }
                _ => Ok(Reply::ok(Json(self.association_end(self.target(), &id).await?))),
            };
        }
        let reply = self.create_member(record).await?;
        self.follow(of, &BTreeSet::new()).await?;
        Ok(reply)
    }

    async fn create_member(&self, mut record: Attributes) -> Result<Reply> {
        if let Link::HeldBy(via) = self.link() {
            record.insert(via.clone(), self.id.to_json());
            return write(&self.cx, self.target().clone(), Action::Create(record)).await;
        }
        let change = self.cx.commit(self.target().clone(), Action::Create(record)).await?;
        // The idempotency key of the request belongs to the create of the record.
        self.commit_each(vec![self.write_to_add(&change.id)?]).await?;
        Reply::written(&self.cx, &change).await
    }

    /// Updates a member of the collection, as a request for the member's own path does.
    async fn update(&self, member: &Id, set: Attributes) -> Result<Reply> {
        self.check_same_id(member, &set)?;
        let (target, update) = (self.target().clone(), Action::Update(member.clone(), set));
        let is_in = self.contains(member).await;
        if let Ok(true) = is_in {
            return write(&self.cx, target, update).await;
        }
        // The member may have left the collection by the update that this request repeats.
        match self.cx.recall(target, update).await? {
            Some(change) => Reply::written(&self.cx, &change).await,
            None => Err(is_in.err().unwrap_or_else(|| self.not_in())),
        }
    }

    /// Refuses a body with the id of another record than the path.
    fn check_same_id(&self, member: &Id, sent: &Attributes) -> Result<()> {
        one_id(Some(member.clone()), sent, &self.model()?.key).map(drop)
    }

    /// Refuses a body with values, because this route does not save them.
    fn check_has_no_values(&self, sent: &Attributes) -> Result<()> {
        let key = &self.model()?.key;
        match sent.keys().all(|name| name == key) {
            true => Ok(()),
            false => {
                Err(Error::BadBody("to add a record takes no values: it has a path of its own"))
            }
        }
    }

    async fn add(&self, member: &Id) -> Result<Option<Arc<Change>>> {
        let other = self.association_end(self.target(), member).await?;
        match self.link() {
            Link::HeldBy(via) if self.is_referenced_by(&other, via) => Ok(None),
            _ => self.commit(self.write_to_add(member)?).await,
        }
    }

    async fn remove(&self, member: &Id) -> Result<()> {
        let other = self.association_end(self.target(), member).await?;
        match self.link() {
            Link::HeldBy(via) if !self.is_referenced_by(&other, via) => Ok(()),
            _ => self.commit(self.write_to_remove(member)?).await.map(drop),
        }
    }

    /// Returns the requested members: the ids in the body, or those in a parameter with the name of
    /// the collection, which only a shortcut has.
    fn requested_ids(&self, query: Vec<(String, String)>, input: Input) -> Result<BTreeSet<Id>> {
        let parameter = query.into_iter().find(|(name, _)| *name == self.nested.attribute);
        parameter.map_or(input, |(_, ids)| Input(ids.into())).ids()
    }

    /// Replaces the members, and returns the new ones. If a record does not exist, nothing is
    /// changed, or in Sails only the others count.
    async fn replace(&self, mut wanted: BTreeSet<Id>) -> Result<BTreeSet<Id>> {
        let model = self.model()?;
        let existing =
            self.ids_of(&model, Criteria::with_attribute_in(&model, &model.key, &wanted)).await?;
        if model.conventions.are_of_sails() {
            wanted = existing;
        } else if let Some(id) = wanted.difference(&existing).next() {
            let (resource, id) = (self.target().clone(), id.clone());
            return Err(WriteError::NotFound { resource, id }.into());
        }
        let members = self.members().await?;
        let removals = members.difference(&wanted).map(|id| self.write_to_remove(id));
        let additions = wanted.difference(&members).map(|id| self.write_to_add(id));
        let writes = removals.chain(additions).collect::<Result<_>>()?;
        self.commit_each(writes).await?;
        Ok(wanted.difference(&members).cloned().collect())
    }

    /// Makes the collection have these members, as a part of the write of its record. Others are
    /// removed only if they may be. The push of the record shows some of them.
    pub(super) async fn set_members(
        &self,
        wanted: &BTreeSet<Id>,
        shown: &BTreeSet<Id>,
        may_remove: bool,
    ) -> Result<()> {
        let members = self.members().await?;
        let of = Arc::new(NewMembers::In {
            resource: self.resource.to_string(),
            id: self.id.clone(),
            attribute: self.nested.attribute.clone(),
        });
        for id in wanted.difference(&members) {
            let (part, write) = (format!("{}+{id}", self.nested.attribute), self.write_to_add(id)?);
            let new_members = shown.contains(id).then(|| Arc::clone(&of));
            let added = self.cx.commit_member(&part, write, new_members).await;
            self.ignore_pair_conflict(added)?;
        }
        let removals = members.difference(wanted).filter(|_| may_remove);
        self.commit_each(removals.map(|id| self.write_to_remove(id)).collect::<Result<_>>()?).await
    }

    /// Returns the write that adds a record to the collection.
    fn write_to_add(&self, member: &Id) -> Result<(Resource, Action)> {
        Ok(match self.link() {
            Link::Paired { join, own } => {
                let pair = own.pair(&self.id, member).ok_or(WriteError::BadId)?;
                (join.resource(), Action::Create(pair.attributes()))
            }
            Link::HeldBy(via) => self.write_to_set(member, via, self.id.to_json()),
            Link::Holds { .. } => return Err(self.not_in()),
        })
    }

    /// Returns the write that removes a record from the collection.
    fn write_to_remove(&self, member: &Id) -> Result<(Resource, Action)> {
        Ok(match self.link() {
            Link::Paired { join, own } => {
                let pair = own.pair(&self.id, member).ok_or(WriteError::BadId)?;
                (join.resource(), Action::Destroy(pair.id))
            }
            Link::HeldBy(via) => self.write_to_set(member, via, serde_json::Value::Null),
            Link::Holds { .. } => return Err(self.not_in()),
        })
    }

    fn write_to_set(&self, member: &Id, via: &str, id: serde_json::Value) -> (Resource, Action) {
        let set = Attributes::from_iter([(via.to_owned(), id)]);
        (self.target().clone(), Action::Update(member.clone(), set))
    }

    async fn commit(&self, (resource, action): (Resource, Action)) -> Result<Option<Arc<Change>>> {
        self.ignore_pair_conflict(self.cx.commit(resource, action).await)
    }

    async fn commit_each(&self, writes: Vec<(Resource, Action)>) -> Result<()> {
        let outcomes = self.cx.commit_each(writes).await;
        outcomes.into_iter().try_for_each(|outcome| self.ignore_pair_conflict(outcome).map(drop))
    }

    /// Accepts the errors that a pair exists already or is gone already: another request has made
    /// the same change.
    fn ignore_pair_conflict(&self, outcome: Result<Arc<Change>>) -> Result<Option<Arc<Change>>> {
        let Link::Paired { join, .. } = self.link() else { return outcome.map(Some) };
        match outcome {
            Err(Error::Engine(engine::Error::Refused(
                WriteError::Exists { resource, .. } | WriteError::NotFound { resource, .. },
            ))) if resource == join.resource() => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}
