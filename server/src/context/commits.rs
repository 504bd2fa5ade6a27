//! Writes in the caller's name.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use backwire_engine::KeyLookup;
use backwire_records::access::{AccessScope, Author, Operation, Principal};
use backwire_records::change::{Attributes, Change, NewMembers, Resource};
use backwire_records::criteria::Filter;
use backwire_records::model::{Ids, Model};
use backwire_records::write::{Action, Key, Publication, Write, WriteError};
use serde::Serialize;
use tokio::task::coop::unconstrained;

use super::Context;
use crate::caller;
use crate::cascade;
use crate::error::{Error, Result};
use crate::fingerprint;
use crate::http::idempotency_key as key;
use crate::identity::Identity;
use crate::join_in_order::join_in_order;
use crate::push_backlog::PushPermit;
use crate::socket::turn::Turn;
use crate::uuids::Uuids;

impl Context {
    /// Commits a write in the caller's name, if the caller may do it. A repeat of a key returns the
    /// outcome of the first write.
    pub async fn commit(&self, resource: Resource, action: Action) -> Result<Arc<Change>> {
        self.commit_write(self.prepare(self.key.clone(), resource, action).await?).await
    }

    /// Commits a write that is a part of the request, besides its main write. A repeat of the
    /// request returns the outcome of the first write of this part.
    pub(crate) async fn commit_part(
        &self,
        part: &str,
        resource: Resource,
        action: Action,
    ) -> Result<Arc<Change>> {
        self.commit_member(part, (resource, action), None).await
    }

    /// Commits a part of the request that may add a member to a collection of a new record.
    pub(crate) async fn commit_member(
        &self,
        part: &str,
        (resource, action): (Resource, Action),
        new_members: Option<Arc<NewMembers>>,
    ) -> Result<Arc<Change>> {
        let key = self.key.as_ref().map(|key| key::part(key, part));
        let write = self.prepare(key, resource, action).await?;
        self.commit_write(Write { new_members, ..write }).await
    }

    /// Returns the main write of a request that has more values than those of its record. Another
    /// request with the same key is refused, also if it differs only in these values. With the
    /// conventions of Sails, a write without a key gets one, by which the fan-out recognizes it.
    pub(crate) async fn prepare_with_values(
        &self,
        resource: Resource,
        action: Action,
        values: &impl Serialize,
    ) -> Result<Write> {
        let is_sails = self.model(&resource)?.conventions.are_of_sails();
        let random = || format!("{:032x}", self.shared.environment.random_u128()).into();
        let key = self.key.clone().or_else(|| is_sails.then(random));
        let mut write = self.prepare(key, resource, action).await?;
        if let Some(key) = &mut write.key {
            let values = serde_json::to_vec(values).expect("it is made of JSON and strings");
            key.fingerprint ^= fingerprint::of(&values);
        }
        Ok(write)
    }

    /// Whether a write is a repeat of an earlier one.
    pub(crate) async fn is_repeat(&self, write: &Write) -> Result<bool> {
        Ok(self.change_of_repeat(write.clone()).await?.is_some())
    }

    /// Commits a write that was prepared.
    pub(crate) async fn commit_write(&self, write: Write) -> Result<Arc<Change>> {
        let permit = self.push_permit(&write.resource, 1).await;
        self.commit_prepared(permit, write).await
    }

    /// Returns the change of an earlier write of the caller if this is a repeat of it. When the log
    /// no longer has the change, it has only the id of the record.
    pub(crate) async fn recall(
        &self,
        resource: Resource,
        action: Action,
    ) -> Result<Option<Arc<Change>>> {
        if self.key.is_none() {
            return Ok(None);
        }
        self.change_of_repeat(self.prepare(self.key.clone(), resource, action).await?).await
    }

    async fn change_of_repeat(&self, write: Write) -> Result<Option<Arc<Change>>> {
        let Write { model, key, client, at, .. } = write;
        let Some(key) = key else { return Ok(None) };
        let lookup = KeyLookup { key: key.clone(), client, at };
        let entry = self.engine().ledger_entry(lookup).await?;
        Ok(entry.map(|entry| entry.reply(&model.key, &key)))
    }

