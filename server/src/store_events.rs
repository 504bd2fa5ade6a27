//! The events of all servers that share a store: each server handles all of them, its own included.

use std::sync::Arc;

use backwire_engine::StoreEvent;
use tokio::sync::mpsc;

use crate::caller;
use crate::delivery::service::DeliveryService;
use crate::shared::Shared;

/// Handles events until the engine is gone. Messages are delivered in the order of their ids.
pub(crate) async fn follow(
    shared: Arc<Shared>,
    delivery_service: DeliveryService,
    mut events: mpsc::Receiver<StoreEvent>,
) {
    while let Some(event) = events.recv().await {
        let shared = Arc::clone(&shared);
        let environment = shared.environment.clone();
        // Sessions are read in tasks of their own, so that messages do not wait for them.
        match event {
            StoreEvent::MessageStored(message) => delivery_service.deliver_stored(&message),
            StoreEvent::SessionChanged(session) => environment.spawn(async move {
                caller::session_changed(&shared, &session).await;
            }),
            StoreEvent::Missed => {
                delivery_service.read_all_queues();
                environment.spawn(async move { caller::recheck_all(&shared).await });
            }
        }
    }
}
