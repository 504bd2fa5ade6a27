//! Limits how many messages may wait to be stored: a sender that is faster than the store gets an
//! error.

use std::sync::Arc;

use backwire_environment::HashMap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bodies::MAX_MESSAGES;
use crate::error::{Error, Result};
use crate::sites::Name;

/// Messages of one site that may wait: two lists of the maximum length.
const MAX_WAITING_MESSAGES: usize = 2 * MAX_MESSAGES;

/// Counts the waiting messages of each site.
#[derive(Clone, Default)]
pub(super) struct Backlog(Arc<Mutex<HashMap<Name, Arc<Semaphore>>>>);

/// Counts the messages of one request as waiting, until the last of them is stored.
#[derive(Debug, Clone)]
pub(crate) struct BacklogPermit {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Backlog {
    /// Acquires permits for all messages or for none: a list of which a part was refused would be
    /// stored in another order when it is sent again.
    pub(super) fn acquire(&self, site: &Name, messages: usize) -> Result<BacklogPermit> {
        let mut sites = self.0.lock();
        let free = sites
            .entry(site.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(MAX_WAITING_MESSAGES)));
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        match Arc::clone(free).try_acquire_many_owned(messages) {
            Ok(permit) => Ok(BacklogPermit { _permit: Arc::new(permit) }),
            Err(_) => Err(Error::TooManyMessages { limit: MAX_WAITING_MESSAGES }),
        }
    }
}
