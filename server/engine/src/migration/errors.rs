//! The errors of migrations that both ends have.

use std::fmt::Display;

use tokio::sync::mpsc;

use super::item::Item;
use crate::Error;

/// Sends an item. It fails if the target has ended, whose error is the one that is reported.
pub(crate) async fn send(items: &mpsc::Sender<Item>, item: Item) -> Result<(), Error> {
    items.send(item).await.map_err(|_| ended())
}

pub(crate) fn ended() -> Error {
    Error::Unavailable("the migration has ended".to_owned())
}

/// Returns an error about a store.
pub(crate) fn failed(store: impl Display, reason: impl Display) -> Error {
    Error::Unavailable(format!("{store}: {reason}"))
}
