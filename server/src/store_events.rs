//! The events of all servers that share a store: each server handles all of them, its own
//! included. Only its own announcements are ignored: it has carried them out before.

use std::sync::Arc;
use std::time::Duration;

use backwire_engine::StoreEvent;
use backwire_protocol::planted;
use backwire_records::change::{Id, Resource, Room};
use tokio::sync::mpsc;

use crate::announcements::{Announcement, Question};
use crate::caller;
use crate::delivery::service::DeliveryService;
use crate::delivery::site_connections::Revocation;
use crate::pubsub;
use crate::shared::Shared;

/// How long the answer to a revocation waits for the ends of connections.
const MAX_END: Duration = Duration::from_secs(1);

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
            StoreEvent::MessageStored(_) if planted::has("stored-messages-not-delivered") => {}
            StoreEvent::Missed if planted::has("missed-events-ignored") => {}
            StoreEvent::MessageStored(message) => delivery_service.deliver_stored(&message),
            StoreEvent::SessionChanged(session) => environment.spawn(async move {
                caller::session_changed(&shared, &session).await;
            }),
            StoreEvent::Announced(text) => {
                if let Some(announcement) = shared.announcer.read(&text) {
                    carry_out(&shared, announcement);
                }
            }
            StoreEvent::Asked(question, text) => {
                let delivery_service = delivery_service.clone();
                environment.spawn(async move {
                    let Some(number) = answer(&shared, &delivery_service, &text).await else {
                        return;
                    };
                    let engine = Arc::clone(&shared.engine);
                    if let Err(error) = engine.answer(&question, &number.to_string()).await {
                        tracing::warn!(%error, "cannot answer a question of another server");
                    }
                });
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
fn carry_out(shared: &Shared, announcement: Announcement) {
    match announcement {
        Announcement::Broadcast { room, event, data, omit } => {
            shared.sockets.broadcast(room.as_deref(), &event, omit.as_deref(), &data);
        }
        Announcement::Publish { resource, id, data, omit } => {
            let Some(room) = room(&resource, id) else { return };
            pubsub::emit_message(&shared.sockets, &room, &data, omit.as_deref());
        }
    }
}

/// Does what another server asks for, and returns the answer. `None` if the question is one of a
/// version that is not known.
async fn answer(shared: &Shared, delivery_service: &DeliveryService, text: &str) -> Option<usize> {
    let question: Question = serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!(%error, "a question is not readable"))
        .ok()?;
    let (site, revocation) = match question {
        Question::RevokeUser { site, user } => (site, Revocation::User(user)),
        Question::RevokeSession { site, authorization } => {
            (site, Revocation::HashedSession(authorization))
        }
        Question::Introduce { resource, id, omit } => {
            let room = room(&resource, Some(id))?;
            pubsub::introduce_here(&shared.sockets, &room, omit.as_deref()).await;
            return Some(0);
        }
        Question::CountSubscribers { resource, id } => {
            return Some(shared.sockets.members(&room(&resource, id)?).len());
        }
    };
    // This server may have other sites.
    let name = site.parse().ok()?;
    let (connections, ended) = delivery_service.begin_revocation(&name, &revocation);
    tracing::info!(site = %name, connections, "connections are revoked by another server");
    // The answer does not wait for clients that do not read.
    let _ = shared.environment.timeout(MAX_END, ended).await;
    Some(connections)
}

fn room(resource: &str, id: Option<Id>) -> Option<Room> {
    let resource = Resource::parse(resource)?;
    Some(match id {
        Some(id) => Room::instance(resource, id),
        None => Room::class(resource),
    })
}
