//! How many messages may wait to be stored: a sender that is quicker than the store is told so.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bodies::MOST_MESSAGES;
use crate::error::{Error, Result};
use crate::sites::Name;

/// Messages of one site that may wait: two lists as long as lists may be.
const MOST_WAITING: usize = 2 * MOST_MESSAGES;

/// The messages that wait, of each site on its own.
#[derive(Clone, Default)]
pub(super) struct Backlog(Arc<Mutex<HashMap<Name, Arc<Semaphore>>>>);

/// What the messages of one request are of it, until the last of them is stored.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    _messages: Arc<OwnedSemaphorePermit>,
}

impl Backlog {
    /// Room for all or none: a list of which a part was refused would be stored in another order when it
    /// is sent again.
    pub(super) fn take(&self, site: &Name, messages: usize) -> Result<Share> {
        let mut sites = self.0.lock();
        let free =
            sites.entry(site.clone()).or_insert_with(|| Arc::new(Semaphore::new(MOST_WAITING)));
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        match Arc::clone(free).try_acquire_many_owned(messages) {
            Ok(messages) => Ok(Share { _messages: Arc::new(messages) }),
            Err(_) => Err(Error::TooManyMessages { limit: MOST_WAITING }),
        }
    }
}
