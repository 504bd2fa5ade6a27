//! Populated records in the pushes for clients of Sails: with its conventions, a push has the
//! associated records where a read has them.
//!
//! They are read when the push is sent. Those of a destroyed record may be changed by then, so the
//! request that destroys it keeps them before (see `destroyed_records`).

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use backwire_records::change::{Attributes, Change, Id, NewMembers, Resource, Verb};
use backwire_records::criteria::Criteria;
use backwire_records::model::{Link, Membership, Populate};
use serde_json::Value;

use crate::context::Context;
use crate::dialect::Dialect;
use crate::populate::Populator;
use crate::shared::Shared;
use crate::subscription;

/// Returns the change with populated records, for a push to clients of this dialect.
pub(super) async fn populated(
    shared: &Weak<Shared>,
    dialect: Dialect,
    change: &Arc<Change>,
) -> Arc<Change> {
    let Some(shared) = shared.upgrade().filter(|_| dialect == Dialect::Sails) else {
        return Arc::clone(change);
    };
    let names = populated_names(&shared, &change.resource);
    if names.is_empty() || change.published {
        return Arc::clone(change);
    }
    let populate = Populate::These(names.clone());
    let cx = Context::of_server(&shared);
    let populator = Populator::new(&cx, &change.resource, &populate);
    let populated = async |record: &Option<Arc<Attributes>>| {
        let record = record.clone()?;
        let populated = Box::pin(populator.populate_written(Arc::clone(&record))).await.ok();
        let populated = populated.and_then(|record| serde_json::to_value(record).ok());
        match populated {
            Some(Value::Object(populated)) => Some(Arc::new(populated)),
            _ => Some(record),
        }
    };
    let mut shown = Change::clone(change);
    match change.verb {
        Verb::Create => {
            shown.after = populated(&change.after).await;
            let collections = match change.new_members.as_deref() {
                Some(NewMembers::Of(collections)) => collections.as_slice(),
                _ => &[],
            };
            for (name, ids) in collections.iter().filter(|(name, _)| names.contains(name)) {
                let members = members(&cx, change, name, ids).await;
                // No other push has them, so at least their ids are shown.
                let members = members.unwrap_or_else(|| ids.iter().map(Id::to_json).collect());
                if let Some(record) = &mut shown.after {
                    Arc::make_mut(record).insert(name.clone(), members);
                }
            }
        }
        Verb::Update => shown.before = populated(&change.before).await,
        Verb::Destroy => {
            shown.before = match (shared.destroyed.take(change), &change.before) {
                (Some(known), Some(before)) => Some(Arc::new(with_known(before, &known, &names))),
                (_, before) => populated(before).await,
            };
        }
    }
    Arc::new(shown)
}

/// Whether the push of a new record has this collection of it.
pub(super) fn shows(shared: &Shared, membership: &Membership) -> bool {
    populated_names(shared, &membership.resource).contains(&membership.attribute)
}

/// Returns the members that the request adds to a collection of a new record, as they will be then.
async fn members(
    cx: &Context,
    record: &Change,
    attribute: &str,
    ids: &BTreeSet<Id>,
) -> Option<Value> {
    let (_, association) = cx.associations().named(&record.resource, attribute)?;
    let model = cx.model(&association.target).ok()?;
    let criteria = Criteria::with_attribute_in(&model, &model.key, ids);
    let found = subscription::find_associated(cx, &association.target, &criteria, cx.reads());
    let found = Box::pin(found).await.ok()?.value;
    let members = found.into_iter().map(|member| {
        let mut member = Attributes::clone(&*member.attributes().ok()?);
        if let Link::HeldBy(via) = &association.link {
            member.insert(via.clone(), record.id.to_json());
        }
        Some(Value::Object(member))
    });
    members.collect()
}

/// Returns a destroyed record with these associations of the record that its request has read.
///
/// Invariant: it has no other associated records of that one. They were read for the caller, and
/// the recipients of the push may not be allowed to read them.
fn with_known(before: &Attributes, known: &Attributes, names: &BTreeSet<String>) -> Attributes {
    let shown = names.iter().filter_map(|name| Some((name.clone(), known.get(name)?.clone())));
    before.clone().into_iter().chain(shown).collect()
}

/// Returns the associations that pushes are populated with: those that everyone may read.
fn populated_names(shared: &Shared, resource: &Resource) -> BTreeSet<String> {
    let Ok(model) = shared.model(resource) else { return BTreeSet::new() };
    if !model.conventions.are_of_sails() {
        return BTreeSet::new();
    }
    let populate = model.default_populate();
    let is_open = |target| shared.model(target).is_ok_and(|model| model.access.is_open());
    let all = shared.models.associations().of(resource);
    let shown = all.filter(|(name, of)| populate.has(name) && is_open(&of.target));
    shown.map(|(name, _)| name.clone()).collect()
}
