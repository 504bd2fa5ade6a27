//! The events of all servers that share a store: each server handles all of them, its own
//! included. Only its own announcements are ignored: it has carried them out before.

use std::sync::Arc;

use backwire_engine::StoreEvent;
use backwire_records::change::{Resource, Room};
use tokio::sync::mpsc;

use crate::announcements::Announcement;
use crate::caller;
use crate::delivery::service::DeliveryService;
use crate::delivery::site_connections::Revocation;
use crate::pubsub;
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
            StoreEvent::Announced(text) => {
                if let Some(announcement) = shared.announcer.read(&text) {
                    carry_out(&shared, &delivery_service, announcement);
                }
            }
            StoreEvent::Missed => {
                delivery_service.read_all_queues();
                delivery_service.recheck_all();
                environment.spawn(async move { caller::recheck_all(&shared).await });
            }
        }
    }
}

/// Does what another server has announced.
fn carry_out(shared: &Shared, delivery_service: &DeliveryService, announcement: Announcement) {
    let (site, revocation) = match announcement {
        Announcement::RevokeUser { site, user } => (site, Revocation::User(user)),
        Announcement::RevokeSession { site, authorization } => {
            (site, Revocation::HashedSession(authorization))
        }
        Announcement::Broadcast { room, data, omit } => {
            return shared.sockets.broadcast(&room, omit.as_deref(), &data);
        }
        Announcement::Publish { resource, id, data, omit } => {
            let Some(resource) = Resource::parse(&resource) else { return };
            let room = match id {
                Some(id) => Room::instance(resource, id),
                None => Room::class(resource),
            };
            return pubsub::emit_message(&shared.sockets, &room, &data, omit.as_deref());
        }
    };
    // This server may have other sites.
    let Ok(name) = site.parse() else { return };
    let delivery_service = delivery_service.clone();
    shared.environment.spawn(async move {
        let connections = delivery_service.revoke_here(&name, &revocation).await;
        tracing::info!(site = %name, connections, "connections are revoked by another server");
    });
}
