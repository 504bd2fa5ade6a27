//! Associated records among the values of a create or an update: `{pets: [1, 2]}`,
//! `{pets: [{name: 'Rex'}]}` and `{owner: {name: 'Ann'}}`, as in Sails.
//!
//! The record is written first, and its collections after it: each member is a write of its own,
//! with the rules of its resource. Values that a model refuses are refused first. If the write of a
//! member is refused, the answer is this refusal, and what was written before it stays. Each write
//! has a key that is derived from the key of the request, so a repeat of the request writes only
//! what is missing.

use std::collections::BTreeSet;
use std::sync::Arc;

use backwire_records::change::{Attributes, Id, NewMembers, Resource};
use backwire_records::criteria::Criteria;
use backwire_records::model::{Association, Link, Model};
use backwire_records::write::{Action, WriteError};
use serde_json::Value;

use super::associated::{AssociationRequest, ids_of};
use super::reply::Reply;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::route::NestedRoute;

/// The collections of a write.
#[derive(Debug, Default)]
pub(super) struct AssociatedValues {
    collections: Vec<Members>,
}

/// The members that a collection is to have.
#[derive(Debug)]
struct Members {
    attribute: String,
    association: Association,
    /// Records that exist.
    ids: BTreeSet<Id>,
    /// Records to create.
    new: Vec<Attributes>,
}

impl AssociatedValues {
    /// Takes the collections out of the values. The values keep what the model refuses.
    pub(super) fn take(cx: &Context, resource: &Resource, values: &mut Attributes) -> Result<Self> {
        let mut collections = Vec::new();
        for (attribute, association) in cx.associations().of(resource) {
            let is_collection = !matches!(association.link, Link::Holds { .. });
            let key = &cx.model(&association.target)?.key;
            if is_collection
                && let Some((ids, new)) = values.get(attribute).and_then(|it| members(it, key))
            {
                values.remove(attribute);
                let (attribute, association) = (attribute.clone(), association.clone());
                collections.push(Members { attribute, association, ids, new });
            }
        }
        Ok(Self { collections })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// Returns what distinguishes the requested collections from those of another request.
    fn values(&self) -> Vec<(String, Vec<Id>, Vec<Attributes>)> {
        let values =
            |it: &Members| (it.attribute.clone(), it.ids.iter().cloned().collect(), it.new.clone());
        self.collections.iter().map(values).collect()
    }

    /// Returns the members that exist already.
    fn existing(&self) -> Vec<(String, BTreeSet<Id>)> {
        self.collections.iter().map(|it| (it.attribute.clone(), it.ids.clone())).collect()
    }

    /// Writes a record and its collections, and returns the answer.
    pub(super) async fn write(
        mut self,
        cx: &Context,
        resource: Resource,
        action: Action,
    ) -> Result<Reply> {
        let is_update = !matches!(action, Action::Create(_));
        let mut write = cx.prepare_with_values(resource.clone(), action, &self.values()).await?;
        let is_repeat = cx.is_repeat(&write).await?;
        for collection in &mut self.collections {
            collection.check(cx, is_repeat).await?;
        }
        let shows_members = write.model.conventions.are_of_sails() && !is_update && !is_repeat;
        if shows_members {
            write.new_members = Some(Arc::new(NewMembers::Of(self.existing())));
        }
        let change = cx.commit_write(write).await?;
        for collection in self.collections {
            // Members that others have added since the first request stay.
            let may_remove = is_update && !is_repeat;
            collection.write(cx, (&resource, &change.id), may_remove, shows_members).await?;
        }
        Reply::written(cx, &change).await
    }
}

impl Members {
    /// Checks whether the members exist. Sails ignores those that do not, and so does a repeat:
    /// they may have been destroyed since the first request.
    async fn check(&mut self, cx: &Context, is_repeat: bool) -> Result<()> {
        let model = cx.model(&self.association.target)?;
        self.refuse_invalid(&model)?;
        let existing = {
            let criteria = Criteria::with_attribute_in(&model, &model.key, &self.ids);
            let target = &self.association.target;
            ids_of(cx, target, &model, criteria).await?
        };
        if let Some(missing) = self.ids.difference(&existing).next()
            && !is_repeat
            && !model.conventions.are_of_sails()
        {
            let (resource, id) = (self.association.target.clone(), missing.clone());
            return Err(WriteError::NotFound { resource, id }.into());
        }
        self.ids = existing;
        Ok(())
    }

    /// Refuses new members with values that their model refuses, before anything is written. The
    /// write itself may set a value that is missing.
    fn refuse_invalid(&self, model: &Model) -> Result<()> {
        let wrong = self.new.iter().find_map(|record| model.check(record.clone()).err());
        wrong.map_or(Ok(()), |wrong| Err(WriteError::Invalid { is_new: true, wrong }.into()))
    }

    /// Creates the new members, and makes the collection of a record have these members. The push
    /// of the record may show those that exist.
    async fn write(
        self,
        cx: &Context,
        (resource, id): (&Resource, &Id),
        may_remove: bool,
        shows_members: bool,
    ) -> Result<()> {
        let Self { attribute, association, mut ids, new } = self;
        let shown = if shows_members { ids.clone() } else { BTreeSet::new() };
        for (index, mut record) in new.into_iter().enumerate() {
            if let Link::HeldBy(via) = &association.link {
                record.insert(via.clone(), id.to_json());
            }
            let part = format!("{attribute}.{index}");
            let create = Action::Create(record);
            ids.insert(cx.commit_part(&part, association.target.clone(), create).await?.id.clone());
        }
        let nested = NestedRoute { attribute, association, id: None };
        let (resource, id) = (resource.clone(), id.clone());
        let request = AssociationRequest { cx: cx.clone(), resource, id, nested };
        request.set_members(&ids, &shown, may_remove).await
    }
}

/// Returns the ids in a value of a collection, and the records without an id. `None` if it is not
/// such a value.
fn members(value: &Value, key: &str) -> Option<(BTreeSet<Id>, Vec<Attributes>)> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        Value::Null | Value::Bool(_) => return None,
        one => std::slice::from_ref(one),
    };
    let (mut ids, mut new) = (BTreeSet::new(), Vec::new());
    for member in list {
        match member {
            Value::Object(record) => match record.get(key).filter(|id| !id.is_null()) {
                Some(id) => drop(ids.insert(Id::from_json(id)?)),
                None => new.push(record.clone()),
            },
            id => drop(ids.insert(Id::from_json(id)?)),
        }
    }
    Some((ids, new))
}

/// Puts ids in the place of records in the attributes that hold the id of another record. A record
/// without an id is created.
pub(super) async fn replace_records_by_ids(
    cx: &Context,
    resource: &Resource,
    values: &mut Attributes,
) -> Result<()> {
    for (attribute, association) in cx.associations().of(resource) {
        if let Link::Holds { .. } = association.link
            && let Some(Value::Object(record)) = values.get(attribute)
        {
            let key = &cx.model(&association.target)?.key;
            let id = match record.get(key).filter(|id| !id.is_null()) {
                Some(id) => Id::from_json(id).ok_or(WriteError::BadId).map_err(Error::from)?,
                None => {
                    let create = Action::Create(record.clone());
                    cx.commit_part(attribute, association.target.clone(), create).await?.id.clone()
                }
            };
            values.insert(attribute.clone(), id.to_json());
        }
    }
    Ok(())
}
