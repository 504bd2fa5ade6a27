//! The devices of a client, and its registration as a recipient of messages, from before its
//! CONNECT is answered until it disconnects.
//!
//! Invariant: a client is registered and its devices have their queues before the CONNECT is
//! answered. So every message that is sent after the answer reaches the client, also if another
//! device of the same person acks it first.

use backwire_engine::{self as engine, Device};
use backwire_records::counted::counted;
use backwire_records::messages::flake::Flake;
use futures_util::future::join_all;

use super::recipients::RecipientRegistration;
use super::service::DeliveryService;
use super::site_client::SiteClient;

/// The devices that the store has recorded as connected, and the registration of their connection
/// as a recipient. Dropping it records the devices as disconnected.
pub(crate) struct ConnectedDevices {
    delivery_service: DeliveryService,
    devices: Vec<Device>,
    pub(super) registration: RecipientRegistration,
    /// The id of the last message that was stored before the devices connected. The messages up to
    /// it are the backlog.
    pub(super) backlog_end: Flake,
}

/// Why the devices of an authenticated client cannot be connected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectDevicesError {
    /// One of the client's persons has the maximum number of devices, and all of them are
    /// connected.
    #[error(
        "deviceId: this person is connected by {}, and mostDevices allows no more",
        counted(*.max, "device")
    )]
    TooMany {
        /// The maximum number of devices.
        max: usize,
    },
    /// The store failed. The client should connect again.
    #[error("the store does not answer now")]
    Store(#[from] engine::Error),
}

impl DeliveryService {
    /// Registers a client as a recipient, and records its devices as connected.
    pub(crate) async fn connect_devices(
        &self,
        site_client: &SiteClient,
    ) -> Result<ConnectedDevices, ConnectDevicesError> {
        let (ttl, max) = (self.ttl(&site_client.site), site_client.site.most_devices);
        let at = self.environment().unix_millis();
        let queues = self.engine().queues();
        // Registered before the queues exist, so that a message that is not in the backlog arrives.
        let registration = self.register(site_client.name.as_str().into(), &site_client.rooms);
        // Concurrently: a client of many persons would otherwise wait for each of them in turn.
        let connecting = site_client.devices().map(async |device| {
            let connected = queues.connect(device.clone(), ttl, max, at).await;
            (device, connected)
        });
        let mut connected_devices = ConnectedDevices {
            delivery_service: self.clone(),
            devices: Vec::new(),
            registration,
            backlog_end: Flake::ZERO,
        };
        let mut error = None;
        for (device, connected) in join_all(connecting).await {
            match connected {
                Ok(Some(last)) => {
                    connected_devices.devices.push(device);
                    connected_devices.backlog_end = connected_devices.backlog_end.max(last);
                }
                Ok(None) => error = Some(ConnectDevicesError::TooMany { max }),
                Err(store_error) => error = Some(store_error.into()),
            }
        }
        error.map_or(Ok(connected_devices), Err)
    }
}

impl ConnectedDevices {
    pub(super) fn devices(&self) -> &[Device] {
        &self.devices
    }
}

impl Drop for ConnectedDevices {
    fn drop(&mut self) {
        let (delivery_service, devices) =
            (self.delivery_service.clone(), std::mem::take(&mut self.devices));
        // This may run outside of any task.
        let environment = self.delivery_service.environment();
        environment.spawn(async move {
            for device in devices {
                let at = delivery_service.environment().unix_millis();
                if let Err(error) = delivery_service.engine().queues().disconnect(device, at).await
                {
                    tracing::error!(%error, "cannot record that a device has disconnected");
                }
            }
        });
    }
}
