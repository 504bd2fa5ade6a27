//! Asks the site's back end again about clients that are connected: the setting `recheck`, and when
//! a revocation at another server may have been missed.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use backwire_engine::Environment;

use super::service::DeliveryService;
use super::site_client::SiteClient;

/// How long a check takes to begin after events of other servers were missed. The checks of all
/// connections are spread over it.
const MAX_DELAY: Duration = Duration::from_secs(30);

impl DeliveryService {
    /// Resolves when the back end refuses the token of a client, or returns other rooms for it. If
    /// the back end does not answer, or its answer is not a list of rooms, nothing changes.
    pub(super) async fn rejected(&self, site_client: &SiteClient) {
        let (rounds, environment) = (self.rechecks(), self.environment());
        let mut done = rounds.get();
        loop {
            let interval = async {
                match site_client.site.recheck {
                    Some(interval) => {
                        environment.sleep(with_jitter(interval, environment)).await;
                    }
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = interval => {}
                () = rounds.wait_for(|rounds| *rounds > done) => {
                    done = rounds.get();
                    let delay = MAX_DELAY.mul_f64(environment.random_fraction());
                    environment.sleep(delay).await;
                }
            }
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
fn with_jitter(interval: Duration, environment: &Environment) -> Duration {
    interval.mul_f64(0.9 + environment.random_fraction() / 10.0)
}
