//! Pushes, in the form for the app.

use crate::wire::ReceivedPush;

/// Changes of one room for the app, in commit order.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<P> {
    /// The room, such as `todo` or `todo/7`. Empty for events for the user.
    pub room: String,
    /// Each change is a [`ChangeEntry`](crate::wire::ChangeEntry). For an event for the user, it
    /// contains the id, and `[event, ...args]` as the data.
    pub changes: Vec<P>,
}

impl<P> From<ReceivedPush<P>> for Delivery<P> {
    fn from(push: ReceivedPush<P>) -> Self {
        let mut delivery = Self { room: push.room, changes: Vec::new() };
        for change in push.changes {
            delivery.changes.push(change.raw);
        }
        delivery
    }
}
