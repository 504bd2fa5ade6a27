//! Removes the references to a destroyed record: an attribute that held its id becomes null, and
//! its pairs are destroyed. A record that requires the attribute keeps it.
//!
//! The engine commits a destroy together with its [cascades](backwire_engine::Cascades). A task
//! does the rest in ordinary writes, a few at a time, so that other writers wait for no more than
//! these. Reads already return the result of the writes that are still to be done. After a restart
//! the task continues.

use std::sync::Arc;
use std::time::Duration;

use backwire_engine::{self as engine, Cascade, Reference};
use backwire_records::change::{Id, Resource};
use backwire_records::model::Side;
use backwire_records::write::{Action, Write};

use crate::error::{Error, Result};
use crate::join_in_order::join_in_order;
use crate::push_backlog::PushPermit;
use crate::shared::Shared;

/// The maximum number of records that are changed together. Another write waits for no more than
/// these.
const BATCH_SIZE: usize = 500;

/// The pause after a failure of the engine.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Returns the attributes that may hold the id of the record that an action destroys.
pub(crate) fn references(shared: &Shared, resource: &Resource, action: &Action) -> Vec<Reference> {
    if !matches!(action, Action::Destroy(_)) {
        return Vec::new();
    }
    let associations = shared.models.associations();
    let holders = associations.holders(resource).map(|(holder, attribute)| Reference {
        resource: holder.clone(),
        attribute: attribute.to_owned(),
        is_pair: false,
    });
    let of_pair = |(resource, side): (_, Side)| Reference {
        resource,
        attribute: side.name().to_owned(),
        is_pair: true,
    };
    holders.chain(associations.pairs(resource).map(of_pair)).collect()
}

/// Removes references until the server stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        match finish_all(&shared).await {
            Ok(()) => shared.cascades.notified().await,
            Err(error) => {
                tracing::warn!(%error, "cannot remove references to destroyed records, trying again in a second");
                shared.environment.sleep(RETRY_DELAY).await;
            }
        }
    }
}

async fn finish_all(shared: &Shared) -> Result<()> {
    loop {
        let cascades = shared.engine.cascades().unfinished().await?;
        if cascades.is_empty() {
            return Ok(());
        }
        for cascade in cascades {
            finish(shared, &cascade).await?;
        }
    }
}

/// Removes the references of one cascade. Their number only decreases, so one pass finds all of
/// them.
async fn finish(shared: &Shared, cascade: &Cascade) -> Result<()> {
    let cascades = shared.engine.cascades();
    let resource = &cascade.reference.resource;
    let mut after = None;
    loop {
        let batch_size = BATCH_SIZE.min(shared.writes_per_permit(resource));
        let ids = cascades.dangling(cascade, after.as_ref(), batch_size).await?;
        let Some(last) = ids.last().cloned() else { break };
        let permit = shared.push_permit(resource, ids.len(), None).await;
        join_in_order(ids.into_iter().map(|id| detach(shared, permit.clone(), cascade, id)))
            .await
            .into_iter()
            .collect::<Result<()>>()?;
        after = Some(last);
    }
    Ok(cascades.finish(cascade).await?)
}

async fn detach(shared: &Shared, permit: PushPermit, cascade: &Cascade, id: Id) -> Result<()> {
    let resource = &cascade.reference.resource;
    let at = shared.environment.unix_millis();
    let write = Write {
        // The resource may not be declared any more.
        model: shared.models.of(resource).unwrap_or_default(),
        origin: cascade.origin.clone(),
        ..Write::new(resource.clone(), Action::Detach(id), at)
    };
    match shared.commit(permit, write).await {
        // Another write has changed or destroyed the record.
        Err(engine::Error::Refused(_)) => Ok(()),
        outcome => outcome.map(drop).map_err(Error::from),
    }
}
