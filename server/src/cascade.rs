//! What a destroy does to those that were associated with the destroyed: an attribute that held its id holds
//! none from then on, and its pairs are gone. A record that has to have the attribute keeps it as it is.
//!
//! It is done after the destroy and not with it. Should the server stop between the two, ids of records that
//! are gone are left: reads pass over them, and a destroy that is repeated does what is left to do.

use std::sync::Arc;

use crate::change::{Attributes, Change, Id, Resource, Verb};
use crate::criteria::Criteria;
use crate::engine;
use crate::error::{Error, Result};
use crate::shared::Shared;
use crate::write::{Action, Refused};

/// Whether records of other resources may have to be changed after this.
pub(crate) fn may_follow(shared: &Shared, resource: &Resource, action: &Action) -> bool {
    matches!(action, Action::Destroy(_)) && is_associated(shared, resource)
}

fn is_associated(shared: &Shared, resource: &Resource) -> bool {
    let associations = shared.models.associations();
    associations.holders(resource).next().is_some() || associations.pairs(resource).next().is_some()
}

/// What follows from a change.
pub(crate) async fn of(shared: &Shared, change: &Change) -> Result<Vec<(Resource, Action)>> {
    let is_destroy = change.verb == Verb::Destroy && !change.published;
    if !is_destroy
        || !is_associated(shared, &change.resource)
        || is_there_again(shared, change).await?
    {
        return Ok(Vec::new());
    }
    let mut writes = Vec::new();
    for (resource, attribute) in shared.models.associations().holders(&change.resource) {
        let none = Attributes::from_iter([(attribute.to_owned(), serde_json::Value::Null)]);
        let holders = holding(shared, resource, attribute, &change.id).await?;
        let lose = |id| (resource.clone(), Action::Update(id, none.clone()));
        writes.extend(holders.into_iter().map(lose));
    }
    for (join, side) in shared.models.associations().pairs(&change.resource) {
        let pairs = holding(shared, &join, side.name(), &change.id).await?;
        writes.extend(pairs.into_iter().map(|id| (join.clone(), Action::Destroy(id))));
    }
    Ok(writes)
}

/// What came of one of these.
pub(crate) fn settled(outcome: Result<Arc<Change>>) -> Result<()> {
    match outcome {
        // Somebody else was quicker.
        Err(Error::Engine(engine::Error::Refused(Refused::NotFound { .. }))) => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// A destroy that is repeated may come after a create of another record with this id.
async fn is_there_again(shared: &Shared, change: &Change) -> Result<bool> {
    Ok(shared.engine.find_one(&change.resource, &change.id).await?.value.is_some())
}

async fn holding(shared: &Shared, of: &Resource, attribute: &str, id: &Id) -> Result<Vec<Id>> {
    let model = shared.model(of)?;
    let criteria = Criteria::holding(&model, attribute, [id]);
    let records = shared.engine.find(of, &criteria).await?.value;
    Ok(records.iter().filter_map(|record| record.get(&model.key).and_then(Id::from_json)).collect())
}