    /// Returns a write in the caller's name, limited to the records that the caller may write.
    async fn prepare(
        &self,
        key: Option<Arc<str>>,
        resource: Resource,
        action: Action,
    ) -> Result<Write> {
        if matches!(action, Action::Create(_) | Action::Upsert(..))
            && !self.shared.models.is_declared(&resource)
        {
            // This comes before anything is remembered of the resource. It is an error if there is
            // no such resource.
            self.model(&resource)?;
            let now = self.shared.environment.now();
            self.shared.undeclared.begin(&resource, self.address, now)?;
        }
        if let Action::Create(record) = &action
            && !self.shared.models.learn_key(&resource, record)
        {
            return Err(WriteError::BadId.into());
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
        let action = with_uuid(action, &model, &self.shared.uuids);
        let references = cascade::references(&self.shared, &resource, &action);
        let (limits, client) = (self.shared.record_limits, self.address);
        let at = self.shared.environment.unix_millis();
        let memory = self.reads().memory.clone();
        Write {
            model,
            within,
            author,
            references,
            key,
            limits,
            client,
            memory,
            origin,
            ..Write::new(resource, action, at)
        }
    }

    async fn permit(&self, resource: &Resource, model: &Model, action: Action) -> Result<Permit> {
        let access = &model.access;
        if access.is_open() || matches!(action, Action::Publish(_)) {
            let identity = self.identity.clone();
            return Ok(Permit { identity, ..Permit::unrestricted(action) });
        }
        let principal = self.principal().await?;
        let access_scope =
            |operation| caller::access_scope(&self.shared, resource, &principal, operation);
        let author = access.author(&principal);
        let (access_scope, action) = match action {
            Action::Create(mut record) => {
                let access_scope = access_scope(Operation::Create)?;
                // To refuse a taken id would reveal that it is taken.
                if model.id_of(&record) != Ok(None) && are_ids_hidden(model, &principal) {
                    return Err(Error::GeneratedId(resource.clone()));
                }
                // This comes before anything is created: the record may be one of a list.
                access.set_owner(&mut record, &author).map_err(|attribute| {
                    let resource = resource.clone();
                    WriteError::Owner { resource, attribute }
                })?;
                (access_scope, Action::Create(record))
            }
            Action::Upsert(..) => {
                (access_scope(Operation::Create)?.and(access_scope(Operation::Update)?), action)
            }
            Action::Destroy(_) => (access_scope(Operation::Destroy)?, action),
            Action::Update(..) | Action::Detach(_) | Action::Publish(_) => {
                (access_scope(Operation::Update)?, action)
            }
        };
        let within = access_scope.filter();
        Ok(Permit { identity: principal.into(), within, author: Some(author), action })
    }

    /// Creates several records in the caller's name, in their order. All are checked first, so that
    /// nothing is created if one of them is invalid. If another write comes in between and one is
    /// refused because of it, the others are created.
    ///
    /// The first record has the key of the request, with a fingerprint of all of them, and is
    /// committed before the others: the same key with another list, or with a single record, is
    /// refused. Each of the others has a key that is derived from it.
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
                let permit = self.push_permit(&resource, 1).await;
                Some(self.shared.commit(permit, writes.remove(0)).await?.change)
            }
            None => None,
        };
        let others = self.commit_in_order(writes.into_iter().map(Ok).collect()).await;
        first.map(Ok).into_iter().chain(others).collect()
    }

    /// Commits several writes in the caller's name, in their order, regardless of their outcomes.
    /// They have no key, because a repeat has the same result.
    pub(crate) async fn commit_each(
        &self,
        writes: Vec<(Resource, Action)>,
    ) -> Vec<Result<Arc<Change>>> {
        let mut prepared = Vec::with_capacity(writes.len());
        for (resource, action) in writes {
            prepared.push(self.prepare(None, resource, action).await);
        }
        self.commit_in_order(prepared).await
    }

    /// Commits a write. If it is a destroy with references, the task that removes them starts.
    async fn commit_prepared(&self, permit: PushPermit, write: Write) -> Result<Arc<Change>> {
        let has_references = !write.references.is_empty();
        let committed = self.shared.commit(permit, write).await?;
        self.set_writing(true);
        if has_references {
            self.shared.cascades.notify_one();
        }
        Ok(committed.change)
    }

    /// Commits several writes of one resource in their order. They are queued together, so they
    /// share the cost of a commit: as many as the fan-out can send soon.
    async fn commit_in_order(&self, mut writes: Vec<Result<Write>>) -> Vec<Result<Arc<Change>>> {
        let mut outcomes = Vec::with_capacity(writes.len());
        let of = writes.iter().flatten().next().map(|write| write.resource.clone());
        let max = of.as_ref().map_or(usize::MAX, |of| self.shared.writes_per_permit(of));
        while !writes.is_empty() {
            let others = writes.split_off(writes.len().min(max));
            let together = std::mem::replace(&mut writes, others);
            let permit = match &of {
                Some(of) => self.push_permit(of, together.len()).await,
                None => PushPermit::default(),
            };
            let commit =
                async |write: Result<Write>| self.commit_prepared(permit.clone(), write?).await;
            outcomes.extend(join_in_order(together.into_iter().map(commit)).await);
        }
        outcomes
    }

    async fn push_permit(&self, of: &Resource, writes: usize) -> PushPermit {
        self.shared.push_permit(of, writes, self.address).await
    }

    /// Commits the only write of a request: the next request of the same connection does not wait
    /// for its outcome.
    ///
    /// Invariant: the turn is passed on when the engine has been polled once and has queued the
    /// write. The future is unconstrained, because otherwise tokio's budget could delay this to a
    /// later poll.
    pub(crate) async fn commit_and_pass_turn(
        &self,
        of: Resource,
        action: Action,
    ) -> Result<Arc<Change>> {
        let write = self.prepare(self.key.clone(), of, action).await?;
        let permit = self.push_permit(&write.resource, 1).await;
        let mut commit = pin!(unconstrained(self.commit_prepared(permit, write)));
        poll_fn(|cx| {
            let outcome = commit.as_mut().poll(cx);
            self.turn.iter().for_each(Turn::pass);
            outcome
        })
        .await
    }
}

