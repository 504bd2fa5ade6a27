//! Injects the faults of a run, at random times.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::deployment::Deployment;
use super::fault::Fault;
use super::own_server::OwnServer;
use super::proxy::Link;

/// Injects faults until the run stops, and then ends all faults. Returns the server, which is
/// running again.
pub(super) async fn inject(
    deployment: Arc<Deployment>,
    mut server: Option<OwnServer>,
    faults: Vec<Fault>,
    clients: usize,
    mut random: StdRng,
    mut stop: watch::Receiver<bool>,
) -> io::Result<Option<OwnServer>> {
    // Each connection has a fault about every five seconds.
    let pause = 5.0 / f64::from(u32::try_from(clients).unwrap_or(u32::MAX).max(1));
    let (link_faults, server_faults): (Vec<_>, Vec<_>) =
        faults.iter().copied().partition(|it| !it.is_of_server());
    let mut next_link_fault_at = Instant::now();
    let mut next_server_fault_at =
        next_link_fault_at + Duration::from_millis(random.random_range(300..1_500));
    let mut cycled_server_faults = server_faults.iter().cycle();
    loop {
        // A fault that is late does not delay the next ones.
        next_link_fault_at += Duration::from_secs_f64(pause * random.random_range(0.0..2.0));
        tokio::select! {
            () = sleep_until(next_link_fault_at) => {}
            _ = stop.wait_for(|is_over| *is_over) => break,
        }
        if let Some(fault) = link_faults.choose(&mut random)
            && let Some(link) = deployment.proxy.links().choose(&mut random)
        {
            deployment.meter.fault(*fault);
            break_link(*fault, link, &mut random);
        }
        if Instant::now() >= next_server_fault_at
            && let (Some(server), Some(fault)) = (&mut server, cycled_server_faults.next())
        {
            deployment.meter.fault(*fault);
            let outage = Duration::from_millis(random.random_range(50..2_000));
            break_server(*fault, server, &deployment, outage).await?;
            let pause = Duration::from_millis(random.random_range(1_000..6_000));
            next_server_fault_at = Instant::now() + pause;
            // Nothing was due in the outage.
            next_link_fault_at = next_link_fault_at.max(Instant::now());
        }
    }
    for link in deployment.proxy.links() {
        link.set_delay(0);
        link.freeze(false);
    }
    Ok(server)
}

fn break_link(fault: Fault, link: &Arc<Link>, random: &mut StdRng) {
    match fault {
        Fault::Cut => link.cut(),
        Fault::Truncate => link.truncate_after(random.random_range(1..4096)),
        Fault::Delay => link.set_delay(random.random_range(1..1_000)),
        Fault::Freeze => {
            let time = Duration::from_millis(random.random_range(100..60_000));
            let ends_in_cut = random.random_bool(0.5);
            let link = Arc::clone(link);
            link.freeze(true);
            tokio::spawn(async move {
                sleep(time).await;
                if ends_in_cut {
                    link.cut();
                } else {
                    link.freeze(false);
                }
            });
        }
        Fault::Kill | Fault::Stop | Fault::KillRedis | Fault::StopRedis => {}
    }
}

async fn break_server(
    fault: Fault,
    server: &mut OwnServer,
    deployment: &Deployment,
    outage: Duration,
) -> io::Result<()> {
    match (fault, server.redis()) {
        (Fault::Stop, _) => {
            server.pause(true);
            sleep(outage).await;
            server.pause(false);
        }
        (Fault::StopRedis, Some(redis)) => {
            redis.pause(true);
            sleep(outage).await;
            redis.pause(false);
        }
        (Fault::KillRedis, Some(redis)) => {
            redis.kill();
            sleep(outage).await;
            tokio::task::block_in_place(|| redis.start())?;
        }
        (Fault::KillRedis | Fault::StopRedis, None) => {}
        _ => {
            server.kill();
            sleep(outage).await;
            let address = tokio::task::block_in_place(|| server.start())?;
            deployment.proxy.set_target(address);
        }
    }
    Ok(())
}
