//! The settings that all sessions have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::csrf_tokens::CsrfTokens;
use crate::http::cookies::Cookies;

/// The expiry of a used session is stored again after this part of its age: one of this many.
const RENEWALS_PER_AGE: u64 = 24;

/// The cookies that sessions are found by, and how long an unused session is kept.
#[derive(Clone)]
pub(crate) struct SessionPolicy {
    cookies: Arc<Cookies>,
    /// Milliseconds.
    age: u64,
    /// The tokens that writes need, if they need any.
    csrf_tokens: Option<CsrfTokens>,
}

impl SessionPolicy {
    pub(crate) fn new(
        cookies: Arc<Cookies>,
        age: Duration,
        csrf_tokens: Option<CsrfTokens>,
    ) -> Self {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self { cookies, age, csrf_tokens }
    }

    pub(crate) fn cookies(&self) -> &Arc<Cookies> {
        &self.cookies
    }

    pub(crate) fn csrf_tokens(&self) -> Option<&CsrfTokens> {
        self.csrf_tokens.as_ref()
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.age)
    }

    /// Returns until when a session is kept that is used now.
    pub(crate) fn expiry(&self, now: u64) -> u64 {
        now.saturating_add(self.age)
    }

    /// Whether the expiry of a session that is used now has to be stored again.
    pub(crate) fn needs_renewal(&self, until: u64, now: u64) -> bool {
        until.saturating_sub(now) < self.age - self.age / RENEWALS_PER_AGE
    }
}