/// A write that the caller may do.
struct Permit {
    /// The owner of its idempotency key.
    identity: Identity,
    /// The filter that the record has to match.
    within: Filter,
    /// The writer, if the resource has rules about owners.
    author: Option<Author>,
    action: Action,
}

impl Permit {
    /// Permits a write of an anonymous caller to any record.
    fn unrestricted(action: Action) -> Self {
        Self { identity: Identity::Anonymous, within: Filter::default(), author: None, action }
    }
}

/// Whether a caller who creates a record may not find out which ids are taken.
fn are_ids_hidden(model: &Model, principal: &Principal) -> bool {
    let access = &model.access;
    access.hides_records()
        || !model.reveals && access.scope_of(principal, Operation::Read) != AccessScope::Whole
}

/// Refuses a list that has an invalid record. The error has names of attributes with the index of
/// their record in the list: `2.title`.
fn refuse_invalid(model: &Model, records: &[Attributes]) -> Result<()> {
    let mut wrong = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let violations = model.fill(record.clone()).err().unwrap_or_default();
        wrong.extend(violations.into_iter().map(|it| it.within(index)));
    }
    if wrong.is_empty() { Ok(()) } else { Err(WriteError::Invalid { is_new: true, wrong }.into()) }
}

/// Adds the id to a new record of a model with UUIDs, because here random values are made. The key
/// stands for the create without it.
pub(crate) fn with_uuid(action: Action, model: &Model, uuids: &Uuids) -> Action {
    match action {
        Action::Create(mut record)
            if model.id_source() == Ids::Uuid && matches!(model.id_of(&record), Ok(None)) =>
        {
            record.insert(model.key.clone(), uuids.next().to_string().into());
            Action::Create(record)
        }
        action => action,
    }
}

/// Returns the fingerprint of a write. It depends on the write and not on its spelling, so that a
/// write may be repeated over another transport.
fn fingerprint_of(resource: &Resource, action: &Action) -> u64 {
    let json = match action {
        Action::Create(attributes) => serde_json::to_vec(&("create", resource, attributes)),
        Action::Update(id, attributes) => serde_json::to_vec(&("update", resource, id, attributes)),
        Action::Upsert(id, attributes) => serde_json::to_vec(&("upsert", resource, id, attributes)),
        Action::Destroy(id) => serde_json::to_vec(&("destroy", resource, id)),
        Action::Detach(id) => serde_json::to_vec(&("detach", resource, id)),
        Action::Publish(Publication { verb, id, data }) => {
            serde_json::to_vec(&("publish", resource, verb, id, data))
        }
    };
    fingerprint::of(&json.expect("it is made of JSON and strings"))
}

fn fingerprint_of_all(resource: &Resource, records: &[Attributes]) -> u64 {
    let json = serde_json::to_vec(&("create each", resource, records));
    fingerprint::of(&json.expect("it is made of JSON and strings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_does_not_depend_on_spelling_of_json() {
        let todo = || Resource::parse("todo").unwrap();
        let update = |text: &str| {
            let id = backwire_records::change::Id::Integer(7);
            fingerprint_of(&todo(), &Action::Update(id, serde_json::from_str(text).unwrap()))
        };
        assert_eq!(update(r#"{"done":true}"#), update(r#"{ "done" : true }"#));
        assert_ne!(update(r#"{"done":true}"#), update(r#"{"done":false}"#));
    }
}
