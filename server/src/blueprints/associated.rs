//! `/user/1/pets`: reading the records that are associated with one, and changing who they are.
//!
//! A collection is not stored, so to change it is to write to the other side: to set the attribute that leads
//! back, or to create or destroy a pair. The record whose collection it is stays as it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use backwire_engine as engine;
use backwire_records::access::Act;
use backwire_records::change::{Attributes, Change, Id, Resource};
use backwire_records::criteria::{Collection, Criteria, Language, Parameters, Projection};
use backwire_records::model::{Link, Model, Populate};
use backwire_records::write::{Action, Refused};

use super::{Input, Reply, Target, one_id, parameters, read, write};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::populate::{Filling, pairs};
use crate::route::{Deed, Route, Within};
use crate::subscription;

/// What is to be done with the associated records of one. With one of them: to add or to remove it.
pub(super) async fn answer(cx: Context, of: Target, input: Input, deed: Deed) -> Result<Reply> {
    let Target { route: Route { resource, id, within, .. }, query, .. } = of;
    let (id, within) = id.zip(within).ok_or_else(|| Error::NoId("id".to_owned()))?;
    // What it comes to depends on what those before it have done.
    cx.alone().await;
    let it = Associated { cx, resource, id, within };
    let record = it.end(&it.resource, &it.id).await?;
    if let (Deed::Update, Some(member)) = (deed, &it.within.id) {
        return it.update(member, input.attributes()?).await;
    }
    if deed != Deed::Find {
        it.refuse_strangers(&record).await?;
    }
    match (deed, &it.within.id) {
        (Deed::Find, _) => {
            let (data, model) = (input.attributes_if_any()?, it.model()?);
            let parameters = parameters(&it.cx, it.target(), &model, query, data)?;
            return it.find(&record, parameters).await;
        }
        (Deed::Create, _) => return it.create(input.attributes()?).await,
        (Deed::Destroy, Some(member)) => {
            it.refuse_another(member, &input.attributes_if_any()?)?;
            it.remove(member).await?;
        }
        (_, Some(member)) => {
            let sent = input.attributes_if_any()?;
            it.refuse_another(member, &sent)?;
            it.refuse_values(&sent)?;
            it.add(member).await?;
        }
        (_, None) => it.replace(it.named(query, input)?).await?,
    }
    it.whole(record).await
}

/// A record, and an association of it.
struct Associated {
    cx: Context,
    resource: Resource,
    id: Id,
    within: Within,
}

impl Associated {
    fn target(&self) -> &Resource {
        &self.within.association.target
    }

    fn link(&self) -> &Link {
        &self.within.association.link
    }

    fn model(&self) -> Result<Arc<Model>> {
        self.cx.model(self.target())
    }

    /// A record on either side, which has to be there.
    async fn end(&self, resource: &Resource, id: &Id) -> Result<Arc<Attributes>> {
        let record = subscription::find_end(&self.cx, resource, id).await?;
        record
            .ok_or_else(|| Refused::NotFound { resource: resource.clone(), id: id.clone() }.into())
    }

    /// A pair is of nobody's: who may have it changed is who may change this side. What leads back from the
    /// other side is a change of that.
    async fn refuse_strangers(&self, record: &Attributes) -> Result<()> {
        let reach = match self.link() {
            Link::Paired { .. } => self.cx.reach(&self.resource, Act::Update).await?,
            Link::Holds { .. } | Link::HeldBy(_) => return Ok(()),
        };
        if reach.includes(record) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// The answer to whoever has changed the association: the record, with those that are in it now.
    async fn whole(self, record: Arc<Attributes>) -> Result<Reply> {
        let populate = Populate::These(BTreeSet::from([self.within.attribute.clone()]));
        let filling = Filling::new(&self.cx, &self.resource, &populate);
        let filled = match filling.fill(vec![Arc::clone(&record).into()]).await {
            Ok(mut filled) => Reply::bounded(&filled.pop(), self.cx.reads()),
            Err(error) => Err(error),
        };
        match filled {
            // It is changed: an answer that would be too large leaves out who is in it.
            Err(Error::Engine(error)) if error.is_limit_of_read() => Ok(Reply::ok(Json(record))),
            reply => reply,
        }
    }
}

/// Reading.
impl Associated {
    async fn find(self, record: &Attributes, mut parameters: Parameters) -> Result<Reply> {
        let model = self.model()?;
        // As in Sails, nothing by default: who asks for pets has their owner.
        let populate = Populate::take(&mut parameters, model.associations())?.unwrap_or_default();
        let one = match (self.link(), &self.within.id) {
            (Link::Holds { .. }, _) => record.get(&self.within.attribute).and_then(Id::from_json),
            (_, Some(member)) => self.has(member).await?.then(|| member.clone()),
            (_, None) => return self.find_all(&model, &populate, parameters).await,
        };
        let one = one.ok_or_else(|| self.not_in())?;
        let criteria = Criteria::read_of_one(&model, &one, parameters)?;
        read(&self.cx, (self.target().clone(), one), criteria, &populate).await
    }

