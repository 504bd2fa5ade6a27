//! What all sessions have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::http::cookies::Cookies;

/// That a session is in use is written down again after this part of its age.
const RENEWALS: u64 = 24;

/// What they are found by, and how long each is kept.
#[derive(Clone)]
pub(crate) struct Keeper {
    cookies: Arc<Cookies>,
    /// Milliseconds.
    age: u64,
}

impl Keeper {
    pub(crate) fn new(cookies: Arc<Cookies>, age: Duration) -> Self {
        Self { cookies, age: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(crate) fn cookies(&self) -> &Arc<Cookies> {
        &self.cookies
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.age)
    }

    /// Until when one is kept that is used now.
    pub(crate) fn until(&self, now: u64) -> u64 {
        now.saturating_add(self.age)
    }

    pub(crate) fn is_to_be_renewed(&self, until: u64, now: u64) -> bool {
        until.saturating_sub(now) < self.age - self.age / RENEWALS
    }
}
