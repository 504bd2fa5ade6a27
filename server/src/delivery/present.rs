//! The devices of a client, and its place among the recipients of messages, from before its CONNECT
//! is answered until it is gone.
//!
//! Invariant: a client has its place and its devices their queues before the CONNECT is answered.
//! So every message that is sent after the answer reaches the client, and another device of the
//! same person that acks a message first does not take it away.

use backwire_engine::{self as engine, Device};
use backwire_records::messages::flake::Flake;
use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::courier::{Courier, Place};
use super::guest::Guest;
use crate::clock::now;

/// The devices that the store has recorded as connected, and the place of their connection among
/// the recipients. Dropping it records the devices as disconnected.
pub(crate) struct Present {
    courier: Courier,
    devices: Vec<Device>,
    pub(super) place: Place,
    /// The id of the last message that was stored before the devices were there. The messages up to
    /// it are the backlog.
    pub(super) backlog_end: Flake,
    /// Also whoever is let go while nothing runs any more may be dropped.
    runtime: Handle,
}

/// Why somebody who may come in does not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unseated {
    /// One of their persons has as many devices as there may be, and all of them are connected.
    #[error("deviceId: this person is connected by {most} devices, and mostDevices allows no more")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// They are to come again.
    #[error("the store does not answer now")]
    Store(#[from] engine::Error),
}

impl Courier {
    /// Has the devices of a guest be there.
    pub(crate) async fn seat(&self, guest: &Guest) -> Result<Present, Unseated> {
        let (ttl, most, at) = (self.ttl(&guest.site), guest.site.most_devices, now());
        let queues = self.engine().queues();
        // Before the queues are there, so that a message that is not in the backlog arrives here.
        let place = self.place(guest.name.as_str().into(), &guest.rooms);
        // Together, because who is many persons would wait for each of them.
        let coming = guest.devices().map(async |device| {
            let connected = queues.connect(device.clone(), ttl, most, at).await;
            (device, connected)
        });
        let mut present = Present {
            courier: self.clone(),
            devices: Vec::new(),
            place,
            backlog_end: Flake::ZERO,
            runtime: Handle::current(),
        };
        let mut refused = None;
        for (device, connected) in join_all(coming).await {
            match connected {
                Ok(Some(last)) => {
                    present.devices.push(device);
                    present.backlog_end = present.backlog_end.max(last);
                }
                Ok(None) => refused = Some(Unseated::TooMany { most }),
                Err(error) => refused = Some(error.into()),
            }
        }
        refused.map_or(Ok(present), Err)
    }
}

impl Present {
    pub(super) fn devices(&self) -> &[Device] {
        &self.devices
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let (courier, devices) = (self.courier.clone(), std::mem::take(&mut self.devices));
        self.runtime.spawn(async move {
            for device in devices {
                if let Err(error) = courier.engine().queues().disconnect(device, now()).await {
                    tracing::error!(%error, "cannot note that a device is gone");
                }
            }
        });
    }
}
