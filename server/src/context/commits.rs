//! Writes in the caller's name.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use backwire_engine as engine;
use backwire_records::access::{Act, Author, Reach, Who};
use backwire_records::change::{Attributes, Change, Resource};
use backwire_records::criteria::Filter;
use backwire_records::model::{Ids, Model};
use backwire_records::write::{Action, Key, Publication, Refused, Write};
use tokio::task::coop::unconstrained;

use super::Context;
use crate::caller;
use crate::cascade;
use crate::clock::now;
use crate::error::{Error, Result};
use crate::fingerprint;
use crate::http::key;
use crate::identity::Identity;
use crate::in_line::in_line;
use crate::socket::turn::Turn;

impl Context {
    /// Commits a write in the caller's name, if it is theirs to do. A repeat of a key gives what came of
    /// it the first time.
    pub async fn commit(&self, resource: Resource, action: Action) -> Result<Arc<Change>> {
        let write = self.prepare(self.key.clone(), resource, action).await?;
        self.commit_prepared(write).await
    }

    /// What came of a write of the caller, if this is a repeat of it; otherwise nothing is done.
    pub(crate) async fn recall(
        &self,
        resource: Resource,
        action: Action,
    ) -> Result<Option<Arc<Change>>> {
        if self.key.is_none() {
            return Ok(None);
        }
        let write = self.prepare(self.key.clone(), resource, action).await?;
        // No record is left to it, so there is none that it could change.
        let write = Write { within: Filter::Any(Vec::new()), ..write };
        match self.engine().commit(write).await {
            Ok(committed) => Ok(Some(committed.change)),
            Err(engine::Error::Refused(Refused::NotFound { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A write in the caller's name, within what is left to them.
    async fn prepare(
        &self,
        key: Option<Arc<str>>,
        resource: Resource,
        action: Action,
    ) -> Result<Write> {
        if matches!(action, Action::Create(_) | Action::Upsert(..))
            && !self.shared.models.is_declared(&resource)
        {
            // Before there is anything to remember of it. An error if there is no such resource.
            self.model(&resource)?;
            self.shared.undeclared.begin(&resource, self.address)?;
        }
        if let Action::Create(record) = &action
            && !self.shared.models.learn_key(&resource, record)
        {
            return Err(Refused::BadId.into());
        }
        let model = self.model(&resource)?;
        let key = key.map(|key| (key, fingerprint_of(&resource, &action)));
        let permit = self.permit(&resource, &model, action).await?;
        let key = key.map(|(key, fingerprint)| {
            let identity = permit.identity.to_text();
            Key { identity, key, fingerprint }
        });
        Ok(self.write(resource, model, permit, key))
    }

    fn write(
        &self,
        resource: Resource,
        model: Arc<Model>,
        Permit { within, author, action, .. }: Permit,
        key: Option<Key>,
    ) -> Write {
        let origin = self.client.as_ref().map(|client| client.id().clone());
        let action = with_id(action, &model);
        let references = cascade::references(&self.shared, &resource, &action);
        let (limits, client, at) = (self.shared.record_limits, self.address, now());
        let memory = self.reads().memory.clone();
        Write {
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
            at,
        }
    }

    async fn permit(&self, resource: &Resource, model: &Model, action: Action) -> Result<Permit> {
        let access = &model.access;
        if access.is_open() || matches!(action, Action::Publish(_)) {
            let identity = self.identity.clone();
            return Ok(Permit { identity, ..Permit::whole(action) });
        }
        let who = self.who().await?;
        let reach = |act| caller::reach(&self.shared, resource, &who, act);
        let author = access.author(&who);
        let (reach, action) = match action {
            Action::Create(mut record) => {
                let reach = reach(Act::Create)?;
                // To refuse one that is taken would tell that it is.
                if model.id_of(&record) != Ok(None) && are_ids_hidden(model, &who) {
                    return Err(Error::GivenId(resource.clone()));
                }
                // Before anything is created: it may be one of a list.
                access.sign(&mut record, &author).map_err(|attribute| {
                    let resource = resource.clone();
                    Refused::Owner { resource, attribute }
                })?;
                (reach, Action::Create(record))
            }
            Action::Upsert(..) => (reach(Act::Create)?.and(reach(Act::Update)?), action),
            Action::Destroy(_) => (reach(Act::Destroy)?, action),
            Action::Update(..) | Action::Detach(_) | Action::Publish(_) => {
                (reach(Act::Update)?, action)
            }
        };
        let within = reach.filter();
        Ok(Permit { identity: who.into(), within, author: Some(author), action })
    }

    /// Creates several records in the caller's name, in their order. All are checked first, so that
    /// nothing is created if one of them is invalid. If another write comes in between and one is
    /// refused because of it, the others are created.
    ///
    /// The first record has the key of the request, with a fingerprint of all of them, and is committed
    /// before the others: the same key with another list, or with a single record, is refused. Each of the
    /// others has a key made of it.
    pub(crate) async fn create_each(
        &self,
        resource: Resource,
        records: Vec<Attributes>,
    ) -> Result<Vec<Arc<Change>>> {
        let model = self.model(&resource)?;
        refuse_invalid(&model, &records)?;
        let all = fingerprint_of_all(&resource, &records);
        let mut writes = Vec::new();
        for (index, record) in records.into_iter().enumerate() {
            let key = self.key.as_ref().map(|key| key::nth(key, index));
            writes.push(self.prepare(key, resource.clone(), Action::Create(record)).await?);
        }
        let first = match writes.first_mut().and_then(|first| first.key.as_mut()) {
            Some(key) => {
                key.fingerprint = all;
                Some(self.engine().commit(writes.remove(0)).await?.change)
            }
            None => None,
        };
        let others = self.in_order(writes.into_iter().map(Ok).collect()).await;
        first.map(Ok).into_iter().chain(others).collect()
    }

    /// Commits several writes in the caller's name, in their order, whatever comes of each. They have no
    /// key: to do them again comes to the same.
    pub(crate) async fn commit_each(
        &self,
        writes: Vec<(Resource, Action)>,
    ) -> Vec<Result<Arc<Change>>> {
        let mut prepared = Vec::with_capacity(writes.len());
        for (resource, action) in writes {
            prepared.push(self.prepare(None, resource, action).await);
        }
        self.in_order(prepared).await
    }

    /// Commits a write. If it is a destroy that others follow from, they begin.
    async fn commit_prepared(&self, write: Write) -> Result<Arc<Change>> {
        let has_references = !write.references.is_empty();
        let committed = self.engine().commit(write).await?;
        self.set_writing(true);
        if has_references {
            self.shared.cascades.notify_one();
        }
        Ok(committed.change)
    }

    /// Has several writes done in their order. They stand in line together, so they share what a commit costs.
    async fn in_order(&self, writes: Vec<Result<Write>>) -> Vec<Result<Arc<Change>>> {
        let commit = async |write: Result<Write>| self.commit_prepared(write?).await;
        in_line(writes.into_iter().map(commit)).await
    }

    /// Commits the one write of a request that does nothing else: the next of the same connection
    /// need not wait for its outcome.
    ///
    /// Invariant: the turn is passed on when the engine has been asked once, and has put the write in
    /// line. So that it has is no question of tokio's budget, which would have it asked again later.
    pub(crate) async fn commit_last(&self, of: Resource, action: Action) -> Result<Arc<Change>> {
        let write = self.prepare(self.key.clone(), of, action).await?;
        let mut commit = pin!(unconstrained(self.commit_prepared(write)));
        poll_fn(|cx| {
            let outcome = commit.as_mut().poll(cx);
            self.turn.iter().for_each(Turn::pass);
            outcome
        })
        .await
    }
}

/// A write that is the caller's to do.
struct Permit {
    /// Whose key it comes with.
    identity: Identity,
    /// Where it has to stay.
    within: Filter,
    /// The writer, if the resource has rules about owners.
    author: Option<Author>,
    action: Action,
}

impl Permit {
    /// Anybody's, and wherever.
    fn whole(action: Action) -> Self {
        Self { identity: Identity::Anonymous, within: Filter::default(), author: None, action }
    }
}

/// Whether somebody who creates a record may not find out which ids are taken.
fn are_ids_hidden(model: &Model, who: &Who) -> bool {
    let access = &model.access;
    access.hides_records() || !model.reveals && access.reach(who, Act::Read) != Reach::Whole
}

/// Names of attributes are told with the place of their record in the list: `2.title`.
fn refuse_invalid(model: &Model, records: &[Attributes]) -> Result<()> {
    let mut wrong = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let violations = model.fill(record.clone()).err().unwrap_or_default();
        wrong.extend(violations.into_iter().map(|it| it.within(index)));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Refused::Invalid { is_new: true, wrong }.into()) }
}

/// A new record of a model with UUIDs gets its id here, where things are drawn; the key stands for the
/// create without it.
fn with_id(action: Action, model: &Model) -> Action {
    match action {
        Action::Create(mut record)
            if model.ids == Ids::Uuid && matches!(model.id_of(&record), Ok(None)) =>
        {
            record.insert(model.key.clone(), uuid::Uuid::now_v7().to_string().into());
            Action::Create(record)
        }
        action => action,
    }
}

/// What a key stands for: the deed, not its spelling, so that a write may be repeated over another
/// transport.
fn fingerprint_of(resource: &Resource, action: &Action) -> u64 {
    let deed = match action {
        Action::Create(attributes) => serde_json::to_vec(&("create", resource, attributes)),
        Action::Update(id, attributes) => serde_json::to_vec(&("update", resource, id, attributes)),
        Action::Upsert(id, attributes) => serde_json::to_vec(&("upsert", resource, id, attributes)),
        Action::Destroy(id) => serde_json::to_vec(&("destroy", resource, id)),
        Action::Detach(id) => serde_json::to_vec(&("detach", resource, id)),
        Action::Publish(Publication { verb, id, data }) => {
            serde_json::to_vec(&("publish", resource, verb, id, data))
        }
    };
    fingerprint::of(&deed.expect("it is made of JSON and strings"))
}

fn fingerprint_of_all(resource: &Resource, records: &[Attributes]) -> u64 {
    let deed = serde_json::to_vec(&("create each", resource, records));
    fingerprint::of(&deed.expect("it is made of JSON and strings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_the_deed_not_for_its_spelling() {
        let todo = || Resource::parse("todo").unwrap();
        let update = |text: &str| {
            let id = backwire_records::change::Id::Integer(7);
            fingerprint_of(&todo(), &Action::Update(id, serde_json::from_str(text).unwrap()))
        };
        assert_eq!(update(r#"{"done":true}"#), update(r#"{ "done" : true }"#));
        assert_ne!(update(r#"{"done":true}"#), update(r#"{"done":false}"#));
    }
}
