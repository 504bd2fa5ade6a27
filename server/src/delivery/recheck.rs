//! Asks the site's back end again about clients that are connected: the setting `recheck`.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;

use super::service::DeliveryService;
use super::site_client::SiteClient;

impl DeliveryService {
    /// Resolves when the back end refuses the token of a client, or returns other rooms for it. If
    /// the back end does not answer, or its answer is not a list of rooms, nothing changes.
    pub(super) async fn rejected(&self, site_client: &SiteClient) {
        loop {
            let Some(interval) = site_client.site.recheck else { return pending().await };
            sleep(with_jitter(interval)).await;
            let Some(authenticator) = self.authenticator_of(&site_client.name) else { continue };
            let current: BTreeSet<_> = site_client.rooms.iter().collect();
            match authenticator.rooms(site_client.token.as_deref(), site_client.address).await {
                Ok(rooms) if rooms.iter().collect::<BTreeSet<_>>() == current => {}
                Err(refusal) if !refusal.rejects_token() => {}
                outcome => {
                    let (site, refusal) = (&site_client.name, outcome.err());
                    tracing::debug!(%site, ?refusal, "the rights of a connected client have changed");
                    return;
                }
            }
        }
    }
}

/// Returns the interval with jitter, so that clients that connected together, as after a restart,
/// are not checked together for ever.
fn with_jitter(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + rand::random::<f64>() / 10.0)
}