    fn not_in(&self) -> Error {
        let Self { resource, id, within, .. } = self;
        let (resource, id) = (resource.clone(), id.clone());
        Error::NotIn {
            resource,
            id,
            attribute: within.attribute.clone(),
            member: within.id.clone(),
        }
    }

    /// Those that hold this record's id are what a filter picks, and our runtime follows it. No attribute of a
    /// record says in which pairs it is: then the filter is good for as long as there are no others.
    async fn find_all(
        &self,
        model: &Model,
        populate: &Populate,
        parameters: Parameters,
    ) -> Result<Reply> {
        let filling = Filling::new(&self.cx, self.target(), populate);
        let mut criteria = Criteria::read_for(model, parameters, Language::Current)?;
        filling.widen(&mut criteria);
        let read = match self.link() {
            Link::HeldBy(via) => {
                let criteria = criteria.and_holding(via, [&self.id]);
                subscription::find_holding(&self.cx, self.target(), criteria).await?
            }
            Link::Paired { join, .. } => {
                let id = self.id.clone();
                let of = (self.resource.to_string(), id, self.within.attribute.clone());
                // Before the pairs are read, so that none is missed.
                let at = subscription::head(self.cx.engine(), &join.resource()).await?;
                let of = Collection { of, at: (at.epoch, at.offset) };
                let ids = self.members().await?;
                subscription::members::find(&self.cx, self.target(), criteria, &ids, of).await?
            }
            Link::Holds { .. } => return Err(self.not_in()),
        };
        Reply::records(&self.cx, filling.fill_all(read).await?, self.cx.reads())
    }

    async fn has(&self, member: &Id) -> Result<bool> {
        match self.link() {
            Link::HeldBy(via) => {
                let other = self.end(self.target(), member).await?;
                Ok(self.is_led_to_by(&other, via))
            }
            _ => Ok(self.members().await?.contains(member)),
        }
    }

    fn is_led_to_by(&self, other: &Attributes, via: &str) -> bool {
        other.get(via).and_then(Id::from_json).as_ref() == Some(&self.id)
    }

    /// The ids of those that are in the collection now.
    async fn members(&self) -> Result<BTreeSet<Id>> {
        let Link::HeldBy(via) = self.link() else {
            let id = std::slice::from_ref(&self.id);
            let pairs = pairs(&self.cx, &self.within.association, id).await?;
            return self.known(pairs.into_values().flatten().collect()).await;
        };
        let model = self.model()?;
        self.ids_of(&model, Criteria::holding(&model, via, [&self.id])).await
    }

    /// The ids of those that criteria pick, and that the caller may know of.
    async fn ids_of(&self, model: &Model, criteria: Criteria) -> Result<BTreeSet<Id>> {
        let projection = Projection::Select(BTreeSet::from([model.key.clone()]));
        let (criteria, options) =
            (Criteria { projection, ..criteria }, self.cx.reads().unbounded());
        let all =
            subscription::find_along(&self.cx, self.target(), &criteria, &options).await?.value;
        Ok(all.iter().filter_map(|it| it.id(&model.key)).collect())
    }
}

impl Associated {
    /// Those of them that the caller may know of.
    async fn known(&self, ids: BTreeSet<Id>) -> Result<BTreeSet<Id>> {
        let model = self.model()?;
        if model.access.is_open() || ids.is_empty() {
            return Ok(ids);
        }
        self.ids_of(&model, Criteria::holding(&model, &model.key, &ids)).await
    }
}

/// Changing. What is so already is not done again.
impl Associated {
    /// A new record, or one that is there and only named by its key.
    async fn create(self, mut record: Attributes) -> Result<Reply> {
        let key = &self.model()?.key;
        if let (1, Some(id)) = (record.len(), record.get(key).filter(|id| !id.is_null())) {
            let id = Id::from_json(id).ok_or(Refused::BadId)?;
            return match self.add(&id).await? {
                Some(change) if change.resource == *self.target() => {
                    Reply::written(&self.cx, &change).await
                }
                _ => Ok(Reply::ok(Json(self.end(self.target(), &id).await?))),
            };
        }
        if let Link::HeldBy(via) = self.link() {
            record.insert(via.clone(), self.id.to_json());
            return write(&self.cx, self.target().clone(), Action::Create(record)).await;
        }
        let change = self.cx.commit(self.target().clone(), Action::Create(record)).await?;
        // The key of the request stands for the record.
        self.commit_each(vec![self.adding(&change.id)?]).await?;
        Reply::written(&self.cx, &change).await
    }

