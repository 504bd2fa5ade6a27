//! The routes that write one resource.

use axum::Json;
use backwire_records::change::{Attributes, Resource};
use backwire_records::model::Link;
use backwire_records::write::Action;
use serde_json::Value;

use super::associated_values::{self, AssociatedValues};
use super::input::{Input, Records};
use super::reply::Reply;
use super::target::Target;
use super::{one_id, write};
use crate::context::Context;
use crate::error::Result;
use crate::populate::Populator;
use crate::route::{Operation, Route};
use crate::subscription;

/// `POST /todo`, with a record or a list of them
pub(super) async fn create(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let Target { route: Route { resource, .. }, query, .. } = of;
    match input.records_with_query(query)? {
        Records::One(record) => write_values(&cx, resource, record, Action::Create).await,
        Records::Many(records) => {
            let changes = cx.create_each(resource, records).await?;
            let records: Vec<_> = changes.iter().map(|change| &change.after).collect();
            let reply = Reply::created(&cx, Json(records));
            Ok(changes
                .last()
                .map_or_else(Reply::nothing_created, |last| reply.with_position(last.position)))
        }
    }
}

/// `PUT` and `PATCH /todo/7`, or `/todo` with the id in the body
pub(super) async fn update(
    cx: Context,
    of: Target,
    input: Input,
    operation: Operation,
) -> Result<Reply> {
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let set = input.attributes_with_query(query)?;
    let id = one_id(id, &set, &model.key)?;
    let is_upsert = operation == Operation::Put && model.upsert;
    let action = |set| if is_upsert { Action::Upsert(id, set) } else { Action::Update(id, set) };
    write_values(&cx, resource, set, action).await
}

/// Commits a create or an update with these values, and returns its answer.
async fn write_values(
    cx: &Context,
    resource: Resource,
    mut values: Attributes,
    action: impl FnOnce(Attributes) -> Action,
) -> Result<Reply> {
    if !has_associated_values(cx, &resource, &values) {
        return write(cx, resource, action(values)).await;
    }
    // The outcome depends on the earlier requests of the connection.
    cx.wait_for_earlier_requests().await;
    let write_all = async {
        associated_values::replace_records_by_ids(cx, &resource, &mut values).await?;
        let associated = AssociatedValues::take(cx, &resource, &mut values)?;
        match associated.is_empty() {
            true => write(cx, resource, action(values)).await,
            false => associated.write(cx, resource, action(values)).await,
        }
    };
    // Boxed, because otherwise every write would reserve memory for this future.
    Box::pin(write_all).await
}

/// Whether the values may contain associated records.
fn has_associated_values(cx: &Context, resource: &Resource, values: &Attributes) -> bool {
    cx.associations().of(resource).any(|(name, association)| match association.link {
        Link::Holds { .. } => values.get(name).is_some_and(Value::is_object),
        Link::HeldBy(_) | Link::Paired { .. } => values.contains_key(name),
    })
}

/// `DELETE /todo/7`, or `/todo` with the id in the body
pub(super) async fn destroy(cx: Context, of: Target, input: Input) -> Result<Reply> {
    let Target { route: Route { resource, id, .. }, model, query } = of;
    let requested = input.attributes_with_query(query)?;
    let id = one_id(id, &requested, &model.key)?;
    if !model.conventions.are_of_sails() {
        return write(&cx, resource, Action::Destroy(id)).await;
    }
    // The answer has the associated records, which the destroy may change.
    cx.wait_for_earlier_requests().await;
    // A caller may be allowed to destroy a record, and not to read it.
    let record = subscription::find_one_without_subscription(&cx, &resource, &id).await;
    let record = record.unwrap_or_default();
    let populate = model.default_populate();
    let populator = Populator::new(&cx, &resource, &populate);
    let populated = match record {
        Some(record) => Some(Box::pin(populator.populate_written(record)).await?),
        None => None,
    };
    if let Some(populated) = &populated
        && cx.shared().sockets.count_stock_subscribers(&resource) > 0
    {
        cx.shared().destroyed.add(&resource, &id, populated);
    }
    let change = cx.commit_and_pass_turn(resource, Action::Destroy(id)).await?;
    match populated {
        Some(populated) => Ok(Reply::destroyed(&populated, &change)),
        None => Reply::written(&cx, &change).await,
    }
}
