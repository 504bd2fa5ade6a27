//! Follows the records that associations belong to. Only a request that succeeds subscribes a stock
//! client, as in Sails. Our runtime reads what it wants to follow.

use std::collections::BTreeSet;
use std::sync::Arc;

use backwire_records::change::{Attributes, Id, Resource};
use backwire_records::criteria::Criteria;

use super::{find_associated, find_one, find_one_without_subscription, is_stock};
use crate::context::Context;
use crate::error::{Error, Result};

/// Returns a record whose associated records a request reads. A stock client is subscribed to it.
pub(crate) async fn find(
    cx: &Context,
    resource: &Resource,
    id: &Id,
) -> Result<Option<Arc<Attributes>>> {
    if is_stock(cx) {
        return Ok(find_one(cx, resource, id).await?.snapshot.value);
    }
    find_one_without_subscription(cx, resource, id).await
}

/// Subscribes a stock client to a record whose association it has changed, and returns the record
/// as it is then.
pub(crate) async fn follow(
    cx: &Context,
    resource: &Resource,
    id: &Id,
    record: Arc<Attributes>,
) -> Result<Arc<Attributes>> {
    if !is_stock(cx) {
        return Ok(record);
    }
    Ok(find_one(cx, resource, id).await?.snapshot.value.unwrap_or(record))
}

/// Subscribes a stock client to the records that it has added to an association.
pub(crate) async fn follow_members(
    cx: &Context,
    resource: &Resource,
    ids: &BTreeSet<Id>,
) -> Result<()> {
    if !is_stock(cx) || ids.is_empty() {
        return Ok(());
    }
    let model = cx.model(resource)?;
    let criteria = Criteria::with_attribute_in(&model, &model.key, ids);
    match find_associated(cx, resource, &criteria, &cx.reads().unbounded()).await {
        // The members are added. The client may follow no more records than it does.
        Err(Error::TooManyRooms { .. }) => Ok(()),
        outcome => outcome.map(drop),
    }
}