    /// What is set of one that is in the collection is set as under its own path.
    async fn update(&self, member: &Id, set: Attributes) -> Result<Reply> {
        self.refuse_another(member, &set)?;
        let (target, update) = (self.target().clone(), Action::Update(member.clone(), set));
        let is_in = self.has(member).await;
        if let Ok(true) = is_in {
            return write(&self.cx, target, update).await;
        }
        // It may have left by the very update that this repeats.
        match self.cx.recall(target, update).await? {
            Some(done) => Reply::written(&self.cx, &done).await,
            None => Err(is_in.err().unwrap_or_else(|| self.not_in())),
        }
    }

    /// Whoever names one record in the path and another in the body has made a mistake.
    fn refuse_another(&self, member: &Id, sent: &Attributes) -> Result<()> {
        one_id(Some(member.clone()), sent, &self.model()?.key).map(drop)
    }

    /// Whoever sends a record along wants it saved, which is not done here.
    fn refuse_values(&self, sent: &Attributes) -> Result<()> {
        let key = &self.model()?.key;
        match sent.keys().all(|name| name == key) {
            true => Ok(()),
            false => {
                Err(Error::BadBody("to add a record takes no values: it has a path of its own"))
            }
        }
    }

    async fn add(&self, member: &Id) -> Result<Option<Arc<Change>>> {
        let other = self.end(self.target(), member).await?;
        match self.link() {
            Link::HeldBy(via) if self.is_led_to_by(&other, via) => Ok(None),
            _ => self.commit(self.adding(member)?).await,
        }
    }

    async fn remove(&self, member: &Id) -> Result<()> {
        let other = self.end(self.target(), member).await?;
        match self.link() {
            Link::HeldBy(via) if !self.is_led_to_by(&other, via) => Ok(()),
            _ => self.commit(self.removing(member)?).await.map(drop),
        }
    }

    /// The ids that are to be in the collection: the body, or a parameter with the name of the collection,
    /// which only a shortcut has.
    fn named(&self, query: Vec<(String, String)>, input: Input) -> Result<BTreeSet<Id>> {
        let said = query.into_iter().find(|(name, _)| *name == self.within.attribute);
        said.map_or(input, |(_, ids)| Input(ids.into())).ids()
    }

    /// Has these in the collection and no others. All have to be there, or nothing is done.
    async fn replace(&self, wanted: BTreeSet<Id>) -> Result<()> {
        let model = self.model()?;
        let there = self.ids_of(&model, Criteria::holding(&model, &model.key, &wanted)).await?;
        if let Some(id) = wanted.difference(&there).next() {
            let (resource, id) = (self.target().clone(), id.clone());
            return Err(Refused::NotFound { resource, id }.into());
        }
        let members = self.members().await?;
        let removing = members.difference(&wanted).map(|id| self.removing(id));
        let adding = wanted.difference(&members).map(|id| self.adding(id));
        let writes = removing.chain(adding).collect::<Result<_>>()?;
        self.commit_each(writes).await
    }

    /// The write that makes a record part of the collection.
    fn adding(&self, member: &Id) -> Result<(Resource, Action)> {
        Ok(match self.link() {
            Link::Paired { join, own } => {
                let pair = own.pair(&self.id, member).ok_or(Refused::BadId)?;
                (join.resource(), Action::Create(pair.attributes()))
            }
            Link::HeldBy(via) => self.setting(member, via, self.id.to_json()),
            Link::Holds { .. } => return Err(self.not_in()),
        })
    }

    /// The write that takes it out again.
    fn removing(&self, member: &Id) -> Result<(Resource, Action)> {
        Ok(match self.link() {
            Link::Paired { join, own } => {
                let pair = own.pair(&self.id, member).ok_or(Refused::BadId)?;
                (join.resource(), Action::Destroy(pair.id))
            }
            Link::HeldBy(via) => self.setting(member, via, serde_json::Value::Null),
            Link::Holds { .. } => return Err(self.not_in()),
        })
    }

    fn setting(&self, member: &Id, via: &str, id: serde_json::Value) -> (Resource, Action) {
        let set = Attributes::from_iter([(via.to_owned(), id)]);
        (self.target().clone(), Action::Update(member.clone(), set))
    }

    async fn commit(&self, (resource, action): (Resource, Action)) -> Result<Option<Arc<Change>>> {
        self.settled(self.cx.commit(resource, action).await)
    }

    async fn commit_each(&self, writes: Vec<(Resource, Action)>) -> Result<()> {
        let outcomes = self.cx.commit_each(writes).await;
        outcomes.into_iter().try_for_each(|outcome| self.settled(outcome).map(drop))
    }

    /// That a pair is there, or is not there, is what was wanted, whoever has done it.
    fn settled(&self, outcome: Result<Arc<Change>>) -> Result<Option<Arc<Change>>> {
        let Link::Paired { join, .. } = self.link() else { return outcome.map(Some) };
        match outcome {
            Err(Error::Engine(engine::Error::Refused(
                Refused::Exists { resource, .. } | Refused::NotFound { resource, .. },
            ))) if resource == join.resource() => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}
