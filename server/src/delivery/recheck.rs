//! Asks the site's back end again about clients that are connected: the setting `recheck`.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use super::courier::Courier;
use super::guest::Guest;

impl Courier {
    /// Resolves when the back end no longer lets a client in, or lets it into other rooms. A back end that
    /// does not answer, or not with rooms, changes nothing.
    pub(super) async fn rejected(&self, guest: &Guest) {
        loop {
            let Some(interval) = guest.site.recheck else { return pending().await };
            sleep(spread(interval)).await;
            let Some(authority) = self.authority_of(&guest.name) else { continue };
            let own: BTreeSet<_> = guest.rooms.iter().collect();
            match authority.rooms(guest.token.as_deref(), guest.address).await {
                Ok(rooms) if rooms.iter().collect::<BTreeSet<_>>() == own => {}
                Err(refusal) if !refusal.rejects_token() => {}
                outcome => {
                    let (site, refusal) = (&guest.name, outcome.err());
                    tracing::debug!(%site, ?refusal, "the rights of a connected client have changed");
                    return;
                }
            }
        }
    }
}

/// Clients that connect together, after a restart, are not asked about together for ever.
fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + rand::random::<f64>() / 10.0)
}
